"""clang: finding it, building what the harness needs, and compiling a kernel text.

Everything built is kept in a directory of the user's own, under a hash of what it was built from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils._cpp_embed_headers import _embed_headers

from . import modes, msl, swizzles
from .declarations import Kernel, Parameter
from .errors import ToolchainError
from .lexer import MslError

HERE = Path(__file__).resolve().parent
INCLUDE = HERE / "include"
RUNTIME = HERE / "runtime"
CACHE_VARIABLE = "CAUSAL_CONV1D_HARNESS_CACHE"
KEEP_SECONDS = 7 * 24 * 3600  # since something was last built for that version of the harness
SOURCE_NAME = "program_source"

# How kernels are compiled. UNOPTIMISED takes a third of the time and checks every access that the
# text makes; OPTIMISED leaves those that a GPU would make, so traffic is counted with it.
OPTIMISED, UNOPTIMISED = "-O1", "-O0"

_TRANSLATION = (
    *("lexer", "source", "declarations", "msl", "modes", "strict", "swizzles", "together"),
    "toolchain",
)

_LANGUAGE = [
    "-std=c++14",
    "-fPIC",
    "-gline-tables-only",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-strict-aliasing",
    "-fno-math-errno",
    "-fno-builtin-memcpy",  # a loop stays a loop, whose accesses are counted one by one
    "-fno-builtin-memset",
    "-ffp-contract=off",
    "-fsigned-char",
    "-fdeclspec",
    "-nostdinc",
    "-Xclang",
    "-fnative-half-type",
    "-Xclang",
    "-fallow-half-arguments-and-returns",
]
# Address instrumentation calls the runtime before every access that is not to a known local
# variable, and puts red zones around globals (threadgroup arrays and constants).
_INSTRUMENT = ["-Xclang", "-fsanitize=address"]  # not the driver, which would link its runtime
for option in (
    "asan-instrumentation-with-call-threshold=0",
    "asan-memory-access-callback-prefix=mh_",
    "asan-stack=0",
    "asan-opt-same-temp=0",
    "asan-mapping-scale=4",
    "asan-guard-against-version-mismatch=0",
    "disable-vector-combine",
):
    _INSTRUMENT += ["-mllvm", f"-{option}"]
_WARNINGS = [
    "-Wno-everything",
    "-Werror=return-type",
    "-Werror=uninitialized",
    "-Wno-c++11-narrowing",
]


@functools.cache
def clang() -> str:
    found = shutil.which(os.environ.get("CAUSAL_CONV1D_HARNESS_CLANG", "clang"))
    if not found:
        raise ToolchainError(
            "the Metal harness needs clang to compile kernel text, and there is none on PATH; "
            "on Debian or Ubuntu: apt-get install clang"
        )
    return found


@functools.cache
def _linker() -> str:
    return run([clang(), "-print-prog-name=ld"]).strip()


@functools.cache
def _processor_flags() -> tuple[str, ...]:
    """Hardware fma and half conversions where they exist; results do not depend on them."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split("\n\n")[0].split()
    except OSError:
        return ()
    return tuple(flag for flag, word in (("-mfma", "fma"), ("-mf16c", "f16c")) if word in flags)


@functools.cache
def version() -> str:
    """A hash of everything but the kernel text that decides what a compiled kernel does."""
    digest = hashlib.sha256()
    names = [p for p in sorted(INCLUDE.iterdir()) + sorted(RUNTIME.iterdir()) if p.is_file()]
    for path in [*names, *(HERE / f"{name}.py" for name in _TRANSLATION)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(run([clang(), "--version"]).encode())
    digest.update(repr((_processor_flags(), torch.__version__)).encode())
    return digest.hexdigest()[:24]


@functools.cache
def cache_directory() -> Path:
    root = os.environ.get(CACHE_VARIABLE)
    base = Path(root) if root else Path(tempfile.gettempdir()) / f"metal-harness-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise ToolchainError(f"{base} is not a directory of this user; set {CACHE_VARIABLE}")
    os.chmod(base, 0o700)
    directory = base / version()
    directory.mkdir(exist_ok=True)
    _forget_old_versions(base)
    return directory


def _forget_old_versions(base: Path) -> None:
    oldest = time.time() - KEEP_SECONDS
    for other in base.iterdir():
        if other.is_dir() and other.stat().st_mtime < oldest:
            shutil.rmtree(other, ignore_errors=True)


def run(command: list[str], text: str | None = None) -> str:
    options = dict(capture_output=True, encoding="utf-8", check=False)
    try:
        done = subprocess.run(command, input=text, **options)
    except OSError as error:
        raise ToolchainError(f"cannot run {command[0]}: {error}") from error
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


def _build(command: list[str], target: Path) -> Path:
    """Runs the command with a temporary output that becomes `target` at once."""
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=target.suffix)
    os.close(handle)
    try:
        run([*command, "-o", name])
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_ours(command: list[str], target: Path) -> Path:
    """Builds something of the harness's own, once however many processes want it."""
    with locked(target.with_suffix(".lock")):
        if target.exists():
            return target
        try:
            return _build(command, target)
        except subprocess.CalledProcessError as error:
            message = f"clang could not build {target.name}:\n{error.stderr}"
            raise ToolchainError(message) from error


@functools.cache
def runtime() -> Path:
    target = cache_directory() / "libmh.so"
    if not target.exists():
        sources = [str(path) for path in sorted(RUNTIME.glob("*.c"))]
        command = [clang(), "-std=c11", "-D_GNU_SOURCE", "-O2", "-g1", "-fPIC", "-shared", "-Wall"]
        command += ["-Wextra", "-Werror", "-I", str(INCLUDE), *sources, "-lm"]
        build_ours([*command, "-Wl,-soname,libmh.so"], target)
    return target


@functools.cache
def headers() -> Path:
    """Copies of the headers, which stay as they are while a precompiled header refers to them."""
    directory = cache_directory() / "include"
    if not directory.exists():
        copies = Path(tempfile.mkdtemp(dir=cache_directory(), prefix="include-"))
        for path in INCLUDE.iterdir():
            shutil.copy(path, copies / path.name)
        (copies / "mh_swizzles.h").write_text(swizzles.text())
        try:
            copies.rename(directory)
        except OSError:  # another process was first
            shutil.rmtree(copies)
    return directory


@functools.cache
def precompiled_header(level: str) -> Path:
    target = cache_directory() / f"prelude{level}.pch"
    if not target.exists():
        header = str(headers() / "metal_stdlib")
        build_ours([clang(), "-x", "c++-header", *_compile_flags(level), header], target)
    return target


def _compile_flags(level: str) -> list[str]:
    return [level, *_LANGUAGE, *_processor_flags(), *_INSTRUMENT, *_WARNINGS]


_FOREIGN_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*[<\"](?!metal_)", re.MULTILINE)


@dataclasses.dataclass
class Compiled:
    path: Path
    kernels: list[Kernel]
    table: str  # the symbol under which the library exports these kernels
    # address of each threadgroup variable -> (the function that declares it, its name)
    threadgroup_variables: dict[int, tuple[int, str]]


def _with_torch_headers(source: str) -> str:
    """Puts the Metal headers that PyTorch ships in place of their #include lines, as it does."""
    if not _FOREIGN_INCLUDE.search(source):
        return source
    headers = Path(torch.__file__).parent / "include"
    return _embed_headers([line + "\n" for line in source.split("\n")], [headers], set())


def numbered(source: str) -> str:
    """The text with the headers of PyTorch that it includes, under its name in messages."""
    return f'#line 1 "{SOURCE_NAME}"\n{_with_torch_headers(source)}'


def expand(text: str) -> str:
    """Expands the text's own macros and those of the Metal library, and nothing else."""
    command = [
        clang(),
        "-E",
        "-x",
        "c++",
        "-std=c++14",
        "-nostdinc",
        "-Wno-everything",
        "-DMH_SCAN",
    ]
    command += [f"-D__METAL_VERSION__={modes.current().version}", "-I", str(INCLUDE)]
    return run([*command, "-include", str(INCLUDE / "mh_macros.h"), "-"], text)


def preprocess(source: str) -> str:
    return _preprocess(source, modes.current().version)


@functools.lru_cache(maxsize=1)  # the strict compile and the one that runs follow each other
def _preprocess(source: str, _version: int) -> str:
    try:
        return expand(numbered(source))
    except subprocess.CalledProcessError as error:
        raise SyntaxError(tidy(error.stderr)) from None


def tidy(message: str) -> str:
    return message.replace("<stdin>", SOURCE_NAME).strip()


def _translate(source: str) -> msl.Translation:
    try:
        return msl.translate(preprocess(source))
    except MslError as error:
        raise SyntaxError(f"{SOURCE_NAME}:{error.line}: error: {error}") from None


def key_of(*sources: str) -> str:
    """Of the texts in the device's version of the language."""
    parts = [str(modes.current().version), *sources]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def record_of(source: str, level: str) -> Path:
    """Where the cache says what was compiled from the text."""
    return cache_directory() / f"{key_of(source)}{level}.json"


def compile_library(source: str, level: str = OPTIMISED) -> Compiled:
    """Compiles Metal text into a shared library; SyntaxError with clang's words if it is wrong."""
    record = record_of(source, level)
    if not record.exists():
        translation = _translate(source)
        target = record.with_suffix(".so")
        text = translation.text + msl.kernel_table(translation.kernels)
        variables = compile_text(text, target, level)
        write_record(record, Compiled(target, translation.kernels, msl.TABLE, variables))
    return _read_record(record)


def compile_text(text: str, target: Path, level: str) -> dict[int, tuple[int, str]]:
    """Compiles translated text; returns its threadgroup variables, as in Compiled."""
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".o")
    os.close(handle)
    command = [clang(), "-x", "c++", *_compile_flags(level)]
    command += ["-include-pch", str(precompiled_header(level)), "-c", "-", "-o", name]
    try:
        run(command, text)
        # Not by the driver: to compile and link in one go it starts clang a second time.
        _build([_linker(), "-shared", "-z", "now", name, str(runtime())], target)
    except subprocess.CalledProcessError as error:
        raise SyntaxError(tidy(error.stderr)) from None
    finally:
        Path(name).unlink(missing_ok=True)
    return _threadgroup_variables(target) if ".mh_tg" in text else {}


def write_record(path: Path, compiled: Compiled) -> None:
    record = {
        "library": compiled.path.name,
        "table": compiled.table,
        "kernels": [dataclasses.asdict(kernel) for kernel in compiled.kernels],
        "variables": [[place, *names] for place, names in compiled.threadgroup_variables.items()],
    }
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".json")
    with os.fdopen(handle, "w") as file:
        json.dump(record, file)
    os.replace(name, path)


def _read_record(path: Path) -> Compiled:
    record = json.loads(path.read_text())
    kernels = []
    for fields in record["kernels"]:
        fields["parameters"] = [Parameter(**p) for p in fields["parameters"]]
        kernels.append(Kernel(**fields))
    variables = {address: (function, name) for address, function, name in record["variables"]}
    return Compiled(path.with_name(record["library"]), kernels, record["table"], variables)


def _threadgroup_variables(library: Path) -> dict[int, tuple[int, str]]:
    """From the symbol table: a function's local static is _ZZ<function>E<length><name>."""
    functions, variables = {}, []
    for line in run(["nm", "--defined-only", str(library)]).splitlines():
        address, kind, name = line.split()
        if kind in "tTwW" and name.startswith("_Z"):
            functions[name[2:]] = int(address, 16)
        elif name.startswith("_ZZ"):
            variables.append((int(address, 16), name[3:]))
    found = {}
    for address, name in variables:
        for function, start in functions.items():
            if not name.startswith(function):
                continue
            local = re.fullmatch(r"E(\d+)(\w+?)(?:_\d+)?", name[len(function) :])
            if local:
                found[address] = (start, local.group(2)[: int(local.group(1))])
    return found


def source_line(library: Path, offset: int) -> str:
    """ "line N" of the text for an instruction of the library, or "" if unknown."""
    try:
        places = run(["addr2line", "-e", str(library), "-i", hex(offset - 1)]).splitlines()
    except (ToolchainError, subprocess.CalledProcessError):
        return ""
    for place in places:
        name, _, line = place.split(" ")[0].rpartition(":")
        if name.endswith(SOURCE_NAME) and line.isdigit():
            return f"line {line}"
    return ""
