"""What the GPU does with subnormals, and which versions of Metal's language compile."""

import platform
import subprocess
import tempfile
from pathlib import Path

import torch

from causal_conv1d_mps import _metal

from .gpu import in_use
from .markdown import first_line, table

# Version -> the macOS that brought it.
VERSIONS = {"3.0": 13, "3.1": 14, "3.2": 15, "4.0": 26}
COMPILER = Path(__file__).with_name("compile_metal.m")
PROBE = """
#include <metal_stdlib>
using namespace metal;
kernel void probe(device float* x [[buffer(0)]], device int* version [[buffer(1)]]) {
    x[0] = x[0] * 2.0f;
    version[0] = __METAL_VERSION__;
}
"""


def part(options):
    with in_use(options) as device:
        x = torch.tensor([2.0**-130], device=device)
        version = torch.zeros(1, dtype=torch.int32, device=device)
        _metal.compile_shader(PROBE).probe(x, version, threads=1, group_size=1)
        flushed, used = x.item() == 0, version.item()
    rows = [
        ("float32 subnormals", "flushed to zero" if flushed else "kept"),
        ("`__METAL_VERSION__` of compile_shader", used),
    ]
    compiles = on_harness if options.backend == "harness" else on_mac
    answers = compiles(_metal.metal_source())
    rows += [(f"the kernels in Metal {version}", answers[version]) for version in VERSIONS]
    return table(("", ""), rows), not any(a.startswith("fails") for a in answers.values())


def on_harness(text):
    import harness

    answers = {}
    for version in VERSIONS:
        with harness.device(version=version):
            try:
                harness.compile_shader(text, optimise=False)
                answers[version] = "yes"
            except SyntaxError as error:
                answers[version] = f"fails: {error}"
    return answers


def on_mac(text):
    """compile_shader takes one version. This asks the same compiler, the system's, for each, by a
    program that the command line tools build; they have no Metal compiler of their own."""
    system = int((platform.mac_ver()[0] or "0").split(".")[0])
    answers = {v: f"not offered before macOS {since}" for v, since in VERSIONS.items()}
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "compile_metal")
        words = ["xcrun", "clang", "-fobjc-arc", "-framework", "Foundation", "-framework", "Metal"]
        built = run([*words, str(COMPILER), "-o", program])
        for version, since in VERSIONS.items():
            if system < since:
                continue
            if built.returncode:
                answers[version] = f"not tried: {first_line(built.stderr)}"
                continue
            done = run([program, version], input=text)
            answers[version] = (
                "yes" if done.returncode == 0 else f"fails: {first_line(done.stderr)}"
            )
    return answers


def run(words, **options):
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=300, **options)
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]}: {error}")
