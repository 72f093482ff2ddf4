"""Random calls against an independent reference; bit for bit where the order of sums is promised.

python tests/fuzz/differential.py --cases 20000 --seed 1 --jobs 2
python tests/fuzz/differential.py --case 12345 [--device cuda]
"""

import argparse
import contextlib
import multiprocessing
import os
import sys
import time
import traceback

import numpy as np
import random_calls
import reference
import routes
import torch
from exact import differs, quiet, round_to, stored, widen

from causal_conv1d_mps import _C

SPREAD = 1_000_003  # the cases of one seed are far from those of the next


class Mismatch(Exception):
    pass


def make(number, device="cpu"):
    maker = random_calls.Maker(number)
    call = maker.call()
    call.implementation = maker.any_of(_C.implementations()) if device == "cpu" else None
    if device != "cpu":
        call.flush = False
        call.to(device)
    return call


# --- expected results ----------------------------------------------------------------------------


def _forward(call):
    x, weight, bias, states = call.wide()
    sequences = reference.Sequences(x.shape, call.seq_idx, call.cu_seqlens)
    acc = reference.accumulate(x, weight, bias, states, sequences)
    residual = widen(call.residual)
    silu = call.activation is not None
    want = {"y": reference.activated(acc, sequences.live, residual, silu, call.x.dtype)}
    if call.final or call.operation == "chunks":
        initial = None if call.initial_states is None else stored(call.initial_states)
        copied = reference.final_states(stored(call.x), initial, weight.shape[1], sequences)
        want["final_states"] = reference.Exact(copied)
    return want


def _backward(call):
    gradients = reference.Backward(call, call.dout, call.dfinal_states)
    want = {"x": gradients.dx, "weight": gradients.dweight}
    if call.bias is not None:
        want["bias"] = gradients.dbias
    if call.initial_states is not None:
        want["initial_states"] = gradients.dstates
    if call.residual is not None and call.route not in ("operator", "dropin"):
        dout = stored(call.dout)
        kept = np.where(gradients.sequences.live, dout, dout.dtype.type(0))
        want["residual"] = reference.Exact(kept)
    return want


def _update(call):
    acc, live, state = reference.update(call)
    silu = call.activation is not None
    y = reference.activated(acc, live, None, silu, call.x.dtype)
    for name, values in vars(y).items():
        setattr(y, name, values.reshape(call.x.shape))
    return {"y": y, "conv_state": reference.Exact(state)}


def _varlen(call):
    states = reference.varlen_states(stored(call.x), call.cu_seqlens, call.state_len)
    return {"states": reference.Exact(states)}


def _steps(call):
    want = _forward(call)
    x = stored(call.x)
    zeros = np.zeros((*x.shape[:2], call.state_len), x.dtype)
    both = np.concatenate([zeros, x], axis=2)
    want["conv_state"] = reference.Exact(both[:, :, x.shape[2] :])
    return want


EXPECTED = {
    "forward": _forward,
    "backward": _backward,
    "update": _update,
    "varlen": _varlen,
    "chunks": _forward,
    "steps": _steps,
}


# --- one case ------------------------------------------------------------------------------------


@contextlib.contextmanager
def surroundings(call):
    """The threads, the implementation and the floating-point mode of the call."""
    _C.set_implementation(call.implementation)
    before = torch.get_num_threads()
    torch.set_num_threads(call.threads)
    torch.set_flush_denormal(call.flush)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
        _C.set_implementation(None)


def bytes_of(tensor):
    """The whole storage, with what lies around the tensor in it."""
    storage = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return storage.set_(tensor.untyped_storage()).cpu().numpy().copy()


@quiet
def compare(name, got, want):
    if got is None:
        raise Mismatch(f"{name}: nothing came back")
    if tuple(got.shape) != want.values.shape:
        raise Mismatch(f"{name}: shape {tuple(got.shape)}, expected {want.values.shape}")
    here = stored(got)
    if isinstance(want, reference.Exact):
        wrong, expected = differs(here, want.values), want.values
    else:
        low = round_to(want.values - want.error, got.dtype)
        high = round_to(want.values + want.error, got.dtype)
        inside = (here >= low) & (here <= high)
        nan = np.isnan(want.values)
        wrong, expected = ~(np.where(nan, np.isnan(here), inside) | want.free), want.values
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        text = f"{name}: {int(wrong.sum())} of {wrong.size} wrong, first at {at}: "
        text += f"got {float(here[at])!r}, expected {float(expected[at])!r}"
        if isinstance(want, reference.Near):
            text += f" +- {float(want.error[at]):.3g}"
        raise Mismatch(text)


def check(number, device="cpu"):
    """Raises Mismatch where the case goes wrong; returns the call."""
    call = make(number, device)
    want = EXPECTED[call.operation](call)
    written = {"out", "conv_state"}
    before = {k: bytes_of(t) for k, t in call.tensors().items() if k not in written}
    around = {k: _around(t) for k, t in call.tensors().items() if k in written}
    with surroundings(call):
        got = getattr(routes, call.operation)(call)
    for name in want:
        compare(name, got.get(name), want[name])
    for name, old in before.items():
        if not np.array_equal(bytes_of(getattr(call, name)), old):
            raise Mismatch(f"{name}: an input has changed")
    for name, old in around.items():
        if not np.array_equal(_around(getattr(call, name)), old):
            raise Mismatch(f"{name}: memory around it has changed")
    return call


def _around(tensor):
    """The bytes of the storage that are not the tensor's own."""
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    integer = random_calls.INTEGERS[tensor.element_size()]
    whole = tensor.view(integer).as_strided((size,), (1,), 0).clone()
    whole.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(0)
    return whole.cpu().numpy()


def attempt(number, device="cpu"):
    """None, or the lines that say what went wrong and how to repeat it."""
    try:
        check(number, device)
    except Exception as error:
        place = "" if device == "cpu" else f" --device {device}"
        lines = [str(error)]
        if not isinstance(error, Mismatch):
            lines = [f"{type(error).__name__}: {error}", traceback.format_exc(limit=-2).strip()]
        try:
            lines.append(make(number, device).describe())
        except Exception:
            lines.append("(the case itself could not be made)")
        lines.append(f"repeat: {sys.executable} tests/fuzz/differential.py --case {number}{place}")
        return "\n  ".join(lines)
    return None


# --- many cases ----------------------------------------------------------------------------------


def _work(job):
    number, device = job
    return number, attempt(number, device)


def run(numbers, device, jobs, most):
    """Prints each failure; returns how many there were."""
    failures = 0
    pool = multiprocessing.get_context("spawn").Pool(jobs) if jobs > 1 else None
    try:
        work = ((number, device) for number in numbers)
        for _, problem in pool.imap_unordered(_work, work, 50) if pool else map(_work, work):
            if problem is not None:
                failures += 1
                print(problem, flush=True)
                if failures >= most:
                    print(f"stopped after {failures} failures")
                    break
    finally:
        if pool is not None:
            pool.terminate()
            pool.join()
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, help="this case alone")
    parser.add_argument("--cases", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--seed", type=int, default=0, help="where they begin")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--failures", type=int, default=20, help="stop after so many")
    options = parser.parse_args()
    if options.case is not None:
        problem = attempt(options.case, options.device)
        print(problem or make(options.case, options.device).describe() + "\nno mismatch")
        return problem is not None
    begin = options.seed * SPREAD
    started = time.monotonic()
    jobs = options.jobs if options.device == "cpu" else 1
    failures = run(range(begin, begin + options.cases), options.device, jobs, options.failures)
    took = time.monotonic() - started
    print(f"{options.cases} cases from {begin}, {failures} failures, {took:.0f} s")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
