"""The strict compile: the same Metal text with real address spaces.

clang compiles it as C++ for OpenCL, whose global, constant, local and private are Metal's device,
constant, threadgroup and thread: a pointer that changes its address space is an error. A pointer or
reference without one, which OpenCL would make generic and Metal refuses, is found here.
"""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from . import toolchain
from .declarations import ADDRESS_SPACES, Declarations, Function
from .lexer import MslError
from .source import Source

_WORDS = {
    "device": "__global",
    "constant": "__constant",
    "thread": "__private",
    "threadgroup": "__local",
}
_LANGUAGE = [
    "-x",
    "cl",
    "-cl-std=clc++2021",
    "-cl-no-stdinc",
    "-nostdinc",
    "-fdeclspec",
    "-DMH_STRICT",
    "-Wno-everything",
]
_STATEMENT_WORDS = frozenset(("return", "case", "else", "do", "using", "typedef", "break", "auto"))


def check(source: str) -> None:
    """Raises SyntaxError if the text breaks Metal's rules for address spaces."""
    passed = passed_mark(source)
    if passed.exists():
        return
    try:
        text = translate(toolchain.preprocess(source))
    except MslError as error:
        raise SyntaxError(f"{toolchain.SOURCE_NAME}:{error.line}: error: {error}") from None
    check_text(text)
    passed.touch()


def passed_mark(source: str) -> Path:
    """The file that exists once the text has passed."""
    return toolchain.cache_directory() / f"{toolchain.key_of(source)}.strict"


def check_text(text: str) -> None:
    command = [toolchain.clang(), *_LANGUAGE, "-include-pch", str(_precompiled_header())]
    try:
        toolchain.run([*command, "-fsyntax-only", "-"], text)
    except subprocess.CalledProcessError as error:
        raise SyntaxError(_in_metal_words(toolchain.tidy(error.stderr))) from None


@functools.cache
def _precompiled_header() -> Path:
    target = toolchain.cache_directory() / "strict.pch"
    if not target.exists():
        command = [toolchain.clang(), *_LANGUAGE, "-Xclang", "-emit-pch", "-c"]
        toolchain.build_ours([*command, str(toolchain.headers() / "metal_strict.h")], target)
    return target


def _in_metal_words(message: str) -> str:
    for metal, opencl in _WORDS.items():
        message = message.replace(opencl, metal)
    return message.replace("metal_name_", "")


def translate(preprocessed: str) -> str:
    """Raises MslError where the text breaks a rule that is checked here."""
    source = Source(preprocessed)
    declarations = Declarations(source)
    for function in declarations.functions:
        _check_parameters(source, declarations, function)
    for plain in declarations.variables:
        if "constant" not in {source.tokens[i].text for i in plain}:
            raise MslError(
                f"program-scope variable '{source.slice(plain[0], plain[-1])}' needs the address "
                "space constant",
                source.tokens[plain[0]].line,
            )
    _check_statements(source)
    for function in declarations.functions:
        if function.is_kernel:
            _mark_kernel(source, function)
    _replace_words(source)
    return source.render()


def _check_parameters(source: Source, declarations: Declarations, function: Function) -> None:
    for begin, end in declarations.split_parameters(function.opening):
        words = {source.tokens[i].text for i in source.plain(begin, end)}
        if words & {"*", "&"} and not words & ADDRESS_SPACES:
            raise _no_address_space(source, begin, end)


def _check_statements(source: Source) -> None:
    """Pointers and references that a declaration makes outside parameter lists."""
    tokens = source.tokens
    enclosing = ["{"]
    for i, token in enumerate(tokens):
        if token.kind == "mark" and token.match >= 0:
            if token.match > i:
                enclosing.append(token.text)
            else:
                enclosing.pop()
        starts = i == 0 or tokens[i - 1].text in ("{", "}", ";")
        if starts and enclosing[-1] == "{" and token.kind == "word":
            _check_statement(source, i)


def _check_statement(source: Source, begin: int) -> None:
    tokens = source.tokens
    i, angles, words, stars = begin, 0, set(), 0
    while i < len(tokens):
        token = tokens[i]
        angles += (token.text == "<") - (token.text == ">")
        if token.kind == "word" and angles == 0:
            if stars and token.text != "const":
                break
            words.add(token.text)
        elif token.text in ("*", "&") and angles == 0:
            stars += 1
        elif token.text not in ("::", "<", ">") and angles == 0:
            return
        i += 1
    declares = i + 1 < len(tokens) and tokens[i + 1].text in ("=", ";", ",", "[", "(")
    if declares and not words & (ADDRESS_SPACES | _STATEMENT_WORDS):
        raise _no_address_space(source, begin, i + 1)


def _no_address_space(source: Source, begin: int, end: int) -> MslError:
    text = " ".join(source.slice(begin, end).split())
    return MslError(
        f"'{text}': a pointer or reference needs an address space: device, constant, threadgroup "
        "or thread",
        source.tokens[begin].line,
    )


def _mark_kernel(source: Source, function: Function) -> None:
    """OpenCL has no kernel templates: they become functions."""
    if function.is_template:
        if function.body < function.end:
            _detach_threadgroup_variables(source, function)
        return
    for i in function.plain:
        if source.tokens[i].text == "kernel":
            source.edit(i, "__kernel")
            return
    for start, stop in source.attribute_end.items():
        in_header = function.begin <= start < function.opening
        if in_header and "kernel" in source.attributes(start, stop):
            source.insert(start, "__kernel")


def _detach_threadgroup_variables(source: Source, function: Function) -> None:
    """`threadgroup T name[4];` becomes a type of its shape and a reference to such memory."""
    tokens = source.tokens
    for i in range(function.body, function.end):
        found = source.threadgroup_variables(i) if tokens[i].text == "threadgroup" else None
        if found is None:
            continue
        names, semicolon = found
        source.edit(i, "typedef")
        references = ""
        for index in names:
            name = tokens[index].text
            source.edit(index, f"mh_type_of_{name}")
            references += f" __local mh_type_of_{name} &{name} = *(__local mh_type_of_{name} *)0;"
        source.edit(semicolon, ";" + references)


def _replace_words(source: Source) -> None:
    for i in source.live_tokens():
        token = source.tokens[i]
        if token.kind == "number":
            source.edit_number(i)
        elif token.text in _WORDS:
            source.edit(i, _WORDS[token.text])
        elif token.text == "kernel":
            source.edit(i, " " * len(token.text))
        else:
            source.refuse_word(i)
