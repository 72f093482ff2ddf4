"""Metal text as tokens with matched brackets."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from . import modes

_TOKEN = re.compile(
    r"""(?P<directive>^[ \t]*\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
      | (?P<number>\.?[0-9](?:[eEpP][+-]|[0-9a-zA-Z_.'])*)
      | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<mark>::|->|<<=|>>=|[-+*/%&|^=!<>]=|&&|\|\||\+\+|--|<<|[^\s\w])""",
    re.VERBOSE | re.MULTILINE,
)
_COMMENT_OR_STRING = re.compile(
    r"""//(?:\\\n|[^\n])* | /\*.*?\*/ | "(?:\\.|[^"\\\n])*" """, re.VERBOSE | re.DOTALL
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class MslError(ValueError):
    """The text breaks a rule of Metal; `line` is where."""

    def __init__(self, message: str, line: int = 0):
        super().__init__(message)
        self.line = line


def _check_directive(text: str, version: int, line: int) -> None:
    """A compiler ignores a pragma that it does not know; then the text means something else."""
    pragma = re.match(r"[ \t]*#[ \t]*pragma[ \t]+(.*?)[ \t]*$", text)
    if not pragma:
        return
    words = " ".join(pragma.group(1).split())
    for name, since in modes.PRAGMAS.items():
        if not re.match(rf"{name}\b", words):
            continue
        if version < since:
            raise MslError(f"#pragma {name} needs Metal {since / 100:.1f}", line)
        known = modes.PRAGMA_ARGUMENTS.get(name)
        argument = words[len(name) :].strip()
        if known and argument not in [f"({word})" for word in known]:
            raise MslError(f"#pragma {name} takes ({', '.join(known)}), not {argument!r}", line)
        return
    raise MslError(f"unknown #pragma {words}", line)


def check_characters(source: str) -> None:
    """Raises MslError for a character outside comments that is not ASCII."""

    def without_comment(found: re.Match) -> str:
        text = found.group()
        return text if text.startswith('"') else re.sub(r"[^\n]", " ", text)

    code = source if source.isascii() else _COMMENT_OR_STRING.sub(without_comment, source)
    for number, line in enumerate(code.split("\n"), 1):
        if not line.isascii():
            column = next(i for i, c in enumerate(line) if not c.isascii())
            raise MslError(
                f"outside comments the source must be ASCII, and column {column + 1} is "
                f"{line[column]!r}",
                number,
            )


@dataclass(slots=True)
class Token:
    text: str
    kind: str
    start: int
    line: int
    match: int = -1  # of a bracket: the index of its partner


def tokenise(text: str) -> list[Token]:
    """The caller must leave the list as it is."""
    return _tokenise(text, modes.current().version)


@functools.lru_cache(maxsize=1)  # the two translations of a text follow each other
def _tokenise(text: str, version: int) -> list[Token]:
    tokens, line, at = [], 1, 0
    for found in _TOKEN.finditer(text):
        line += text.count("\n", at, found.start())
        at = found.start()
        kind = found.lastgroup
        if kind == "directive":
            marker = re.match(r"[ \t]*#[ \t]*(?:line[ \t]+)?(\d+)", found.group())
            if marker:  # the newline that ends it adds the one
                line = int(marker.group(1)) - 1
            else:
                _check_directive(found.group(), version, line)
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
