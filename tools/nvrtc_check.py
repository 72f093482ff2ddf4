#!/usr/bin/env python3
"""Compile CUDA texts with NVRTC, as the library does, on a machine that needs no GPU.

    tools/nvrtc_check.py FILE.cu... [-D NAME=VALUE]... [--arch sm_90]... [--nvrtc PATH]
                         [--cubin FOLDER] [--quiet]

Prints, per file and architecture, the compile time (of the processor), the size of the machine
code, and the registers, stack and shared memory of every kernel; the compiler's log where it has
one. Exits 1 if a text does not compile. NVRTC is the library libnvrtc.so.13, .12 or .11.2 from
--nvrtc, CAUSAL_CONV1D_NVRTC, an installed nvidia-cuda-nvrtc wheel, or the loader's path.
With --cubin, the machine code is kept there (cuobjdump --dump-sass or nvdisasm read it).
"""

import argparse
import ctypes
import glob
import os
import re
import site
import sys
import time
from pathlib import Path

SONAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so")
# src/cuda/nvrtc.c gives the compiler the same ones.
OPTIONS = ("--fmad=false",)


def candidates(named):
    if named:
        yield named
        return
    if os.environ.get("CAUSAL_CONV1D_NVRTC"):
        yield os.environ["CAUSAL_CONV1D_NVRTC"]
    for folder in (*site.getsitepackages(), site.getusersitepackages()):
        yield from sorted(glob.glob(f"{folder}/nvidia/*/lib/libnvrtc.so.*"), reverse=True)
    yield from SONAMES


class Nvrtc:
    def __init__(self, named):
        tried = []
        for path in candidates(named):
            try:
                self.library = ctypes.CDLL(path)
            except OSError as error:
                tried.append(f"  {path}: {error}")
                continue
            self.path = path
            break
        else:
            sys.exit("no NVRTC found:\n" + "\n".join(tried))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)
        builtins = f"libnvrtc-builtins.so.{major.value}.{minor.value}"
        if (beside := Path(self.path).parent / builtins).is_file():
            # NVRTC 13 opens it by name alone, which finds it only if it is loaded already.
            ctypes.CDLL(str(beside))

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result:
            raise RuntimeError(f"{name}: {self.library.nvrtcGetErrorString(result).decode()}")

    def architectures(self):
        count = ctypes.c_int()
        self.call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self.call("nvrtcGetSupportedArchs", found)
        return list(found)

    def text_of(self, program, what):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(max(size.value, 1))
        self.call(f"nvrtcGet{what}", program, text)
        return text.raw[: size.value]

    def compile(self, name, text, options):
        """(worked, log, machine code, seconds of processor time)"""
        program = ctypes.c_void_p()
        start = time.process_time()
        self.call(
            "nvrtcCreateProgram",
            ctypes.byref(program),
            text.encode("ascii"),
            name.encode(),
            0,
            None,
            None,
        )
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        result = self.library.nvrtcCompileProgram(program, len(options), array)
        log = self.text_of(program, "ProgramLog").rstrip(b"\0\n").decode()
        code = b"" if result else self.text_of(program, "CUBIN")
        seconds = time.process_time() - start
        self.call("nvrtcDestroyProgram", ctypes.byref(program))
        if result and not log:
            log = self.library.nvrtcGetErrorString(result).decode()
        return result == 0, log, code, seconds


KERNEL = re.compile(r"Compiling entry function '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers.*")
NOTE = re.compile(r"ptxas info|Function properties|bytes stack frame|^\s*$|bytes gmem|Compile time")


def resources(log):
    """The lines to show of ptxas's report, and the rest of the log."""
    kernel, stack, shown = "?", "", []
    for line in log.splitlines():
        if match := KERNEL.search(line):
            kernel = match[1]
        elif match := STACK.search(line):
            stack = "" if match[1] == match[2] == "0" else f", {match[0].strip()}"
        elif match := USED.search(line):
            shown.append(f"    {kernel}: {match[0].replace('Used ', '')}{stack}")
    return shown, [line for line in log.splitlines() if not NOTE.search(line)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-D", dest="defines", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--arch", action="append", metavar="sm_90", help="default: sm_90")
    parser.add_argument("--option", action="append", default=[], help="another NVRTC option")
    parser.add_argument("--nvrtc", metavar="PATH", help="the NVRTC library to use")
    parser.add_argument("--cubin", type=Path, metavar="FOLDER", help="keep the machine code here")
    parser.add_argument("--quiet", action="store_true", help="only failures and the summary")
    arguments = parser.parse_args()

    nvrtc = Nvrtc(arguments.nvrtc)
    print(f"NVRTC {nvrtc.version[0]}.{nvrtc.version[1]} ({nvrtc.path})")
    supported = nvrtc.architectures()
    failures, slowest, count = 0, 0.0, 0
    for arch in arguments.arch or ["sm_90"]:
        if int(re.sub(r"\D", "", arch)) not in supported:
            print(f"{arch}: left out, this NVRTC knows {supported}")
            continue
        options = [f"--gpu-architecture={arch}", *OPTIONS, "--ptxas-options=-v"]
        options += [f"--define-macro={define}" for define in arguments.defines] + arguments.option
        for path in arguments.files:
            worked, log, code, seconds = nvrtc.compile(path.name, path.read_text("ascii"), options)
            shown, rest = resources(log)
            failures += not worked
            count += 1
            slowest = max(slowest, seconds)
            if not worked or not arguments.quiet:
                state = f"{len(code)} bytes" if worked else "FAILED"
                print(f"{arch} {path.name}: {state}, {seconds * 1000:.0f} ms")
                print(*shown, *rest, sep="\n")
            if worked and arguments.cubin:
                arguments.cubin.mkdir(parents=True, exist_ok=True)
                (arguments.cubin / f"{path.stem}.{arch}.cubin").write_bytes(code)
    print(f"{count} compiled, {failures} failed, slowest {slowest * 1000:.0f} ms")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
