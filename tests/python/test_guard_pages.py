"""Nothing is read or written outside the tensors: every tensor ends, and then starts, at a page
that faults. The work runs in a child process, so that a fault fails a test with a message."""

import ctypes
import faulthandler
import itertools
import signal
import subprocess
import sys

import cases
import pools
import pytest
import torch
from backends import BACKENDS, CPU
from guard_pages import guarded
from inputs import same_bits
from test_backward import gradients

from causal_conv1d_mps import _C
from causal_conv1d_mps._tables import arrange

THREADS = 2


def dense(case):
    """Its memory has no gaps, so that a guard page can lie directly beside the tensor."""
    layouts = {case.layout, getattr(case, "state_layout", case.layout)}
    return layouts <= {"contiguous", "channel_last", "time_outermost"}


CONVOLUTIONS = [case for case in cases.FORWARD if dense(case)][::7]
UPDATES = [case for case in cases.UPDATE if case.state_layout == "contiguous"][::7]


def guard(arguments, end):
    return {k: guarded(v, end) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}


def code(activation):
    return int(activation is not None)


def convolve(case, end):
    plain = case.arguments()
    a = guard(plain, end)
    y = guarded(torch.empty_like(plain["x"]), end)
    states = torch.empty(case.state_shape, dtype=case.x_dtype)
    final = guarded(states, end) if case.final else None
    activation = code(a.pop("activation"))
    tensors = arrange("forward", **a, out=y, final_states=final)
    _C.run("forward", tensors, activation, -1, THREADS)

    plain, above, want = gradients(case, "cpu")
    dout, dfinal = guard(dict(enumerate([*above, None][:2])), end).values()
    names = ("x", "weight", "bias", "initial_states")
    found = [guarded(torch.empty_like(plain[n]), end) if n in plain else None for n in names]
    a.pop("residual", None)
    results = {"d" + name: gradient for name, gradient in zip(names, found)}
    tensors = arrange("backward", dout=dout, **a, dfinal_states=dfinal, **results)
    _C.run("backward", tensors, activation, -1, THREADS)
    for name, gradient in zip(names, found):
        assert gradient is None or same_bits(gradient, want[name]), name


def update(case, end):
    a = guard(case.arguments(), end)
    y = guarded(torch.empty_like(a["x"]), end)
    activation, pad_slot_id = code(a.pop("activation")), a.pop("pad_slot_id", -1)
    _C.run("update", arrange("update", **a, out=y), activation, pad_slot_id, THREADS)


def prefill(case, end):
    a = guard(case.arguments(), end)
    y = guarded(torch.empty_like(a["x"]), end)
    activation = code(a.pop("activation"))
    _C.run("forward", arrange("forward", **a, out=y), activation, -1, THREADS)


def varlen_states(case, end):
    a = guard(case.arguments(), end)
    count = case.sequences if case.positions is None else case.positions
    states = torch.empty((count, case.dim, a.pop("state_len")), dtype=case.dtype)
    tensors = arrange("varlen_states", states=a.pop("out", guarded(states, end)), **a)
    _C.run("varlen_states", tensors, 0, -1, THREADS)


WORK = (
    (convolve, CONVOLUTIONS),
    (update, UPDATES),
    (prefill, [case for case in pools.PREFILL if dense(case)][::3]),
    (varlen_states, [case for case in cases.VARLEN if dense(case)]),
)


def child(*arguments):
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("cpu", CPU, ids=str)
def test_inside_the_tensors(cpu):
    done = child("work", cpu.name)
    last = done.stdout.rstrip().rpartition("\n")[2]
    assert done.returncode == 0, f"exit {done.returncode} at {last}\n{done.stderr}"
    assert last == "finished"


@pytest.mark.parametrize("side", ["before", "after"])
def test_the_guard_pages_work(side):
    """One byte outside is a fault."""
    assert child("trespass", side).returncode == -signal.SIGSEGV


def trespass(side):
    buffer = guarded(torch.zeros(7, dtype=torch.int16), end=side == "after")
    outside = buffer.data_ptr() + (14 if side == "after" else -1)
    print((ctypes.c_char * 1).from_address(outside).raw)


def work(name):
    with BACKENDS[name].enter():
        for operation, chosen in WORK:
            for case, end in itertools.product(chosen, (True, False)):
                edge = "last" if end else "first"
                print(f"{operation.__name__} {case.id}, {edge} byte at a guard page", flush=True)
                operation(case, end)
    print("finished")


if __name__ == "__main__":
    faulthandler.enable()
    {"work": work, "trespass": trespass}[sys.argv[1]](sys.argv[2])
