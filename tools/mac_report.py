#!/usr/bin/env python3
"""`make test-mac`: tests, first-use times and the benchmark on an Apple GPU, in one file to paste.

Every part runs in a process of its own, whatever becomes of the ones before it; the exit status is
1 if one failed. With --backend harness the same report is made on Linux, where tests/metal executes
the kernels on the CPU: its times say nothing.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # for bench; mac lies beside

from mac.markdown import Missing, block

# Name -> (heading, module of tools/mac, its function of the options, which gives (Markdown, whether
# all is well)).
PARTS = {
    "machine": ("Machine", "facts", "part"),
    "metal": ("Metal", "language", "part"),
    "first-use": ("First use", "first_use", "part"),
    "warmup": ("warmup()", "first_use", "warmup_part"),
    "tests": ("Tests", "tests", "part"),
    "bench-bf16": ("Benchmark, bf16", "benchmark", "bf16_part"),
    "bench-fp32": ("Benchmark, fp32", "benchmark", "fp32_part"),
}
# By whether all is well; None: there is no GPU to run it on.
STATUS = {True: 0, False: 1, None: 3}
MARKS = {True: "", False: " (FAILED)", None: " (not run)"}
HANGS = 4 * 3600  # seconds: a part that takes longer has failed


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", choices=("mps", "harness"), default="mps")
    parser.add_argument("--out", type=Path, default=Path("mac-report.md"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--tests", type=Path, nargs="+", default=[], help="files (default: all)")
    parser.add_argument("--seconds", type=float, default=0.2, help="per figure of the benchmark")
    parser.add_argument(
        "--warm", type=float, default=1.0, help="seconds of work before each case of the benchmark"
    )
    parser.add_argument("--quick", action="store_true", help="few cases, to try this script")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # the process of one part
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    return parser.parse_args()


def run_here(name, options):
    """In the part's own process: its text goes to options.out."""
    _, module, function = PARTS[name]
    try:
        text, right = getattr(importlib.import_module(f"mac.{module}"), function)(options)
    except Missing as why:
        text, right = f"{why}\n", None
    except Exception:  # a part that breaks is a finding
        text, right = block(traceback.format_exc(), most=60), False
    options.out.write_text(text, encoding="utf-8")
    return STATUS[right]


def run_apart(name, options):
    """(Markdown, whether all is well) of a part, even if its process dies; None: it was not run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "part.md"
        words = [sys.executable, __file__, "--part", name, "--out", str(out)]
        words += ["--backend", options.backend, "--seconds", str(options.seconds)]
        words += ["--warm", str(options.warm), *["--quick"] * options.quick]
        words += ["--tests", *map(str, options.tests)] if options.tests else []
        words += ["--", *options.pytest]
        try:
            done = subprocess.run(words, stderr=subprocess.PIPE, text=True, timeout=HANGS)
            ended, said = f"ended with status {done.returncode}", done.stderr
        except subprocess.TimeoutExpired as error:
            ended, said = f"was stopped after {HANGS} seconds", str(error.stderr or "")
            done = None
        sys.stderr.write(said)
        if out.exists():
            ends = {status: right for right, status in STATUS.items()}
            return out.read_text(encoding="utf-8"), ends.get(done and done.returncode, False)
        return block(f"The process {ended}.\n{said}", most=60), False


def main():
    options = arguments()
    if options.part:
        return run_here(options.part, options)
    report, ended = "# causal-conv1d-mps on an Apple GPU\n", {True: [], False: [], None: []}
    for name in options.parts:
        heading = PARTS[name][0]
        print(f"mac_report: {heading}", flush=True)
        text, right = run_apart(name, options)
        ended[right].append(heading)
        report += f"\n## {heading}{MARKS[right]}\n\n{text}"
        # What there is, should this one be stopped.
        options.out.write_text(report, encoding="utf-8")
    failed, left_out = ended[False], ended[None]
    verdict = f"Failed: {', '.join(failed)}." if failed else "Everything that was run passed."
    verdict += f" Not run: {', '.join(left_out)}." if left_out else ""
    options.out.write_text(report + f"\n{verdict}\n", encoding="utf-8")
    print(f"mac_report: {verdict} Paste {os.path.abspath(options.out)} into an issue.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
