"""warmup(): its arguments, the CPU, and CUDA. tests/metal counts what it compiles for Metal."""

import subprocess
import sys
import time

import pytest
import torch
from backends import BACKENDS

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C

MISSING = BACKENDS["cuda"].missing


def test_a_cpu_has_nothing_to_compile():
    said = []
    start = time.process_time()
    assert ccmps.warmup(1 << 40, device="cpu", progress=said.append) == []  # makes no tensor
    assert time.process_time() - start < 60 and said == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(dim=2.5), TypeError, "dim: expected an integer, got float"),
        (dict(dim=0), ValueError, "dim: expected an integer of at least 1, got 0"),
        (dict(dim=8, width="4"), TypeError, "width: expected an integer, got str"),
        (dict(dim=8, width=-1), ValueError, "width: expected an integer of at least 1, got -1"),
        (dict(dim=8, dtype=torch.int8), TypeError, "dtype: expected float32, .*, got int8"),
        (dict(dim=8, dtype="bf16"), TypeError, "dtype: expected float32, .*, got bf16"),
        (dict(dim=8, weight_dtype=int), TypeError, "weight_dtype: expected float32, .*int"),
        (
            dict(dim=8, device="tpu"),
            ValueError,
            "device: expected 'mps', 'cuda' or 'cpu', got 'tpu'",
        ),
        (dict(dim=8, device="meta"), ValueError, "device: expected .*, got 'meta'"),
        (dict(dim=8, device=[]), ValueError, r"device: expected .*, got \[\]"),
        (dict(dim=8, layouts=()), ValueError, r"layouts: expected some of .*, got \(\)"),
        (dict(dim=8, layouts="TBD"), ValueError, "layouts: expected some of .*, got 'TBD'"),
        (dict(dim=8, layouts=["BDT", 1]), ValueError, "layouts: expected some of .*, got"),
        (dict(dim=8, layouts=3), TypeError, "layouts: expected some of .*, got int"),
        (dict(dim=8, activation="relu"), NotImplementedError, "activation: expected None, 'silu'"),
        (dict(dim=8, bias=None), TypeError, "bias: expected a bool, got NoneType"),
        (dict(dim=8, training=torch.ones(2)), TypeError, "training: expected a bool, got Tensor"),
        (dict(dim=8, decoding="yes"), TypeError, "decoding: expected a bool, got str"),
        (dict(dim=8, progress=1), TypeError, "progress: expected a bool or a function, got int"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ccmps.warmup(**{"device": "cpu", **arguments})


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_a_device_that_is_not_here(device):
    backend = next(b for b in ccmps.backends() if b["name"] == device)
    if backend["available"]:
        pytest.skip(f"{device} is here")
    with pytest.raises(ValueError, match=rf"device: {device} cannot be used: ") as caught:
        ccmps.warmup(8, device=device)
    assert str(caught.value).endswith(backend["detail"])


def test_the_command():
    words = [sys.executable, "-m", "causal_conv1d_mps", "warmup"]
    done = subprocess.run([*words, "--dim", "8", "--device", "cpu"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "nothing to compile on cpu\n"
    done = subprocess.run([*words, "--dim", "0"], capture_output=True, text=True)
    assert done.returncode == 2 and "dim: expected an integer of at least 1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(MISSING is not None, reason=f"cuda: {MISSING}")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dim", [96, 2048])
def test_cuda_compiles_nothing_afterwards(dtype, dim):
    before = sum(_C.cuda_kernels().values())
    found = ccmps.warmup(dim, 4, dtype, "cuda")
    ready = _C.cuda_kernels()
    assert len(found) == sum(ready.values()) - before
    options = dict(dtype=dtype, device="cuda")
    weight, bias = torch.zeros(dim, 4, **options), torch.zeros(dim, **options)
    for layout in ("BDT", "BTD"):
        for batch in (1, 2, 3, 8, 20):
            for length in [*range(1, 40), *range(41, 4000, 83), 4096, 5000]:
                if batch * length * dim > 2**25:
                    continue
                x = torch.zeros(batch, dim, length, **options)
                if layout == "BTD":
                    x = torch.zeros(batch, length, dim, **options).transpose(1, 2)
                leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
                y = ccmps.causal_conv1d_fn(*leaves, activation="silu")
                torch.autograd.grad(y, leaves, torch.zeros_like(y))
                with torch.no_grad():
                    ccmps.causal_conv1d_fn(
                        x, weight, bias, return_final_states=True, activation="silu"
                    )
                assert _C.cuda_kernels() == ready, f"compiled for {layout}, B {batch}, T {length}"
    for batch in [*range(1, 40), 64, 100, 256]:
        state = torch.zeros(batch, dim, 3, **options)
        ccmps.causal_conv1d_update(torch.zeros(batch, dim, **options), state, weight, bias, "silu")
        assert _C.cuda_kernels() == ready, f"compiled for a step of {batch} rows"
