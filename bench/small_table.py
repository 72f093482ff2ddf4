"""A short table against PyTorch: the small shapes, without and with SiLU, all in one dtype."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import torch

from . import candidates, machine, timing
from .report import microseconds
from .shapes import SMALL, Case
from .verify import verify

HEADER = ("Config", "ours(us)", "PyTorch(us)", "Speedup", "StdDev(%)", "Correct")
WIDTHS = (30, 10, 12, 9, 10, 8)


def line(cells):
    first, *rest = (f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    return f"{cells[0]:<{len(first)}}" + "".join(rest)


def time_small(case, device, seconds):
    """(ours, PyTorch): a Timing each, of the forward pass."""
    inputs = [candidates.make_inputs(case, device, seed) for seed in range(timing.MAX_ROTATION)]
    with torch.inference_mode():
        timings = timing.measure(
            {
                "ours": [candidates.ours(case, each) for each in inputs],
                "pytorch": [candidates.pytorch(case, each) for each in inputs],
            },
            device,
            seconds,
        )
    return timings["ours"], timings["pytorch"]


def print_table(device, dtype, seconds=0.2, shapes=SMALL):
    """Prints the table; returns whether every result was right."""
    print(f"{machine.device_name(device)} ({device}), PyTorch {torch.__version__}, {dtype}, W = 4")
    print(line(HEADER))
    every = True
    for activation in (None, "silu"):
        for B, D, T in shapes:
            case = Case("small", "forward", B, D, T, dtype=dtype, activation=activation)
            case = replace(case, float32_weights=False)
            correct = verify(case, device)
            every &= correct
            ours, pytorch = time_small(case, device, seconds)
            print(
                line(
                    (
                        f"{case.shape}{' + SiLU' if activation else ''}",
                        microseconds(ours.us),
                        microseconds(pytorch.us),
                        f"{pytorch.median / ours.median:.2f}x",
                        f"{ours.deviation_percent:.2f}",
                        "yes" if correct else "NO",
                    )
                ),
                flush=True,
            )
    return every


def main(argv=None):
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best here")
    parser.add_argument("--seconds", type=float, default=0.2, help="per figure (default 0.2)")
    options = parser.parse_args(argv)
    if not print_table(options.device or machine.best_device(), options.dtype, options.seconds):
        sys.exit("a result is wrong: see the last column")
