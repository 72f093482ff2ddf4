"""The examples of the guides and of the adapters' page run, in order, on the CPU; those of
serving.md on every backend."""

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
    for guide in [*GUIDES, DOCS / "compat.md"]
    for number, code in enumerate(examples(guide), start=1)
]


def test_there_are_examples():
    assert all(len(examples(guide)) >= 5 for guide in GUIDES) and len(GUIDES) == 2


@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code):
    if "transformers" in code:
        pytest.importorskip("transformers")
    ccmps.install(force=True)
    try:
        exec(compile(code.replace('"mps"', '"cpu"'), "guide", "exec"), {})
    finally:
        ccmps.uninstall()


def test_serving(backend):
    """Its examples continue each other."""
    lines = examples(DOCS / "serving.md")
    assert len(lines) >= 8
    code = "\n".join(lines)
    assert code.count('device, dtype = "cpu"') == 1
    exec(compile(code.replace('= "cpu"', f'= "{backend.device}"'), "serving.md", "exec"), {})
