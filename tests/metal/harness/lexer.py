"""Metal text as tokens with matched brackets."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<directive>^[ \t]*\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
      | (?P<number>\.?[0-9](?:[eEpP][+-]|[0-9a-zA-Z_.'])*)
      | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<mark>::|->|<<=|>>=|[-+*/%&|^=!<>]=|&&|\|\||\+\+|--|<<|[^\s\w])""",
    re.VERBOSE | re.MULTILINE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class MslError(ValueError):
    """The text breaks a rule of Metal; `line` is where."""

    def __init__(self, message: str, line: int = 0):
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Token:
    text: str
    kind: str
    start: int
    line: int
    match: int = -1  # of a bracket: the index of its partner


@functools.lru_cache(maxsize=1)  # the two translations of a text follow each other
def tokenise(text: str) -> list[Token]:
    """The caller must leave the list as it is."""
    tokens, line, at = [], 1, 0
    for found in _TOKEN.finditer(text):
        line += text.count("\n", at, found.start())
        at = found.start()
        kind = found.lastgroup
        if kind == "directive":
            marker = re.match(r"[ \t]*#[ \t]*(?:line[ \t]+)?(\d+)", found.group())
            if marker:  # the newline that ends it adds the one
                line = int(marker.group(1)) - 1
            continue
        tokens.append(Token(found.group(), kind, found.start(), line))
    stack = []
    for i, token in enumerate(tokens):
        if token.kind != "mark":
            continue
        if token.text in _CLOSING:
            stack.append(i)
        elif token.text in ")]}":
            if not stack or _CLOSING[tokens[stack[-1]].text] != token.text:
                raise MslError(f"unbalanced '{token.text}'", token.line)
            token.match = stack.pop()
            tokens[token.match].match = i
    if stack:
        raise MslError(f"unbalanced '{tokens[stack[-1]].text}'", tokens[stack[-1]].line)
    return tokens
