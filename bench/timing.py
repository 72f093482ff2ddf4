"""Time closures fairly: warmed up, in turns, each on rotating buffers; the median is the figure."""

from __future__ import annotations

import ctypes
import itertools
import statistics
import sys
import time
from dataclasses import dataclass

import torch

ROUNDS = 7
# A timed section is at least this long, so that the clock's own cost does not show.
MIN_SECTION = 0.5e-3
# Written between two repetitions on a GPU: larger than any cache that a GPU has today.
FLUSH_BYTES = 256 * 2**20
# Buffers are rotated until this much memory has gone by.
ROTATE_BYTES = 256 * 2**20
MAX_ROTATION = 8
# Holds the GPU back while the host queues the closure, so that host time is not in the figure.
HOLD_CYCLES = 1_000_000


@dataclass(frozen=True)
class Timing:
    """Seconds per call."""

    median: float
    deviation: float
    samples: int

    @property
    def us(self):
        return self.median * 1e6

    @property
    def deviation_percent(self):
        return 100 * self.deviation / self.median


def summarise(samples):
    deviation = statistics.stdev(samples) if len(samples) > 1 else 0.0
    return Timing(statistics.median(samples), deviation, len(samples))


def keep_freed_memory():
    """Make glibc reuse freed memory at once, as GPU allocators do.

    Otherwise every large result is mapped anew and the page faults drown what is measured.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no separate mappings
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system


def rotation(bytes_per_set):
    """How many sets of buffers to rotate through."""
    return max(2, min(MAX_ROTATION, ROTATE_BYTES // max(1, bytes_per_set)))


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def _section(closures, device, calls):
    """Seconds per call of `calls` calls in a row."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        next(closures)()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def _measure_host_clock(candidates, device, seconds):
    calls, repeats, samples = {}, {}, {name: [] for name in candidates}
    for name, closures in candidates.items():
        _section(closures, device, 2)
        estimate = min(_section(closures, device, 1) for _ in range(3))
        calls[name] = max(1, round(MIN_SECTION / estimate))
        repeats[name] = max(1, round(seconds / ROUNDS / (estimate * calls[name])))
    for _ in range(ROUNDS):
        for name, closures in candidates.items():
            for _ in range(repeats[name]):
                samples[name].append(_section(closures, device, calls[name]))
    return samples


def _measure_cuda_events(candidates, seconds):
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    samples = {name: [] for name in candidates}
    repeats = {}
    for name, closures in candidates.items():
        for _ in range(3):
            next(closures)()
        estimate = _section(closures, "cuda", 3)
        repeats[name] = max(3, min(30, round(seconds / ROUNDS / (estimate + 5e-4))))
    for _ in range(ROUNDS):
        for name, closures in candidates.items():
            events = []
            for _ in range(repeats[name]):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                closure = next(closures)
                flush.zero_()
                torch.cuda._sleep(HOLD_CYCLES)
                start.record()
                closure()
                end.record()
                events.append((start, end))
            torch.cuda.synchronize()
            samples[name].extend(start.elapsed_time(end) * 1e-3 for start, end in events)
    return samples


def measure(candidates, device, seconds=0.2):
    """Timing per name. `candidates`: name -> list of closures, one per set of buffers."""
    rotating = {name: itertools.cycle(closures) for name, closures in candidates.items()}
    if device == "cuda":
        samples = _measure_cuda_events(rotating, seconds)
    else:
        samples = _measure_host_clock(rotating, device, seconds)
    return {name: summarise(values) for name, values in samples.items()}


def host_time(closure, device, calls=500):
    """Host time per call; the device works in the background and is waited for in between."""
    for _ in range(20):
        closure()
    samples = []
    for _ in range(ROUNDS):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(calls):
            closure()
        samples.append((time.perf_counter() - start) / calls)
    synchronize(device)
    return summarise(samples)
