"""Every backend computes, or says why it cannot; CPU implementations can be forced."""

import os
import subprocess
import sys

import cases
import oracle
import pytest
from backends import BACKENDS, CPU

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=str, indirect=True)
def test_backend(backend):
    arguments = cases.ConvCase(2, 9, 33, 4).arguments(backend.device)
    y = ccmps.causal_conv1d_fn(**arguments)
    backend.check_ran("forward")
    oracle.check(y, oracle.forward(**arguments).y)


def test_the_best_implementation_is_the_default():
    assert _C.implementations()[-1] == "scalar"
    ccmps.causal_conv1d_fn(**cases.ConvCase(2, 9, 33, 4).arguments())
    CPU[0].check_ran("forward")


def test_an_unknown_implementation_is_refused():
    with pytest.raises(ValueError, match=r"(?s)scalar.*sse9"):
        _C.set_implementation("sse9")
    ccmps.causal_conv1d_fn(**cases.ConvCase(2, 9, 33, 4).arguments())
    CPU[0].check_ran("forward")


@pytest.mark.parametrize("name", _C.implementations())
def test_the_environment_forces_an_implementation(name):
    program = """if True:
        import torch, causal_conv1d_mps as ccmps
        ccmps.causal_conv1d(torch.ones(1, 2, 3), torch.ones(2, 4))
        print(ccmps._C.last_kernel())
    """
    environment = os.environ | {"CAUSAL_CONV1D_CPU": name}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cpu/{name}/forward")


def test_an_empty_call_runs_no_kernel(backend):
    ccmps.causal_conv1d_fn(**cases.ConvCase(2, 0, 33, 4).arguments(backend.device))
    assert backend.last_kernel() == "none"
