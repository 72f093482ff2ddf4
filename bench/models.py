"""What whole transformers models gain: without this package, with install(), with fuse().

Random weights; each figure is the median of several child processes, whose variants take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from . import machine
from .model_child import DTYPES, MODELS, PHASES, SIZES, VARIANTS
from .report import microseconds

LABELS = {"without": "without", "install": "install()", "fuse": "fuse()"}
COLORS = {"without": "tab:gray", "install": "tab:blue", "fuse": "tab:orange"}


def parser():
    options = argparse.ArgumentParser(prog="models", description=__doc__)
    options.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options.add_argument("--size", choices=SIZES, help="default: small, medium on a GPU")
    options.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best here")
    options.add_argument("--dtype", choices=DTYPES, help="default: fp32, bf16 on a GPU")
    options.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    options.add_argument("--rounds", type=int, default=3, help="processes per figure (default 3)")
    options.add_argument("--seconds", type=float, default=1.0, help="per figure and process")
    options.add_argument("--threads", type=int, default=0, help="of PyTorch on the CPU")
    options.add_argument("--profile", action="store_true", help="where a block's time goes")
    options.add_argument("--out", type=Path, help="folder for models.json and models.png")
    return options


def run_child(model, variant, options, with_profile):
    command = [sys.executable, "-m", f"{__package__}.model_child"]
    command += ["--model", model, "--variant", variant, "--size", options.size]
    command += ["--device", options.device, "--dtype", options.dtype]
    command += ["--seconds", str(options.seconds), "--threads", str(options.threads)]
    command += ["--phases", *options.phases] + ["--profile"] * with_profile
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{model}, {LABELS[variant]}: the process failed\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(model, options):
    """The medians of all processes, in milliseconds, and what fuse() had to say."""
    samples = {variant: [] for variant in VARIANTS}
    refused, profiles, fused = {}, {}, 0
    for turn in range(options.rounds):
        for variant in VARIANTS:
            if variant in refused:
                continue
            found = run_child(model, variant, options, options.profile and turn == 0)
            if "refused" in found:
                refused[variant] = found["refused"]
                continue
            samples[variant].append(found["ms"])
            fused = max(fused, found["fused"])
            if found.get("profile"):
                profiles[variant] = found["profile"]
    samples = {variant: runs for variant, runs in samples.items() if runs}

    def per_phase(reduce):
        return {
            variant: {phase: reduce([run[phase] for run in runs]) for phase in options.phases}
            for variant, runs in samples.items()
        }

    return {
        "model": model,
        "ms": per_phase(statistics.median),
        "spread_percent": per_phase(
            lambda values: 100 * (max(values) - min(values)) / statistics.median(values)
        ),
        "blocks_fused": fused,
        "refused": refused,
        "profile": profiles,
    }


def table(results, options):
    """One line per model and phase: milliseconds, and how many times as fast as without."""
    head = ["model", "phase", *(f"{LABELS[v]} ms" for v in VARIANTS), "install()", "fuse()", "±%"]
    lines = [head]
    for result in results:
        for phase in options.phases:
            base = result["ms"]["without"][phase]
            times = [result["ms"].get(variant, {}).get(phase) for variant in VARIANTS]
            spread = max(part[phase] for part in result["spread_percent"].values())
            lines.append(
                [
                    result["model"],
                    phase + (" (token)" if phase == "decode" else ""),
                    *("-" if ms is None else microseconds(ms) for ms in times),
                    *("-" if ms is None else f"{base / ms:.2f} x" for ms in times[1:]),
                    f"{spread / 2:.0f}",
                ]
            )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def profile_text(result):
    """The operators of one block, forward and backward, of each variant."""
    parts = []
    for variant, rows in result["profile"].items():
        total = sum(row["us"] for row in rows)
        parts.append(
            f"{result['model']}, a short-convolution block forward and backward, {LABELS[variant]}:"
            f" {microseconds(total)} us"
        )
        parts += [
            f"  {microseconds(row['us']):>8} us  {row['calls']:4.0f} x  {row['name']}"
            for row in rows
        ]
    return "\n".join(parts)


def write_chart(path, facts, results, options):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(options.phases), figsize=(3.4 * len(options.phases), 3.6), squeeze=False
    )
    for axis, phase in zip(axes[0], options.phases, strict=True):
        for place, variant in enumerate(VARIANTS):
            bars = [
                (at + 0.27 * (place - 1), result["ms"]["without"][phase] / ms[phase])
                for at, result in enumerate(results)
                if (ms := result["ms"].get(variant)) is not None
            ]
            axis.bar(
                [at for at, _ in bars],
                [height for _, height in bars],
                0.25,
                color=COLORS[variant],
                label=LABELS[variant],
            )
        axis.axhline(1, color="black", linewidth=1)
        axis.set_title(phase, fontsize=9)
        names = [result["model"] for result in results]
        axis.set_xticks(range(len(names)), names, fontsize=7)
    axes[0][0].set_ylabel("times as fast as without", fontsize=8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), fontsize=7, loc="lower right", ncols=3)
    figure.suptitle(
        f"{facts['device_name']}, {options.dtype}, size {options.size}, PyTorch {facts['torch']}, "
        f"transformers {facts['transformers']}, causal-conv1d-mps {facts['causal_conv1d_mps']}",
        fontsize=8,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv=None):
    options = parser().parse_args(argv)
    try:
        import transformers
    except ImportError:
        sys.exit("This needs transformers: pip install 'causal-conv1d-mps[models]'")
    options.device = options.device or machine.best_device()
    on_gpu = options.device != "cpu"
    options.size = options.size or ("medium" if on_gpu else "small")
    options.dtype = options.dtype or ("bf16" if on_gpu else "fp32")
    facts = {**machine.describe(options.device), "transformers": transformers.__version__}
    hidden, layers, vocabulary, batch, tokens, steps = SIZES[options.size]
    print(f"{facts['device_name']}, PyTorch {facts['torch']}, transformers {facts['transformers']}")
    print(
        f"{options.dtype}, hidden size {hidden}, {layers} layers, vocabulary {vocabulary}; "
        f"forward and training: ({batch}, {tokens}) tokens; prefill: (1, {tokens}); "
        f"decode: {steps} tokens\n"
    )
    results = []
    for name in options.models:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results.append(measure(name, options))
    print(table(results, options))
    for result in results:
        if result["blocks_fused"]:
            print(f"\nfuse() has replaced {result['blocks_fused']} blocks of {result['model']}.")
        if "fuse" in result["refused"]:
            print(f"\nfuse() refuses {result['model']}: {result['refused']['fuse']}")
        if result["profile"]:
            print("\n" + profile_text(result))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        chosen = {name: getattr(options, name) for name in ("size", "dtype", "rounds", "threads")}
        written = {"machine": facts, "options": chosen, "results": results}
        (options.out / "models.json").write_text(json.dumps(written, indent=1) + "\n")
        try:
            write_chart(options.out / "models.png", facts, results, options)
        except ImportError:
            print("No chart: matplotlib is not installed", file=sys.stderr)


if __name__ == "__main__":
    main()
