"""From preprocessed Metal text to C++14 text that clang compiles and that runs on the CPU.

Address spaces vanish (strict.py checks them). A threadgroup variable becomes a static one in a
section of its own: one threadgroup runs at a time. Lines stay lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from .declarations import ADDRESS_SPACES, Declarations, Function, Kernel
from .source import Source

TABLE = "mh_kernels"


@dataclass
class Translation:
    text: str
    kernels: list[Kernel]


def translate(preprocessed: str) -> Translation:
    """Raises MslError where the text breaks a rule that is checked here."""
    source = Source(preprocessed)
    declarations = Declarations(source)
    for begin, end in declarations.instances:  # naming the kernel in the table instantiates it
        source.blank(begin, end)
    _merge_overloads(source, declarations.functions)
    for function in declarations.functions:
        if function.is_kernel:
            _make_static(source, function)
    _replace_words(source)
    return Translation(source.render(), declarations.kernels)


def _merge_overloads(source: Source, functions: list[Function]) -> None:
    """Functions that differ in address spaces alone are one function here."""
    seen: dict[tuple, list[str]] = {}
    for function in functions:
        words = [token.text for token in source.tokens[function.begin : function.end]]
        same = (function.scope, *(word for word in words if word not in ADDRESS_SPACES))
        if seen.setdefault(same, words) != words:
            source.blank(function.begin, function.end)


def _make_static(source: Source, function: Function) -> None:
    """Internal linkage extends to its threadgroup variables, which red zones need."""
    header = [i for i in function.plain if i < function.opening]
    words = {source.tokens[i].text: i for i in header}
    if "static" in words:
        return
    if "kernel" in words:
        source.edit(words["kernel"], "static")
        return
    for start, stop in source.attribute_end.items():
        in_header = function.begin <= start < function.opening
        if in_header and "kernel" in source.attributes(start, stop):
            source.insert(start, "static")


def _replace_words(source: Source) -> None:
    for i in source.live_tokens():
        token = source.tokens[i]
        if token.kind == "number":
            source.edit_number(i)
        elif token.text in ("device", "thread", "kernel"):
            source.edit(i, " " * len(token.text))
        elif token.text == "constant":
            source.edit(i, "const   ")
        elif token.text == "threadgroup":
            is_variable = source.threadgroup_variables(i) is not None
            storage = "" if source.tokens[i - 1].text == "static" else "static "
            place = '__attribute__((used, section(".mh_tg")))'
            source.edit(i, storage + place if is_variable else " " * len(token.text))
        else:
            source.refuse_word(i)


def kernel_table(kernels: list[Kernel], table: str = TABLE) -> str:
    """C++ that calls each kernel with a thread's values, and the table of these calls."""
    lines = ['\n#line 1 "kernel table"']
    rows = []
    for number, kernel in enumerate(kernels):
        arguments, sizes = [], []
        for position, parameter in enumerate(kernel.parameters):
            kind = f"parameter_{number}<{position}>"
            if parameter.kind == "buffer":
                arguments.append(f"mh::bound<{kind}>::get(t, {parameter.index}u)")
                sizes.append(f"mh::bound<{kind}>::size")
            else:
                arguments.append(f"mh::grid<{kind}>::get(t->{parameter.kind})")
        lines += [
            f"typedef decltype(&({kernel.expression})) function_{number};",
            f"template <int I> using parameter_{number} = "
            f"typename mh::signature<function_{number}>::template parameter<I>;",
            f'__attribute__((no_sanitize("address"))) static void entry_{number}'
            f"(const mh_thread *t) {{ (void)t; {kernel.expression}({', '.join(arguments)}); }}",
            f"static const unsigned sizes_{number}[] = {{{', '.join([*sizes, '0'])}}};",
        ]
        rows.append(
            f"{{entry_{number}, (void (*)())(function_{number})&({kernel.expression}), "
            f"sizes_{number}}}"
        )
    lines.append(
        'extern "C" __attribute__((visibility("default"))) const mh_kernel '
        + f"{table}[] = {{"
        + ", ".join([*rows, "{nullptr, nullptr, nullptr}"])
        + "};"
    )
    return "\n".join(lines) + "\n"
