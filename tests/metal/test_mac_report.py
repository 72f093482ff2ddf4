"""`make test-mac` on the harness: every part runs whatever the others give, into one file."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "mac_report.py"
FAILING = """
import pytest
def test_right(): pass
def test_wrong(): assert 1 == 2, "one is not two"
def test_absent(): pytest.skip("no")
"""


@pytest.fixture
def tool(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("mac_report", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "benchmark", lambda *given: (f"the figures of {given}\n", True))
    return module


def run(tool, monkeypatch, tmp_path, text):
    path, out = tmp_path / "test_some.py", tmp_path / "report.md"
    path.write_text(text)
    monkeypatch.setitem(tool.TESTS, "harness", [str(path)])
    words = ["mac_report.py", "--backend", "harness", "--out", str(out), "--", "-q"]
    monkeypatch.setattr(sys, "argv", words)
    return tool.main(), out.read_text()


def test_a_report_of_what_passes(tool, monkeypatch, tmp_path):
    status, report = run(tool, monkeypatch, tmp_path, "def test_right(): pass\n")
    assert status == 0 and "FAILED" not in report and "Everything passed." in report
    for line in (
        "| float32 subnormals | flushed to zero |",
        "| `__METAL_VERSION__` of compile_shader | 310 |",
        *(f"| the kernels in Metal {version} | yes |" for version in ("3.0", "3.1", "3.2", "4.0")),
        "| all | 1 | 0 | 0 |",
        "the figures of ('harness', 'bf16', 0.2)",
        "the figures of ('harness', 'fp32', 0.2)",
    ):
        assert line in report
    assert "| forward and backward |" in report and "| PyTorch |" in report


def test_what_fails_stops_nothing(tool, monkeypatch, tmp_path):
    def broken(backend):
        raise RuntimeError("no such device")

    monkeypatch.setattr(tool, "first_use", broken)
    status, report = run(tool, monkeypatch, tmp_path, FAILING)
    assert status == 1 and "Failed: First use, Tests." in report
    assert "## First use (FAILED)" in report and "RuntimeError: no such device" in report
    assert "| all | 1 | 1 | 1 |" in report and "one is not two" in report
    assert "the figures of ('harness', 'fp32', 0.2)" in report


def test_tests_that_crash(tool, monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "first_use", lambda backend: ("", True))
    text = "import os\ndef test_crash(): os.abort()\n"
    status, report = run(tool, monkeypatch, tmp_path, text)
    assert status == 1 and "wrote no results" in report and "the figures of" in report
