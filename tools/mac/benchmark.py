"""Ours, PyTorch's and a copy's times at the shapes of bench/, on a GPU whose clock has risen."""

import time

import torch

from bench import candidates, report, shapes, timing
from bench.verify import verify

from .gpu import command, in_use
from .markdown import first_line, table

HEAD = ("case", "ours us", "copy us", "ours/copy", "PyTorch us", "PyTorch/ours", "±%", "correct")


def bf16_part(options):
    return part(options, "bf16")


def fp32_part(options):
    return part(options, "fp32")


def part(options, dtype):
    """The harness says nothing about time: the CPU's own kernels stand in."""
    if options.backend == "harness":
        return measure_all(options, "cpu", dtype)
    with in_use(options) as device:
        return measure_all(options, device, dtype)


def cases(options, dtype):
    found = []
    for group in ("small",) if options.quick else ("small", "gpu", "models", "decode"):
        found += shapes.cases(
            group,
            ops=("forward", "backward", "update"),
            dtypes=(dtype,),
            layouts=shapes.LAYOUTS,
            threads=(0,),
        )
    return found[:3] if options.quick else found


def fits(case):
    """Inputs, results and the copy, for two sets of buffers, in a quarter of the memory."""
    size = command("sysctl", "-n", "hw.memsize")
    needed = 2 * 5 * case.B * case.D * case.T * shapes.DTYPES[case.dtype].itemsize
    return not size.isdigit() or needed < int(size) / 4


def measure_all(options, device, dtype):
    rows, every = [], True
    for case in cases(options, dtype):
        name = f"{case.op} {report.label(vars(case))}"
        if not fits(case):
            rows.append((name, "left out: too large for this machine's memory", *[""] * 6))
            continue
        try:
            rows.append((name, *measure(case, device, options)))
        except Exception as error:  # the next case may work
            kind = type(error).__name__
            rows.append((name, f"{kind}: {first_line(str(error))}", *[""] * 5, "NO"))
        every &= rows[-1][-1] != "NO"
    return table(HEAD, rows), every


def measure(case, device, options):
    """The cells of a row after its name."""
    correct = verify(case, device)
    size = 2 * case.copy_elements * shapes.DTYPES[case.dtype].itemsize
    inputs = [candidates.make_inputs(case, device, s) for s in range(timing.rotation(size))]
    with torch.set_grad_enabled(case.op == "backward"):
        found = {"ours": candidates.ours, "copy": candidates.copy, "pytorch": candidates.pytorch}
        closures = {}
        for name, candidate in found.items():
            try:
                closures[name] = [candidate(case, each) for each in inputs]
                closures[name][0]()
            except Exception:
                if name != "pytorch":  # which has limits of its own on mps
                    raise
                closures.pop(name, None)
        raise_clock(closures["copy"] + closures["ours"], device, options.warm)
        times = timing.measure(closures, device, options.seconds)
    ours, copy, pytorch = times["ours"], times["copy"], times.get("pytorch")
    return (
        report.microseconds(ours.us),
        report.microseconds(copy.us),
        f"{ours.us / copy.us:.2f}",
        report.microseconds(pytorch.us) if pytorch else "fails",
        f"{pytorch.us / ours.us:.2f}" if pytorch else "-",
        f"{ours.deviation_percent:.1f}",
        "yes" if correct else "NO",
    )


def raise_clock(closures, device, seconds):
    """Apple's GPUs start slow and speed up while there is work: by the wall clock, not by calls."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for closure in closures:
            closure()
        timing.synchronize(device)
