"""`make test-mac` on the harness: every part runs whatever the others give, into one file."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "tools" / "mac_report.py"
FAILING = """
import pytest
def test_right(): pass
def test_wrong(): assert 1 == 2, "one is not two"
def test_absent(): pytest.skip("no")
"""
CRASHING = "import os\ndef test_crash(): os.abort()\n"
MANY = """
import pytest
@pytest.mark.parametrize("i", range(400))
def test_wrong(i): assert [i] * 500 == "``` | " * 500
"""


def run(tmp_path, *words, backend="harness", tests=(), environment=None, pytest_words=()):
    """(status, what it printed, the report)."""
    out = tmp_path / "report.md"
    words = [sys.executable, str(TOOL), "--backend", backend, "--out", str(out), *words]
    if tests:
        paths = []
        for number, text in enumerate(tests):
            paths.append(tmp_path / f"test_some_{number}.py")
            paths[-1].write_text(text)
        words += ["--tests", *map(str, paths)]
    done = subprocess.run(
        [*words, "--", "-q", *pytest_words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **(environment or {})},
    )
    return done.returncode, done.stdout + done.stderr, out.read_text(encoding="utf-8")


def test_a_report_of_what_passes(tmp_path):
    quick = ["--quick", "--seconds", "0.001", "--warm", "0.001"]
    status, said, report = run(tmp_path, *quick, tests=["def test_right(): pass\n"])
    assert (
        status == 0
        and "FAILED" not in report
        and report.endswith("\nEverything that was run passed.\n")
    ), said
    for line in (
        "| mps | can be used |",
        "| float32 subnormals | flushed to zero |",
        "| `__METAL_VERSION__` of compile_shader | 310 |",
        *(f"| the kernels in Metal {version} | yes |" for version in ("3.0", "3.1", "3.2", "4.0")),
        "| all | 1 | 0 | 0 |",
    ):
        assert line in report
    assert "| forward and backward |" in report and "| PyTorch |" in report
    row = r"^\| cc1d_forward_time \| forward, BDT, B 1, T \d+ \| [\d.]+ \|$"
    assert re.search(row, report, re.M)
    assert re.search(r"\d kernels, .* s in the compiler: {'dim': 8", report)
    for dtype in ("bf16", "fp32"):
        row = rf"^\| forward \(1, 64, 128\) {dtype} BDT \|( [\d.,]+ \|){{6}} yes \|$"
        assert re.search(row, report, re.M), report
    assert f"Paste {tmp_path / 'report.md'} into an issue" in said


def test_what_fails_or_crashes_stops_nothing(tmp_path):
    status, _, report = run(
        tmp_path,
        *("--parts", "machine", "tests", "metal"),
        tests=[FAILING, CRASHING, "def test_right(): pass\n"],
        environment={"CAUSAL_CONV1D_HARNESS_CLANG": "/nowhere/clang"},
    )
    assert status == 1 and "\nFailed: Tests, Metal.\n" in report
    assert "## Tests (FAILED)" in report and "| all | 2 | 2 | 1 |" in report
    assert "one is not two" in report and "wrote no results" in report
    assert "| test_some_2.py | 1 | 0 | 0 |" in report
    assert "## Metal (FAILED)" in report and "apt-get install clang" in report


def test_a_part_whose_process_dies(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'first-use' in sys.argv and '--part' in sys.argv:\n"
        "    sys.stderr.write('cannot go on\\n')\n"
        "    sys.stderr.flush()\n"
        "    os.abort()\n"
    )
    parts = ["--parts", "first-use", "machine"]
    status, _, report = run(tmp_path, *parts, environment={"PYTHONPATH": str(tmp_path)})
    assert status == 1 and report.endswith("\nFailed: First use.\n")
    assert "The process ended with status -6.\ncannot go on" in report
    assert "| PyTorch |" in report.partition("## Machine\n")[2]


def test_a_report_fits_into_an_issue(tmp_path):
    status, _, report = run(tmp_path, "--parts", "tests", tests=[MANY])
    assert status == 1 and "| all | 0 | 400 | 0 |" in report
    assert "... and 385 more failures" in report
    assert len(report) < 40000
    assert report.count("```") == 2 * 15  # none of the messages' own


def test_a_filter_that_leaves_nothing_is_no_success(tmp_path):
    words = ["-k", "no_such"]
    status, _, report = run(tmp_path, "--parts", "tests", tests=[FAILING], pytest_words=words)
    assert status == 1 and "| all | 0 | 0 | 0 |" in report


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac")
def test_without_an_apple_gpu(tmp_path):
    """There is a report all the same, with the reason."""
    parts = ["--parts", "machine", "metal"]
    status, _, report = run(tmp_path, *parts, backend="mps")
    assert status == 0 and report.endswith("Everything that was run passed. Not run: Metal.\n")
    assert re.search(r"^\| mps \| mps cannot be used: .+ \|$", report, re.M)
    assert "\n## Metal (not run)\n\nmps cannot be used: " in report and "Traceback" not in report


@pytest.fixture
def parts(monkeypatch):
    """The modules of the parts."""
    monkeypatch.syspath_prepend(str(TOOL.parent))
    monkeypatch.syspath_prepend(str(ROOT))
    from mac import benchmark, facts, language

    return types.SimpleNamespace(benchmark=benchmark, facts=facts, language=language)


DISPLAYS = """
Graphics/Displays:
    Apple M1 Max:
      Chipset Model: Apple M1 Max
      Total Number of Cores: 32
      Vendor: Apple (0x106b)
      Metal Support: Metal 3
"""


def test_what_system_profiler_says(parts):
    assert parts.facts.displays(DISPLAYS) == {"GPU cores": "32", "Metal": "Metal 3"}
    assert parts.facts.displays("") == {}


@pytest.mark.parametrize(
    ("system", "built", "expected"),
    [
        ("14.5", 0, ["yes", "fails: no such type", *["not offered before macOS"] * 2]),
        ("26.0", 0, ["yes", "fails: no such type", "yes", "yes"]),
        ("15.1", 1, [*["not tried: no SDK"] * 3, "not offered before macOS 26"]),
    ],
)
def test_versions_of_the_language_on_a_mac(parts, monkeypatch, system, built, expected):
    """Each by the system's compiler, through a program that the command line tools build."""
    language, ran = parts.language, []

    def run(words, **options):
        ran.append(words)
        if words[0] == "xcrun":
            assert Path(words[words.index("-o") - 1]) == language.COMPILER
            assert language.COMPILER.exists()
            return subprocess.CompletedProcess(words, built, "", "no SDK\nmore")
        assert options == {"input": "text"}
        failed = words[-1] == "3.1"
        return subprocess.CompletedProcess(words, int(failed), "", "no such type\n" * failed)

    monkeypatch.setattr(language, "run", run)
    monkeypatch.setattr(language.platform, "mac_ver", lambda: (system, ("", "", ""), "arm64"))
    answers = list(language.on_mac("text").values())
    assert [a[: len(e)] for a, e in zip(answers, expected, strict=True)] == expected
    assert len(ran) == 1 + (0 if built else sum(not a.startswith("not") for a in answers))


def test_cases_that_fail_or_do_not_fit_are_rows(parts, monkeypatch):
    options = types.SimpleNamespace(quick=False, seconds=0.001, warm=0.001, backend="harness")
    benchmark = parts.benchmark

    def measure(case, device, given):
        assert (device, given) == ("mps", options)
        if case.op == "backward":
            raise RuntimeError("MPS backend | out of memory\nmore")
        return ("1", "2", "0.50", "3", "3.00", "0.1", "yes")

    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setattr(benchmark, "command", lambda *words: str(8 * 2**30))
    text, right = benchmark.measure_all(options, "mps", "fp32")
    rows = text.splitlines()
    assert not right and all(row.replace("\\|", "").count("|") == 9 for row in rows)
    assert "| forward (16, 768, 1024) fp32 BDT | 1 | 2 |" in text
    assert (
        "| backward (1, 64, 128) fp32 BTD | RuntimeError: MPS backend \\| out of memory |" in text
    )
    assert "| forward (1, 1536, 131072) fp32 BDT | left out: too large" in text
    assert "| update (1024, 8192) fp32 | 1 |" in text


def test_the_clock_is_raised_by_time_not_by_calls(parts):
    calls = []
    start = parts.benchmark.time.perf_counter()
    parts.benchmark.raise_clock([lambda: calls.append(0)], "cpu", 0.05)
    assert parts.benchmark.time.perf_counter() - start >= 0.05 and len(calls) > 1
