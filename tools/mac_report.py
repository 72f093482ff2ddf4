#!/usr/bin/env python3
"""`make test-mac`: tests, first-use times and the benchmark on an Apple GPU, in one file to paste.

Every part runs, whatever the ones before it gave; the exit status is 1 if one failed. With
--backend harness the same report is made on Linux, where tests/metal executes the kernels on the
CPU: its times say nothing.
"""

import argparse
import collections
import contextlib
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as xml
from pathlib import Path

import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _metal

ROOT = Path(__file__).resolve().parent.parent
TESTS = {"mps": ["tests"], "harness": ["tests/metal/test_operations.py"]}
VERSIONS = ("3.0", "3.1", "3.2", "4.0")
PROBE = """
#include <metal_stdlib>
using namespace metal;
kernel void probe(device float* x [[buffer(0)]], device int* version [[buffer(1)]]) {
    x[0] = x[0] * 2.0f;
    version[0] = __METAL_VERSION__;
}
"""
HANGS = 2 * 3600  # seconds: a part that takes longer has failed
MOST_LINES = 12  # of a failure


@contextlib.contextmanager
def on_gpu(backend):
    """Gives the device of tensors that the Metal kernels compute."""
    if backend == "mps":
        yield "mps"
        return
    sys.path.insert(0, str(ROOT / "tests" / "metal"))
    from backend import METAL_FLUSHING

    with METAL_FLUSHING.enter():
        yield "cpu"


def command(*words):
    """What it prints, or "" where there is no such command."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def revision():
    return command("git", "-C", str(ROOT), "describe", "--always", "--dirty") or "no git"


def machine(backend):
    chip = command("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    system = f"macOS {platform.mac_ver()[0]}" if platform.mac_ver()[0] else platform.platform()
    facts = {
        "Backend": backend,
        "Chip": chip,
        "System": system,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "Package": f"{ccmps.__version__} ({revision()})",
    }
    return table(("", ""), facts.items()), True


def language(backend):
    """What the device does with subnormals, and which versions of Metal's language compile."""
    with on_gpu(backend) as device:
        x = torch.tensor([2.0**-130], device=device)
        version = torch.zeros(1, dtype=torch.int32, device=device)
        _metal.compile_shader(PROBE).probe(x, version, threads=1, group_size=1)
        flushed, used = x.item() == 0, version.item()
    rows = [
        ("float32 subnormals", "flushed to zero" if flushed else "kept"),
        ("`__METAL_VERSION__` of compile_shader", used),
    ]
    compiled = [compiles(backend, version) for version in VERSIONS]
    rows += [(f"the kernels in Metal {v}", answer) for v, answer in zip(VERSIONS, compiled)]
    return table(("", ""), rows), not any(answer.startswith("fails") for answer in compiled)


def compiles(backend, version):
    """compile_shader takes the system's newest version; Xcode's compiler takes every one."""
    text = _metal.metal_source()
    if backend == "harness":
        import harness

        with harness.device(version=version):
            try:
                harness.compile_shader(text, optimise=False)
            except SyntaxError as error:
                return f"fails: {error}"
        return "yes"
    if not command("xcrun", "-f", "metal"):
        return "not tried: xcrun finds no metal compiler"
    words = ["xcrun", "metal", f"-std=metal{version}", "-x", "metal", "-c", "-", "-o", os.devnull]
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=300)
    return "yes" if done.returncode == 0 else f"fails: {first_line(done.stderr)}"


def first_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0].replace("|", "\\|")[:200] if lines else ""


def first_use(backend):
    """The first call of a kind compiles its kernel; the second is what every later one costs."""
    with on_gpu(backend) as device:
        x = torch.randn(2, 64, 256, device=device, dtype=torch.bfloat16)
        weight = torch.randn(64, 4, device=device)
        state = torch.zeros(2, 64, 3, device=device, dtype=torch.bfloat16)
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]

        def backward():
            y = ccmps.causal_conv1d_fn(*leaves, activation="silu")
            torch.autograd.grad(y, leaves, torch.ones_like(y))

        calls = {
            "forward": lambda: ccmps.causal_conv1d_fn(x, weight, activation="silu"),
            "forward and backward": backward,
            "update": lambda: ccmps.causal_conv1d_update(x[:, :, 0], state, weight),
        }
        rows = []
        for name, call in calls.items():
            first, second = milliseconds(call, device), milliseconds(call, device)
            rows.append((name, f"{first:.2f}", f"{second:.2f}"))
    return table(("call", "first, ms", "second, ms"), rows), True


def milliseconds(call, device):
    start = time.perf_counter()
    call()
    if device == "mps":
        torch.mps.synchronize()
    return (time.perf_counter() - start) * 1e3


def tests(backend, arguments):
    """By file: how many passed, failed and were skipped; then every failure, shortened."""
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory) / "results.xml"
        words = [sys.executable, "-m", "pytest", *TESTS[backend], f"--junitxml={results}"]
        status = subprocess.run([*words, *arguments], cwd=ROOT, timeout=HANGS).returncode
        if not results.exists():
            return f"pytest ended with status {status} and wrote no results.", False
        cases = list(xml.parse(results).iter("testcase"))
    groups, failures = collections.defaultdict(collections.Counter), []
    for case in cases:
        outcome = "passed"
        for element in case:
            if element.tag in ("failure", "error"):
                outcome = "failed"
                failures.append((case, element.get("message") or element.text or ""))
            elif element.tag == "skipped" and outcome == "passed":
                outcome = "skipped"
        groups[case.get("classname") or case.get("name")][outcome] += 1
    outcomes = ("passed", "failed", "skipped")
    rows = [(g, *(count[o] for o in outcomes)) for g, count in sorted(groups.items())]
    rows.append(("all", *(sum(count[o] for count in groups.values()) for o in outcomes)))
    text = table(("tests", *outcomes), rows)
    for case, message in failures:
        text += f"\n**{case.get('classname')}::{case.get('name')}**\n\n{block(message)}"
    return text, status == 0


def benchmark(backend, dtype, seconds):
    device = "mps" if backend == "mps" else "cpu"
    words = [sys.executable, "bench.py", "--device", device, "--dtype", dtype]
    words += ["--seconds", str(seconds)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=HANGS)
    text = done.stdout + ("" if done.returncode == 0 else done.stderr)
    return block(text, most=200), done.returncode == 0


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def block(text, most=MOST_LINES):
    lines = text.rstrip().splitlines()
    cut = [] if len(lines) <= most else [f"... and {len(lines) - most} more lines"]
    return "```text\n" + "\n".join([*lines[:most], *cut]) + "\n```\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", choices=tuple(TESTS), default="mps")
    parser.add_argument("--out", type=Path, default=Path("mac-report.md"))
    parser.add_argument("--seconds", type=float, default=0.2, help="per figure of the benchmark")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    given = parser.parse_args()
    if given.backend == "mps" and not torch.backends.mps.is_available():
        parser.error("a Mac with an Apple GPU is needed: PyTorch says that mps is not available")
    if given.backend == "harness" and not shutil.which("clang"):
        parser.error("the harness needs clang")

    parts = {
        "Machine": functools.partial(machine, given.backend),
        "Metal": functools.partial(language, given.backend),
        "First use": functools.partial(first_use, given.backend),
        "Tests": functools.partial(tests, given.backend, given.pytest),
    }
    for dtype in ("bf16", "fp32"):
        parts[f"Benchmark, {dtype}"] = functools.partial(
            benchmark, given.backend, dtype, given.seconds
        )
    report, failed = "# causal-conv1d-mps on an Apple GPU\n", []
    for name, part in parts.items():
        print(f"mac_report: {name}", flush=True)
        try:
            text, right = part()
        except Exception:  # a part that breaks is a finding, and the next one still runs
            text, right = block(traceback.format_exc(), most=60), False
        if not right:
            failed.append(name)
        report += f"\n## {name}{'' if right else ' (FAILED)'}\n\n{text}"
        given.out.write_text(report, encoding="utf-8")  # what there is, should the next one crash
    verdict = f"Failed: {', '.join(failed)}." if failed else "Everything passed."
    given.out.write_text(report + f"\n{verdict}\n", encoding="utf-8")
    print(f"mac_report: {verdict} Paste {given.out.resolve()} into an issue.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
