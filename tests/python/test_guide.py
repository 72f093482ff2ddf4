"""The examples of the guides run, in order, on the CPU."""

import re
from pathlib import Path

import pytest

import causal_conv1d_mps as ccmps

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted(DOCS.glob("guide*.md"))


def examples(guide):
    return re.findall(r"^```python\n(.*?)^```$", guide.read_text("utf-8"), re.MULTILINE | re.DOTALL)


EXAMPLES = [
    pytest.param(code, id=f"{guide.stem}-{number}")
    for guide in GUIDES
    for number, code in enumerate(examples(guide), start=1)
]


def test_there_are_examples_and_both_languages_have_the_same():
    english, chinese = (examples(DOCS / name) for name in ("guide.md", "guide_CN.md"))
    assert len(english) >= 5

    def code(text):
        return [line.split("#")[0].rstrip() for line in text.splitlines()]

    assert [code(e) for e in english] == [code(c) for c in chinese]


@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code):
    if "transformers" in code:
        pytest.importorskip("transformers")
    ccmps.install(force=True)
    try:
        exec(compile(code.replace('"mps"', '"cpu"'), "guide", "exec"), {})
    finally:
        ccmps.uninstall()


def test_links():
    for guide in GUIDES:
        text = guide.read_text("utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (DOCS / target).exists(), f"{guide.name} links to {target}"
