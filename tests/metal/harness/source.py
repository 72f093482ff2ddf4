"""Metal text that is edited in place: lines stay lines, so that messages point at the original."""

from __future__ import annotations

import re
from collections.abc import Iterator

from . import modes
from .lexer import MslError, Token, tokenise

_LITERALS = {"": "{}f", "h": "half({}f)", "bf": "bfloat({}f)"}
_BFLOAT = re.compile(r"(packed_)?bfloat[234]?")
_REFUSED_WORDS = {
    "double": "Metal has no double",
    "goto": "Metal has no goto",
    "virtual": "Metal has no virtual functions",
    "new": "Metal has no dynamic allocation",
    "delete": "Metal has no dynamic allocation",
    "throw": "Metal has no exceptions",
    "try": "Metal has no exceptions",
    "dynamic_cast": "Metal has no run-time type information",
    "typeid": "Metal has no run-time type information",
    "thread_local": "Metal has no thread_local",
    "asm": "Metal has no inline assembly",
}


class Source:
    def __init__(self, text: str):
        self.text = text
        self.tokens: list[Token] = tokenise(text)
        self.attribute_end: dict[int, int] = {}  # index of its '[' -> index after its ']'
        self._edits: dict[int, str] = {}  # token index -> replacement
        self._blanks: list[tuple[int, int]] = []  # character ranges that become spaces
        self._insertions: dict[int, str] = {}  # where blanks were -> text that fits there
        self._find_attributes()

    def _find_attributes(self) -> None:
        tokens = self.tokens
        i = 0
        while i + 1 < len(tokens):
            inner = tokens[i + 1]
            if tokens[i].text == "[" == inner.text and inner.match + 1 == tokens[i].match:
                end = tokens[i].match + 1
                self.attribute_end[i] = end
                self.blank(i, end)
                if "function_constant" in self.attributes(i, end):
                    name = tokens[i - 1].text
                    raise MslError(
                        f"'{name}': function constants cannot be set through compile_shader",
                        tokens[i].line,
                    )
                i = end
            else:
                i += 1

    # -- reading ----------------------------------------------------------------------------------

    def attributes(self, begin: int, end: int) -> dict[str, str]:
        """Name -> argument text of every attribute in the tokens [begin, end)."""
        found = {}
        for start, stop in self.attribute_end.items():
            if not begin <= start < end:
                continue
            i = start + 2
            while i < stop - 2:
                name = self.tokens[i].text
                i += 1
                argument = ""
                if i < stop - 2 and self.tokens[i].text == "(":
                    close = self.tokens[i].match
                    argument = self.slice(i + 1, close)
                    i = close + 1
                if name not in ",:":
                    found[name] = argument
        return found

    def slice(self, begin: int, end: int) -> str:
        """The text of the tokens [begin, end)."""
        if begin >= end:
            return ""
        last = self.tokens[end - 1]
        return self.text[self.tokens[begin].start : last.start + len(last.text)]

    def plain(self, begin: int, end: int) -> list[int]:
        """Indices in [begin, end) outside attributes; brackets appear without their contents."""
        return list(self.walk(begin, end))

    def walk(self, begin: int, end: int) -> Iterator[int]:
        """The indices of `plain`, one after another."""
        i = begin
        while i < end:
            if i in self.attribute_end:
                i = self.attribute_end[i]
                continue
            yield i
            token = self.tokens[i]
            i = token.match if token.match > i else i + 1

    def threadgroup_variables(self, i: int) -> tuple[list[int], int] | None:
        """For the word `threadgroup` at i: the names that it declares and the closing ';'.

        None if it qualifies a pointer, a reference or a parameter, which are ordinary variables.
        """
        tokens = self.tokens
        before = tokens[i - 1].text if i else ";"
        if before not in ("{", "}", ";", "const", "volatile", "static", ")"):
            return None
        names, angles = [], 0
        for j in self.walk(i + 1, len(tokens)):
            text = tokens[j].text
            angles += (text == "<") - (text == ">")
            if angles > 0:
                continue
            if text in ("*", "&", "&&", ")", "("):
                return None
            if text in ("[", ",", ";") and tokens[j - 1].kind == "word":
                names.append(j - 1)
            if text in ("=", "{"):
                raise MslError("a threadgroup variable cannot have an initialiser", tokens[i].line)
            if text == ";":
                return names, j
        return None

    # -- editing ----------------------------------------------------------------------------------

    def blank(self, begin: int, end: int) -> None:
        last = self.tokens[end - 1]
        self._blanks.append((self.tokens[begin].start, last.start + len(last.text)))

    def edit(self, index: int, replacement: str) -> None:
        self._edits[index] = replacement

    def insert(self, index: int, word: str) -> None:
        """Writes a word over the start of something blanked."""
        self._insertions[self.tokens[index].start] = word

    def live_tokens(self) -> list[int]:
        """Indices of the tokens that are neither blanked nor edited."""
        live, at = [], 0
        blanks = sorted(self._blanks)
        for i, token in enumerate(self.tokens):
            while at < len(blanks) and blanks[at][1] <= token.start:
                at += 1
            if not (at < len(blanks) and blanks[at][0] <= token.start) and i not in self._edits:
                live.append(i)
        return live

    def edit_number(self, i: int) -> None:
        """A floating literal without a suffix is float; h and bf make half and bfloat."""
        token = self.tokens[i].text
        text = token.lower()
        is_hex = text.startswith("0x")
        if not re.search(r"p" if is_hex else r"[.e]", text):
            return
        suffix = re.search(r"[a-z]*$", text.partition("p" if is_hex else "e")[2] or text).group()
        if suffix == "bf" and modes.current().version < modes.BFLOAT_SINCE:
            raise MslError(f"the literal {token} needs Metal 3.1", self.tokens[i].line)
        if suffix in _LITERALS:
            self.edit(i, _LITERALS[suffix].format(token[: len(token) - len(suffix)]))

    def refuse_word(self, i: int) -> None:
        """Raises if the word is one of C++ that Metal does not have."""
        token, before = self.tokens[i], self.tokens[i - 1].text if i else ""
        if modes.current().version < modes.BFLOAT_SINCE and _BFLOAT.fullmatch(token.text):
            raise MslError("bfloat needs Metal 3.1", token.line)
        deleted_function = token.text == "delete" and before == "="
        if token.text in _REFUSED_WORDS and before != "operator" and not deleted_function:
            raise MslError(_REFUSED_WORDS[token.text], token.line)

    def render(self) -> str:
        text = list(self.text)
        for begin, end in self._blanks:
            for i in range(begin, end):
                if text[i] != "\n":
                    text[i] = " "
        for start, word in self._insertions.items():
            text[start : start + len(word)] = word
        for index, replacement in self._edits.items():
            token = self.tokens[index]
            text[token.start] = replacement
            for i in range(token.start + 1, token.start + len(token.text)):
                text[i] = ""
        return "".join(text)
