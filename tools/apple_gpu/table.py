#!/usr/bin/env python3
"""What the Metal kernels cost on an Apple GPU: their code for the M1 (G13), counted on Linux.

    tools/apple_gpu/table.py ROOT [CASE...] [--keep FOLDER]

ROOT is what setup.sh made; as root, since it is entered by chroot. The texts of the launches (in
launches.c), with prelude_opencl.h in place of prelude_metal.h, go through clang to SPIR-V and then
Mesa's compiler to machine code, of which this prints a table, and a model of its time. It is Mesa's
compiler, not Apple's, and nothing runs: compare variants. docs/kernels.md explains the columns.
CASE: a part of a name; without any, all of them.
"""

import argparse
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from machine_code import Listing

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

# As Metal's safe math, sums and products stay as they are. Dropped from LLVM's text: the version of
# C++, since the translator knows OpenCL's functions in OpenCL C only, and notes on loops, which it
# makes structured ones of that Mesa cannot read among the others.
COMPILE = """
set -e
cd /tmp/apple_gpu
clang-19 --target=spir64-unknown-unknown -x cl -cl-std=clc++2021 -O2 -ffp-contract=off \
    -fno-slp-vectorize -fno-vectorize -fno-discard-value-names -Wno-everything \
    -Xclang -finclude-default-header -emit-llvm -S "$1.cl" -o "$1.ll"
sed -i -e '/^!opencl.cxx.version/d' -e 's/, !llvm.loop ![0-9]*//' "$1.ll"
llvm-as-19 "$1.ll" -o "$1.bc"
llvm-spirv-19 --spirv-max-version=1.4 "$1.bc" -o "$1.spv"
"""
ASSEMBLE = """
cd /tmp/apple_gpu
AGX_MESA_DEBUG=shaderdb,internal,shaders /mesa/build/src/asahi/clc/asahi_clc \
    "$1.spv" "$1.h" "$1.c" >"$1.listing" 2>"$1.log" || echo "failed: $(cat "$1.log")" >&2
"""


def build_launches(work):
    """The project's plans and texts, as a program that writes them."""
    source = work / "kernel_source.c"
    embed = ["cmake", "-D", f"OUTPUT={source}", "-P", REPOSITORY / "cmake" / "embed_kernels.cmake"]
    subprocess.run(embed, check=True, cwd=REPOSITORY)
    plans = sorted((REPOSITORY / "src" / "gpu" / "plan").glob("plan*.c"))
    core = [REPOSITORY / "src" / "core" / name for name in ("arguments.c", "status.c")]
    sources = [HERE / "launches.c", *plans, *core, source]
    folders = ["-I", REPOSITORY / "include", "-I", REPOSITORY / "src"]
    subprocess.run(["cc", "-std=c11", *folders, *sources, "-o", work / "launches"], check=True)
    done = subprocess.run([work / "launches", work], check=True, stdout=subprocess.PIPE, text=True)
    return [line.split() for line in done.stdout.splitlines()]


def to_opencl(metal):
    start, end = metal.index("/* prelude_metal.h"), metal.index("/* params.h")
    text = metal[:start] + (HERE / "prelude_opencl.h").read_text() + metal[end:]
    entry = r"(ENTRY\(\w+, (\w+)\) \{)"
    return re.sub(entry, r"\1 CONSTANT \2 &p = *params_pointer;", text)


def mark_exact(path):
    """Decorates sums and products with NoContraction, or Mesa reorders them."""
    words = list(struct.unpack(f"<{path.stat().st_size // 4}I", path.read_bytes()))
    at, first, marks = 5, None, []
    while at < len(words):
        opcode, length = words[at] & 0xFFFF, words[at] >> 16
        if first is None and (71 <= opcode <= 75 or 19 <= opcode <= 39):
            first = at
        if opcode in (127, 129, 131, 133, 136):  # FNegate, FAdd, FSub, FMul, FDiv
            marks += [3 << 16 | 71, words[at + 2], 42]
        at += length
    words[first:first] = marks
    path.write_bytes(struct.pack(f"<{len(words)}I", *words))


def inside(root, script, name):
    subprocess.run(["chroot", root, "sh", "-c", script, "sh", name], check=True)


def compile_case(root, work, name):
    text = to_opencl((work / f"{name}.metal").read_text())
    (work / f"{name}.cl").write_text(text)
    inside(root, COMPILE, name)
    mark_exact(work / f"{name}.spv")
    inside(root, ASSEMBLE, name)
    return Listing((work / f"{name}.listing").read_text(), (work / f"{name}.log").read_text())


HEADINGS = ["case", "whole", "loop", "executed", "dispatch"]
FACTS = {"regs": "registers", "threads": "threads", "bytes": "bytes", "spills": "spills"}


def print_row(cells):
    print(f"| {cells[0]:28} |" + "".join(f" {cell:>9} |" for cell in cells[1:]), flush=True)


# Device memory and cores of whole chips; GHz of the GPU. A core issues for 4 x 32 lanes a cycle.
CHIPS = {"M1": (68e9, 8, 1.28e9), "M1 Max": (400e9, 32, 1.30e9), "M4 Max": (546e9, 40, 1.58e9)}
TENSORS = {"forward": 2, "backward": 3}


def model(name, dispatch):
    """Issue time over memory time, if a G13 core's rate were each chip's."""
    operation, _, dtype = name.split("_")
    moved = TENSORS[operation] * (4 if dtype == "f32" else 2)  # bytes per element
    return [
        (dispatch / (cores * 128 * clock)) / (moved / bandwidth)
        for bandwidth, cores, clock in CHIPS.values()
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy texts and listings there")
    arguments = parser.parse_args()
    work = arguments.root / "tmp" / "apple_gpu"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    print_row([*HEADINGS, *FACTS.values()])
    print_row([":--", *["--:"] * (len(HEADINGS) + len(FACTS) - 1)])
    modelled = []
    for name, elements, turns in build_launches(work):
        if arguments.cases and not any(part in name for part in arguments.cases):
            continue
        code = compile_case(arguments.root, work, name)
        executed, dispatch = (
            f"{(loop * int(turns) + rest) / int(elements):.1f}"
            for loop, rest in (code.usual(), code.usual_cost())
        )
        print_row(
            [name, code.size(), code.loop_size(), executed, dispatch]
            + [code.facts[key] for key in FACTS]
        )
        if name.split("_")[0] in TENSORS and "reduce" not in name:
            modelled.append((name, float(dispatch)))
    print("\nA model, not a measurement: issue time over the time of memory.\n")
    print_row(["case", *CHIPS])
    print_row([":--", *["--:"] * len(CHIPS)])
    for name, dispatch in modelled:
        print_row([name, *(f"{ratio:.2f}" for ratio in model(name, dispatch))])
    if arguments.keep:
        shutil.copytree(work, arguments.keep, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
