"""Many texts by one run of each tool, ahead of their use.

Starting clang and reading its precompiled header takes as long as compiling a small text. Here the
texts become one, each in a namespace of its own; the cache then knows each of them as if it had
been compiled alone. The checks are the same ones.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path

from . import msl, strict, toolchain
from .lexer import MslError

_PART = "#pragma harness_part"
_DEFINED = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)


def compile_together(sources: list[str]) -> None:
    """Compiles (unoptimised) and strictly checks the texts that are not in the cache yet.

    Where they do not pass together, nothing is kept: each is compiled, and refused, on its own when
    it is used.
    """
    with toolchain.locked(toolchain.cache_directory() / f"{toolchain.key_of(*sources)}.lock"):
        new = [source for source in sources if not _is_known(source)]
        with contextlib.suppress(SyntaxError, MslError, subprocess.CalledProcessError):
            if new:
                _compile(new)


def _is_known(source: str) -> bool:
    return _record_of(source).exists() and strict.passed_mark(source).exists()


def _record_of(source: str) -> Path:
    return toolchain.record_of(source, toolchain.UNOPTIMISED)


def _compile(sources: list[str]) -> None:
    running, checked, parts = [], [], []
    for number, preprocessed in enumerate(_preprocess(sources)):
        scope, table = f"mh_part_{number}", f"{msl.TABLE}_{number}"
        translation = msl.translate(preprocessed)
        for kernel in translation.kernels:
            kernel.expression = f"::{scope}::{kernel.expression.lstrip(':')}"
        text = translation.text + msl.kernel_table(translation.kernels, table)
        running.append(f"namespace {scope} {{\n{text}\n}}\n")
        checked.append(_strict_part(preprocessed, scope, translation.kernels))
        parts.append((translation.kernels, table))
    strict.check_text("".join(checked))
    target = toolchain.cache_directory() / f"{toolchain.key_of(*sources)}.so"
    variables = toolchain.compile_text("".join(running), target, toolchain.UNOPTIMISED)
    for source, (kernels, table) in zip(sources, parts):
        compiled = toolchain.Compiled(target, kernels, table, variables)
        toolchain.write_record(_record_of(source), compiled)
        strict.passed_mark(source).touch()


def _preprocess(sources: list[str]) -> list[str]:
    """As toolchain.preprocess; no text sees the macros of the one before it."""
    joined = ""
    for source in sources:
        text = toolchain.numbered(source)
        names = dict.fromkeys(_DEFINED.findall(text))
        joined += f"{_PART}\n{text}\n" + "".join(f"#undef {name}\n" for name in names)
    return toolchain.expand(joined).split(f"{_PART}\n")[1:]


def _strict_part(preprocessed: str, scope: str, kernels: list) -> str:
    """In a namespace, and its kernels under names of their own, as kernels have C linkage."""
    names = [kernel.expression.rpartition("::")[2] for kernel in kernels]
    renamed = "".join(f"#define {name} {scope}_{name}\n" for name in names)
    restored = "".join(f"#undef {name}\n" for name in names)
    text = strict.translate(preprocessed)
    return f"{renamed}namespace {scope} {{\n{text}\n}}\n{restored}"
