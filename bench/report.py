"""Results as a table on the terminal, as JSON, and as a chart."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict

from . import serving
from .shapes import OPS

PEER_STYLES = (("D", "tab:orange"), ("o", "tab:green"), ("s", "tab:red"))


def ratio(row, name, base):
    """How many times as long as `base` the candidate `name` took; None if either is missing."""
    times = row["times"]
    if name not in times or base not in times:
        return None
    return times[name]["us"] / times[base]["us"]


def make_row(case, correct, timings, kernel):
    return {
        "case": asdict(case),
        "correct": correct,
        "kernel": kernel,
        "times": {
            name: {
                "us": timing.us,
                "deviation_percent": timing.deviation_percent,
                "samples": timing.samples,
            }
            for name, timing in timings.items()
        },
    }


def label(case):
    if case["op"] in serving.OPS:
        parts = [f"{case['B']} requests, ({case['T']}, {case['D']}) {case['dtype']}"]
        return " ".join(parts + ([f"{case['threads']} thr"] if case["threads"] else []))
    parts = [f"({case['B']}, {case['D']}"]
    parts[0] += ")" if case["op"] == "update" else f", {case['T']})"
    parts += [case["dtype"]] + ([case["layout"]] if case["op"] != "update" else [])
    if case["op"] == "update" and case.get("S", 3) != 3:
        parts.append(f"S={case['S']}")
    if case["W"] != 4:
        parts.append(f"W={case['W']}")
    if case["threads"]:
        parts.append(f"{case['threads']} thr")
    return " ".join(parts)


def microseconds(value):
    """Three significant digits at least, however small."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if value < 99.95 else "100"


def table(rows, title):
    from rich.table import Table

    peers = sorted({name for row in rows for name in row["times"]} - {"ours", "pytorch", "copy"})
    view = Table(title=title, title_justify="left")
    view.add_column("case", no_wrap=True)
    for name in ("ours us", "copy us", "ours/copy", "PyTorch us", "PyTorch/ours"):
        view.add_column(name, justify="right", no_wrap=True)
    for name in peers:
        view.add_column(f"{name} us", justify="right", no_wrap=True)
        view.add_column(f"{name}/ours", justify="right", no_wrap=True)
    view.add_column("±%", justify="right", no_wrap=True)
    view.add_column("correct", no_wrap=True)
    for row in rows:
        times = row["times"]

        def cell(name, times=times):
            return microseconds(times[name]["us"]) if name in times else "-"

        def times_ours(name, row=row):
            value = ratio(row, name, "ours")
            return "-" if value is None else f"{value:.2f}"

        view.add_row(
            label(row["case"]),
            cell("ours"),
            cell("copy"),
            f"{ratio(row, 'ours', 'copy'):.2f}",
            cell("pytorch"),
            times_ours("pytorch"),
            *(text for name in peers for text in (cell(name), times_ours(name))),
            f"{times['ours']['deviation_percent']:.1f}",
            "yes" if row["correct"] else "[bold red]NO[/]",
        )
    return view


def write_json(path, machine, rows, host):
    path.write_text(json.dumps({"machine": machine, "rows": rows, "host": host}, indent=1) + "\n")


def write_chart(path, machine, rows):
    """Time as a multiple of the copy, one panel per operation; the copy is the line at 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    operations = [op for op in OPS if any(r["case"]["op"] == op for r in rows)]
    panels = [[row for row in rows if row["case"]["op"] == op] for op in operations]
    heights = [len(panel) + 2 for panel in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(10, 1.5 + 0.24 * sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, operation, panel in zip(axes[:, 0], operations, panels, strict=True):
        positions = range(len(panel))
        ours = [ratio(row, "ours", "copy") for row in panel]
        axis.barh(positions, ours, color="tab:blue", label="this package")
        names = sorted({name for row in panel for name in row["times"]} - {"ours", "copy"})
        for name, (marker, color) in zip(names, PEER_STYLES, strict=False):
            points = [(ratio(row, name, "copy"), y) for y, row in enumerate(panel)]
            points = [point for point in points if point[0] is not None]
            axis.plot(*zip(*points, strict=True), marker, color=color, markersize=5, label=name)
        axis.axvline(1, color="black", linewidth=1)
        axis.set_xscale("log")
        axis.set_xlim(left=0.5)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yticks(positions, [label(row["case"]) for row in panel], fontsize=7)
        axis.set_ylim(-0.8, len(panel) - 0.2)
        axis.invert_yaxis()
        title = f"{operation}: time as a multiple of a copy of the same bytes"
        axis.set_title(title, fontsize=9, loc="left")
        axis.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=4)
    figure.suptitle(
        f"{machine['device_name']}, PyTorch {machine['torch']}, "
        f"causal-conv1d-mps {machine['causal_conv1d_mps']} ({machine['commit'] or 'no commit'})\n"
        f"{machine['date']}\n{textwrap.shorten(machine['command'], 120)}",
        fontsize=9,
    )
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
