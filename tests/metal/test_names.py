"""The kernels' global names are our own: Metal's library is in scope (`using namespace metal`), and
what the next version of it adds must not collide with them."""

import re
from pathlib import Path

import pytest

GPU = Path(__file__).resolve().parent.parent.parent / "src" / "gpu" / "text"
TEXTS = sorted(GPU.glob("*.h"))
METAL_TYPES = {"uint", "ushort"}  # which CUDA lacks

DECLARATION = re.compile(
    r"""typedef\b[^;]*?(\w+)\s*;          # typedef float NAME;
      | (?:struct|enum|union|namespace)\s+(\w+)\s*[{;]
      | ENTRY\(\s*(\w+)
      | (\w+)\s*\([^()]*\)\s*[{;]          # a function
      | (\w+)\s*(?:\[[^]]*\]\s*)*(?:=|;)   # a variable
    """,
    re.VERBOSE,
)


def without_bodies(text):
    depth, kept = 0, []
    for character in text:
        depth -= character == "}"
        if depth == 0:
            kept.append(character)
        depth += character == "{"
        if depth == 1 and character == "{":
            kept.append("{")
    return "".join(kept)


def names(text):
    """Every name that a text declares at global scope, and every macro."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    directive = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*$", re.MULTILINE)
    macros = re.findall(r"#\s*define\s+(\w+)", "\n".join(directive.findall(text)))
    text = re.sub(r"\{\s*\}", "{ }", directive.sub("", text)).replace("using namespace metal;", "")
    declared = [name for m in DECLARATION.findall(without_bodies(text)) for name in m if name]
    return set(declared), set(macros)


def foreign(text):
    declared, macros = names(text)
    return {name for name in declared - METAL_TYPES if not name.startswith("cc1d_")} | {
        name for name in macros if name != name.upper()
    }


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_global_names_have_our_prefix(path):
    assert not foreign(path.read_text())


def test_every_kind_of_name_is_seen():
    text = """
    #define WIDE(value) \\
        inside(value)
    #define small 3
    typedef float real; typedef struct cc1d_good { int field; } cc1d_good;
    struct pack { uint word[4]; void method() {} };
    struct cursor {};
    FN float divide(uint n, CONSTANT cc1d_divisor &by) { return helper(n) / by; }
    /* FN float commented(int a) { } */
    constant float table[4] = {0, 1, 2, 3};
    ENTRY(walk, cc1d_conv_params) { int local = 0; }
    """
    assert foreign(text) == {"small", "real", "pack", "cursor", "divide", "table", "walk"}
    declared, macros = names("".join(path.read_text() for path in TEXTS))
    assert {"cc1d_pack", "cc1d_silu", "cc1d_forward_time", "cc1d_id_at", "cc1d_cursor"} <= declared
    assert {"FN", "STRIDE", "TEAM"} <= macros
