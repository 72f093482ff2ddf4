"""The READMEs and guides: examples run as typed, claims about names and versions are true, both
languages say the same, Chinese text has Chinese punctuation."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
from test_guide import examples

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _cli

ROOT = Path(__file__).parents[2]
PAIRS = [("README.md", "README_CN.md"), ("docs/guide.md", "docs/guide_CN.md")]
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def read(name):
    return (ROOT / name).read_text("utf-8")


# --- what is said is so --------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS[0])
def test_quick_start_runs_as_typed(name, capsys):
    (code,) = examples(ROOT / name)
    exec(compile(code, name, "exec"), {})
    assert capsys.readouterr().out.endswith("agrees with PyTorch\n")


@pytest.mark.parametrize("name", PAIRS[0])
def test_commands_exist(name):
    text = read(name)
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    made = set(re.findall(r"\bmake (?:[A-Z_]+=\S* )?([a-z-]+)(?=[`\s])", text))
    assert {"demo", "test", "test-mac", "check", "bench"} <= made <= targets
    modules = set(re.findall(r"python -m causal_conv1d_mps ([a-z-]+)", text))
    assert {"info", "demo"} <= modules <= set(_cli.COMMANDS)


@pytest.mark.parametrize("name", PAIRS[0])
def test_functions_have_the_parameters_of_the_table(name):
    rows = re.findall(r"^\| `(causal_conv1d\w*)\((.*?)\)`", read(name), re.MULTILINE)
    assert len(rows) == 5
    for function, parameters in rows:
        signature = inspect.signature(getattr(ccmps, function))
        named = [parameter for parameter in parameters.split(", ") if parameter != "*"]
        assert named == list(signature.parameters)


@pytest.mark.parametrize("name", PAIRS[0])
def test_versions(name):
    text, project = read(name), read("pyproject.toml")
    assert re.search(rf"(Version|版本) {re.escape(ccmps.__version__)}\b", text)
    for pattern, stated in (
        (r'requires-python = ">=([\d.]+)"', r"Python ([\d.]+)[,、] ?PyTorch"),
        (r'dependencies = \["torch>=([\d.]+)"\]', r"Python [\d.]+[,、] ?PyTorch ([\d.]+)"),
    ):
        assert re.findall(stated, text) == re.findall(pattern, project)


@pytest.mark.parametrize("name", PAIRS[1])
def test_guide_names_the_version_that_the_drop_in_stands_for(name):
    ccmps.install(force=True)
    try:
        version = importlib.import_module("causal_conv1d").__version__.split("+")[0]
    finally:
        ccmps.uninstall()
    assert re.findall(r"\b1\.[67]\.\d+", read(name)) == [version] * 2


def test_models_that_take_the_drop_in_and_the_one_that_does_not():
    transformers = pytest.importorskip("transformers")

    def takes_the_drop_in(model):
        source = Path(transformers.__file__).parent / "models" / model / f"modeling_{model}.py"
        return re.search(
            r'@use_kernel\w*\("causal_conv1d_fn", "causal_conv1d"\)', source.read_text()
        )

    for model in ("lfm2_moe", "qwen3_5_moe", "granitemoehybrid", "kimi_linear"):
        assert takes_the_drop_in(model), model
    assert not takes_the_drop_in("lfm3")


@pytest.mark.parametrize("name", [name for pair in PAIRS for name in pair])
def test_links(name):
    """Files exist, and so do the headings that links name, as GitHub spells them."""

    def anchors(text):
        titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE)
        return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}

    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", read(name))
    assert targets
    for target in targets:
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), f"{name} links to {target}"
        assert not anchor or anchor in anchors(path.read_text("utf-8")), f"{name} links to {target}"


# --- both languages say the same -----------------------------------------------------------------


def without_comments(block):
    return [line.split("#")[0].rstrip() for line in block.splitlines()]


def outline(text):
    """The level of every heading, and of every table row its number of cells and its numbers."""
    for line in BLOCK.sub("", text).splitlines():
        if line.startswith("#"):
            yield len(line) - len(line.lstrip("#"))
        elif line.startswith("|"):
            yield line.count("|"), sorted(re.findall(r"\d+(?:\.\d+)*", line.replace("_CN", "")))


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_say_the_same(english, chinese):
    english, chinese = read(english), read(chinese)
    blocks = [[without_comments(b) for b in BLOCK.findall(text)] for text in (english, chinese)]
    assert blocks[0] == blocks[1]
    assert list(outline(english)) == list(outline(chinese))
    numbers = [set(re.findall(r"\d+(?:\.\d+)+", text)) for text in (english, chinese)]
    assert numbers[0] == numbers[1]


# --- Chinese punctuation -------------------------------------------------------------------------

HAN = r"[一-鿿]"


def half_width(text):
    """The lines that have half-width punctuation in Chinese text, outside code, links, formulas."""
    text = BLOCK.sub(lambda match: "\n" * match.group().count("\n"), text)
    for line in text.splitlines():
        prose = re.sub(r"`[^`]*`", "`", line)
        prose = re.sub(r"\]\([^)]*\)", "]", prose)
        prose = re.sub(r"\([\w ,.+-]*\)", "()", prose, flags=re.ASCII)  # (B, D, T)
        beside = re.search(rf"{HAN}[.,:;?!()]|[.,:;?!()]{HAN}", prose)
        within = re.search(HAN, prose) and re.search(r"(?<!\d)[,;:?!](?!\d)", prose)
        spaced = re.search(r"[，。：；？！（）、] [^|]|[^\s|] [，。：；？！（）、]", prose)
        if beside or within or spaced:
            yield line


@pytest.mark.parametrize("name", [chinese for _, chinese in PAIRS])
def test_chinese_text_has_full_width_punctuation(name):
    assert not list(half_width(read(name)))


def test_half_width_punctuation_is_found():
    wrong = [
        "本包,见",
        "支持(可选)",
        "需要:`a`",
        "见 `a`, 或 `b`",
        "（a）(见下)",
        "完成.",
        "真的?",
        "好， 的",
    ]
    assert list(half_width("\n".join(wrong))) == wrong
    right = [
        "y，或 (y, final_states)",
        "1,024 步",
        "`f(a, b)`：形状 (B, D, T)",
        "见 [这里](a_b.md)。",
    ]
    assert not list(half_width("\n".join([*right, "```", "a, 中", "```"])))
