"""The functions of a Metal text, and which of them are kernels with which parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .lexer import MslError
from .source import Source

# Parameter attributes that name a field of mh_thread.
_GRID_ATTRIBUTES = """
    thread_position_in_grid thread_position_in_threadgroup threadgroup_position_in_grid
    threads_per_threadgroup dispatch_threads_per_threadgroup threads_per_grid threadgroups_per_grid
    thread_index_in_threadgroup thread_index_in_simdgroup simdgroup_index_in_threadgroup
    threads_per_simdgroup thread_execution_width simdgroups_per_threadgroup
    dispatch_simdgroups_per_threadgroup thread_index_in_quadgroup quadgroup_index_in_threadgroup
    quadgroups_per_threadgroup"""
GRID_ATTRIBUTES = frozenset(_GRID_ATTRIBUTES.split())
ADDRESS_SPACES = frozenset(("device", "constant", "threadgroup", "thread"))
MAX_BUFFERS = 31
MAX_THREADS = 1024

_NOT_A_FUNCTION = ("decltype", "alignas", "__attribute__")
_NOT_A_VARIABLE = ("using", "typedef", "template", "static_assert", "friend", "extern", "_Pragma")
_REFUSED_PARAMETERS = {
    "threadgroup": "threadgroup memory cannot be sized through compile_shader; "
    "declare the array in the kernel",
    "texture": "textures cannot be bound through compile_shader",
    "sampler": "samplers cannot be bound through compile_shader",
    "stage_in": "stage_in is for vertex and fragment functions",
}


@dataclass
class Parameter:
    kind: str  # "buffer" or a grid attribute
    index: int = 0  # of a buffer


@dataclass
class Kernel:
    name: str  # as the library lists it
    expression: str  # as C++ names it
    parameters: list[Parameter]
    max_threads: int = MAX_THREADS

    @property
    def buffers(self) -> list[int]:
        return [p.index for p in self.parameters if p.kind == "buffer"]


@dataclass
class Function:
    """A declaration with a parameter list, as token indices [begin, end)."""

    begin: int
    end: int
    plain: list[int]
    opening: int  # of the parameter list
    body: int  # of the '{', or end
    is_template: bool
    is_kernel: bool
    scope: tuple  # namespaces, and the body of the struct that it belongs to
    attributes: dict[str, str] = field(default_factory=dict)


class Declarations:
    """Reads the whole text once."""

    def __init__(self, source: Source):
        self.source = source
        self.functions: list[Function] = []
        self.instances: list[tuple[int, int]] = []  # explicit instantiations with a host_name
        self.kernels: list[Kernel] = []
        self.variables: list[list[int]] = []  # at namespace scope, by their tokens
        self._templates: dict[str, tuple[list[Parameter], int]] = {}
        self._scope: list[str] = []
        self._record = -1
        self._read(0, len(source.tokens))
        names = [kernel.name for kernel in self.kernels]
        for name in names:
            if names.count(name) > 1:
                raise MslError(f"two kernels are named '{name}'")

    def _read(self, i: int, end: int) -> None:
        tokens = self.source.tokens
        while i < end:
            if tokens[i].text == ";":
                i += 1
            elif tokens[i].text == "namespace":
                i = self._namespace(i, end)
            elif tokens[i].text in ("public", "private", "protected"):
                i += 2
            else:
                stop = self._end(i, end)
                self._declaration(i, stop)
                i = stop

    def _namespace(self, begin: int, end: int) -> int:
        tokens = self.source.tokens
        body = next(i for i in self.source.walk(begin, end) if tokens[i].text in "{;")
        if tokens[body].text == ";":  # an alias
            return body + 1
        names = [tokens[i].text for i in range(begin + 1, body) if tokens[i].kind == "word"]
        outside, self._scope = self._scope, [*self._scope, *names]
        self._read(body + 1, tokens[body].match)
        self._scope = outside
        return tokens[body].match + 1

    def _end(self, begin: int, end: int) -> int:
        """After the ';' or the function body that ends the declaration."""
        tokens = self.source.tokens
        is_function = is_record = False
        for i in self.source.walk(begin, end):
            text = tokens[i].text
            if text in ("struct", "class", "union", "enum") and not is_function:
                is_record = is_record or not self._in_angles(begin, i)
            if text == "=" and not is_function and not self._in_angles(begin, i):
                is_record = True
            if text == "(" and not is_record:
                is_function = is_function or tokens[i - 1].text not in _NOT_A_FUNCTION
            if text == ";":
                return i + 1
            if text == "{" and is_function and not is_record:
                return tokens[i].match + 1
        return end

    def _in_angles(self, begin: int, at: int) -> bool:
        depth = 0
        for token in self.source.tokens[begin:at]:
            depth += (token.text == "<") - (token.text == ">")
        return depth > 0

    def _declaration(self, begin: int, end: int) -> None:
        source = self.source
        plain = source.plain(begin, end)
        texts = [source.tokens[i].text for i in plain]
        if not texts:
            return
        body = next((i for i in plain if source.tokens[i].text == "{"), end)
        is_template = texts[:2] == ["template", "<"]
        is_instance = texts[0] == "template" and not is_template
        opening = self._parameter_list(plain)
        attributes = source.attributes(begin, end if opening is None else opening)
        if is_instance:
            if "host_name" in attributes:
                self._instance(plain, opening, attributes)
                self.instances.append((begin, end))
            return
        if self._is_record(plain):
            if body < end:  # its member functions
                outside, self.variables, self._record = (self.variables, self._record), [], body
                self._read(body + 1, source.tokens[body].match)
                self.variables, self._record = outside
            return
        is_kernel = "kernel" in texts or "kernel" in attributes
        if is_kernel and opening is None:
            raise MslError("a kernel needs a parameter list", source.tokens[plain[0]].line)
        if opening is not None and (opening < body or body == end):
            scope = (*self._scope, self._record)
            function = Function(
                begin, end, plain, opening, body, is_template, is_kernel, scope, attributes
            )
            self.functions.append(function)
            if is_kernel and body < end:
                self._kernel(function)
        elif texts[0] not in _NOT_A_VARIABLE:
            self.variables.append(plain)

    def _is_record(self, plain: list[int]) -> bool:
        depth = 0
        for i in plain:
            text = self.source.tokens[i].text
            depth += (text == "<") - (text == ">")
            if depth == 0 and text in ("struct", "class", "union", "enum"):
                return True
            if text in ("(", "=", "{"):
                return False
        return False

    def _parameter_list(self, plain: list[int]) -> int | None:
        tokens = self.source.tokens
        depth = 0
        for position, i in enumerate(plain):
            text = tokens[i].text
            before = tokens[plain[position - 1]] if position else None
            depth += (text == "<" and before is not None) - (text == ">")
            if text == "=" and depth <= 0:
                return None
            if text == "(" and depth <= 0 and before and before.text not in _NOT_A_FUNCTION:
                return i
        return None

    def _declarator(self, plain: list[int], stop: int | None) -> str:
        """The name before the parameter list (or the final ';'), with its template arguments."""
        tokens = self.source.tokens
        before = [i for i in plain if (stop is None or i < stop) and tokens[i].text != ";"]
        start, depth = len(before) - 1, 0
        while start >= 0:
            text = tokens[before[start]].text
            depth += (text == ">") - (text == "<")
            if depth == 0 and tokens[before[start]].kind == "word":
                break
            start -= 1
        while start >= 2 and tokens[before[start - 1]].text == "::":
            start -= 2
        return self.source.slice(before[start], before[-1] + 1)

    def _kernel(self, function: Function) -> None:
        name = self._declarator(function.plain, function.opening)
        line = self.source.tokens[function.opening].line
        parameters = self._parameters(name, function.opening)
        threads = function.attributes.get("max_total_threads_per_threadgroup", str(MAX_THREADS))
        if not threads.strip().isdigit() or not 0 < int(threads) <= MAX_THREADS:
            raise MslError(
                f"max_total_threads_per_threadgroup({threads}) of kernel '{name}' must be a "
                f"number from 1 to {MAX_THREADS}",
                line,
            )
        if function.is_template:
            self._templates[name] = (parameters, int(threads))
            return
        host_name = _literal(function.attributes.get("host_name", f'"{name}"'))
        self.kernels.append(Kernel(host_name, self._qualified(name), parameters, int(threads)))

    def _qualified(self, name: str) -> str:
        return "::" + "::".join([*self._scope, name])

    def _instance(self, plain: list[int], opening: int | None, attributes: dict[str, str]) -> None:
        expression = self._declarator(plain, opening)
        stem = expression.split("<")[0]
        name = stem.strip().split("::")[-1]
        if name not in self._templates:
            line = self.source.tokens[plain[0]].line
            raise MslError(f"'{expression}' instantiates no kernel template", line)
        parameters, threads = self._templates[name]
        qualified = expression if "::" in stem else self._qualified(expression)
        self.kernels.append(
            Kernel(_literal(attributes["host_name"]), qualified, parameters, threads)
        )

    # -- parameters -------------------------------------------------------------------------------

    def split_parameters(self, opening: int) -> list[tuple[int, int]]:
        """The token ranges between the commas of a parameter list."""
        source = self.source
        parts, start, depth = [], opening + 1, 0
        closing = source.tokens[opening].match
        for i in source.plain(opening + 1, closing):
            text = source.tokens[i].text
            depth += (text == "<") - (text == ">")
            if text == "," and depth <= 0:
                parts.append((start, i))
                start = i + 1
        if start < closing:
            parts.append((start, closing))
        return [part for part in parts if source.slice(*part).strip() != "void"]

    def _parameters(self, kernel: str, opening: int) -> list[Parameter]:
        parameters = [self._parameter(kernel, *part) for part in self.split_parameters(opening)]
        buffers = [p for p in parameters if p.kind == "buffer"]
        taken = {p.index for p in buffers if p.index >= 0}
        for parameter in buffers:  # those without a number get the lowest free one
            if parameter.index < 0:
                parameter.index = min(set(range(len(taken) + 1)) - taken)
                taken.add(parameter.index)
        line = self.source.tokens[opening].line
        if len({p.index for p in buffers}) != len(buffers):
            raise MslError(f"kernel '{kernel}' uses a buffer index twice", line)
        if any(p.index >= MAX_BUFFERS for p in buffers):
            raise MslError(f"kernel '{kernel}' uses a buffer index above {MAX_BUFFERS - 1}", line)
        return parameters

    def _parameter(self, kernel: str, begin: int, end: int) -> Parameter:
        source = self.source
        attributes = source.attributes(begin, end)
        texts = [source.tokens[i].text for i in source.plain(begin, end)]
        # An array is a pointer to its first element.
        is_pointer = bool({"*", "&", "["} & {*texts})

        def refuse(reason: str) -> MslError:
            text = " ".join(source.slice(begin, end).split())
            line = source.tokens[begin].line
            return MslError(f"parameter '{text}' of kernel '{kernel}' {reason}", line)

        for name, reason in _REFUSED_PARAMETERS.items():
            if name in attributes:
                raise refuse(f"cannot be bound: {reason}")
        index = attributes.get("buffer", "").strip()
        if "buffer" in attributes and not (index.isdigit() and is_pointer):
            raise refuse("must be a pointer or a reference with a number as its buffer index")
        if not is_pointer:
            for name in attributes:
                if name in GRID_ATTRIBUTES:
                    return Parameter(name)
            unknown = ", ".join(attributes)
            raise refuse(f"has the unknown attribute {unknown}" if unknown else "has no attribute")
        if not {"device", "constant"} & {*texts}:
            raise refuse("needs the address space device or constant")
        return Parameter("buffer", int(index) if index else -1)


def _literal(text: str) -> str:
    """Adjacent string literals are one."""
    return "".join(re.findall(r'"([^"]*)"', text))
