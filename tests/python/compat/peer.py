"""What the adapters' tests compare with: one sequence at a time, in float64, by plain loops.

Made on the CPU; only what is passed to an adapter is on the device of the backend.
"""

import inspect

import torch


def signature(function):
    """Parameters as they are written, without annotations."""
    return str(inspect.signature(function)).removesuffix(")").removeprefix("(")


def made(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator("cpu").manual_seed(1000 * seed + sum(shape))
    device = torch.empty(0).device  # torch.device(...) is in charge of it
    return torch.randn(shape, generator=generator, device="cpu").to(device, dtype)


def drawn(generator, low, high, count):
    """Integers from low to high - 1, as a list."""
    return torch.randint(low, high, (count,), generator=generator, device="cpu").tolist()


def convolved(taps, weight, bias, activation):
    """taps (D, W-1+T) -> (D, T), all of them float64."""
    width, taps = weight.shape[1], taps.detach().cpu().double()
    weight, bias = weight.detach().cpu(), None if bias is None else bias.detach().cpu()
    columns = []
    for t in range(taps.shape[1] - width + 1):
        acc = (taps[:, t : t + width] * weight.double()).sum(dim=1)
        acc = acc if bias is None else acc + bias.double()
        columns.append(acc * torch.sigmoid(acc) if activation == "silu" else acc)
    return torch.stack(columns, dim=1) if columns else taps[:, :0]


def sequence(history, x, weight, bias=None, activation="silu"):
    """history (D, W-1 or more) and x (D, T): y (D, T), and every step with those before it."""
    taps = torch.cat([history.detach().cpu(), x.detach().cpu()], dim=1).double()
    before = weight.shape[1] - 1
    return convolved(taps[:, history.shape[1] - before :], weight, bias, activation), taps


def close(got, want, dtype=None):
    """A value differs by no more than rounding."""
    dtype = got.dtype if dtype is None else dtype
    tolerance = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float64: 1e-12}.get(dtype, 1e-5)
    torch.testing.assert_close(
        got.detach().cpu().double(), want.detach().cpu().double(), rtol=tolerance, atol=tolerance
    )


def same(got, want):
    """A copy does not differ at all."""
    assert torch.equal(got.detach().cpu().double(), want.detach().cpu().double())
