"""The whole benchmark: verify every case, time it, and report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from causal_conv1d_mps import _C

from . import candidates, host, machine, report, timing
from .shapes import DTYPES, GROUPS, LAYOUTS, OPS, cases
from .verify import verify

MIN_WIDTH = 130
DEFAULT_GROUPS = {
    "cpu": ["cpu", "decode", "serving", "models", "lfm2"],
    "cuda": ["gpu", "decode", "serving", "models", "lfm2"],
    "mps": ["small", "gpu", "decode", "serving", "models", "lfm2"],
}
DEFAULT_DTYPES = {
    "cpu": ["fp32", "bf16", "fp16"],
    "cuda": ["bf16", "fp32"],
    "mps": ["bf16", "fp32"],
}


def listed(allowed):
    def parse(text):
        values = text.split(",")
        for value in values:
            if value not in allowed:
                raise argparse.ArgumentTypeError(
                    f"{value!r} is not one of {', '.join(allowed)} (several: separate by commas)"
                )
        return values

    return parse


def numbers(text):
    try:
        values = [int(value) for value in text.split(",")]
    except ValueError:
        values = [0]
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected counts such as 1,2")
    return values


def parser():
    options = argparse.ArgumentParser(prog="bench", description=__doc__)
    options.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best here")
    options.add_argument("--groups", type=listed(GROUPS), help=f"of {','.join(GROUPS)}")
    options.add_argument("--ops", type=listed(OPS))
    options.add_argument("--dtypes", type=listed(tuple(DTYPES)), help=f"of {','.join(DTYPES)}")
    options.add_argument("--layouts", type=listed(LAYOUTS), help=f"of {','.join(LAYOUTS)}")
    options.add_argument("--threads", type=numbers, help="CPU thread counts, for example 1,2")
    options.add_argument("--seconds", type=float, default=0.15, help="per figure (default 0.15)")
    options.add_argument("--no-pytorch", action="store_true", help="leave PyTorch's own path out")
    options.add_argument("--out", type=Path, help="folder for results.json and chart.png")
    return options


def time_case(case, device, seconds, with_pytorch):
    """One row of the report."""
    if case.threads:
        torch.set_num_threads(case.threads)
    correct = verify(case, device)
    kernel = _C.last_kernel()
    found = {"ours": candidates.ours, "copy": candidates.copy}
    if with_pytorch:
        found["pytorch"] = candidates.pytorch
    found.update(candidates.peers(case, device))
    itemsize = DTYPES[case.dtype].itemsize
    sets = timing.rotation(2 * case.copy_elements * itemsize)
    inputs = [candidates.make_inputs(case, device, seed) for seed in range(sets)]
    with torch.set_grad_enabled(case.op.endswith("backward")):
        closures = {
            name: [candidate(case, each) for each in inputs] for name, candidate in found.items()
        }
        timings = timing.measure(closures, device, seconds)
    return report.make_row(case, correct, timings, kernel)


def main(argv=None):
    options = parser().parse_args(argv)
    try:
        from rich.console import Console
        from rich.progress import track
        from rich.table import Table
    except ImportError:
        sys.exit("The benchmark needs rich and matplotlib: pip install 'causal-conv1d-mps[bench]'")

    device = options.device or machine.best_device()
    timing.keep_freed_memory()
    console = Console()
    # A table cut to a narrow window (or to a log's 80 columns) would lose its digits.
    console.width = max(console.width, MIN_WIDTH)
    facts = machine.describe(device)
    for key, value in facts.items():
        if key != "backends":
            console.print(f"[bold]{key}[/]: {value}", highlight=False)

    threads = options.threads or [0]
    if device == "cpu" and not options.threads:
        threads = sorted({1, torch.get_num_threads()})
    chosen = [
        case
        for group in options.groups or DEFAULT_GROUPS[device]
        for case in cases(
            group,
            ops=options.ops or OPS,
            dtypes=options.dtypes or DEFAULT_DTYPES[device],
            layouts=options.layouts or LAYOUTS,
            threads=threads,
        )
    ]
    rows = [
        time_case(case, device, options.seconds, not options.no_pytorch)
        for case in track(chosen, "Verify and time", console=console, transient=True)
    ]
    for group in dict.fromkeys(case.group for case in chosen):
        for op in OPS:
            part = [r for r in rows if (r["case"]["group"], r["case"]["op"]) == (group, op)]
            if part:
                console.print(report.table(part, f"{group}: {op} on {device}"))

    host_results = host.measure_host(device)
    view = Table(title="Host time per call at (1, 64, 8), us", title_justify="left")
    view.add_column("operation")
    names = list(host_results["forward"])
    for name in names:
        view.add_column(name, justify="right")
    for operation, times in host_results.items():
        view.add_row(operation, *(f"{times[name]:.2f}" for name in names))
    console.print(view)

    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        report.write_json(options.out / "results.json", facts, rows, host_results)
        report.write_chart(options.out / "chart.png", facts, rows)
        console.print(f"Wrote {options.out / 'results.json'} and {options.out / 'chart.png'}")
    wrong = sum(not row["correct"] for row in rows)
    if wrong:
        sys.exit(f"{wrong} of {len(rows)} cases are wrong")
