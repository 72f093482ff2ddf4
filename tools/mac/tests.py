"""The tests, file by file: a crash or a hang takes the rest of its own file along, no more."""

import collections
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

from .gpu import ROOT
from .markdown import block, table

HANGS = 3600  # seconds: a file that takes longer has failed
OUTCOMES = ("passed", "failed", "skipped")
MOST_FAILURES = 15  # that are shown
NOTHING_COLLECTED = 5  # pytest's status: a filter among its arguments left no test


def files(options):
    if options.tests:
        return [path.resolve() for path in options.tests]
    if options.backend == "harness":
        return [ROOT / "tests" / "metal" / "test_operations.py"]
    return sorted((ROOT / "tests" / "python").rglob("test_*.py"))


def part(options):
    rows, failures = [], []
    for path in files(options):
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        print(f"mac_report: {name}", flush=True)
        counts, texts = run_file(path, options.pytest)
        if counts:
            rows.append((name, *(counts[o] for o in OUTCOMES)))
        failures += texts
    rows.append(("all", *(sum(row[i + 1] for row in rows) for i in range(len(OUTCOMES)))))
    text = table(("tests", *OUTCOMES), rows) + "".join(failures[:MOST_FAILURES])
    if len(failures) > MOST_FAILURES:
        text += f"\n... and {len(failures) - MOST_FAILURES} more failures\n"
    return text, not failures and rows[-1][1] > 0


def run_file(path, arguments):
    """(a count of each outcome, what failed as Markdown)."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        words = [sys.executable, "-m", "pytest", str(path), f"--junitxml={results}", *arguments]
        try:
            status = subprocess.run(words, cwd=ROOT, timeout=HANGS).returncode
            ended = f"pytest ended with status {status} and wrote no results"
        except subprocess.TimeoutExpired:
            status, ended = 1, f"stopped after {HANGS} seconds"
        if status == NOTHING_COLLECTED:
            return collections.Counter(), []
        if not results.exists():
            return collections.Counter(failed=1), [f"\n**{path.name}**\n\n{block(ended)}"]
        cases = list(xml.parse(results).iter("testcase"))
    counts, texts = collections.Counter(), []
    for case in cases:
        outcome = "passed"
        for element in case:
            if element.tag in ("failure", "error"):
                outcome = "failed"
                message = element.get("message") or element.text or ""
                title = f"{case.get('classname')}::{case.get('name')}"
                texts.append(f"\n**{title}**\n\n{block(message)}")
            elif element.tag == "skipped" and outcome == "passed":
                outcome = "skipped"
        counts[outcome] += 1
    return counts, texts
