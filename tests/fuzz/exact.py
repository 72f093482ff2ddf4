"""Exact arithmetic with numpy: the fused multiply-add of float32 and float64, roundings, bits.

Shares nothing with the library or with tests/python. float32 values go through float64, where a
product of two is exact; the sum is rounded to odd there, so that its rounding to float32 is the one
rounding of the exact sum. float64 uses error-free transformations (Boldo and Melquiond), and libm's
fma where those could underflow or overflow.
"""

import ctypes
import ctypes.util

import numpy as np
import torch

F32, F64 = np.float32, np.float64
UINT = {2: np.uint16, 4: np.uint32, 8: np.uint64}

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_libm.fma.argtypes = [ctypes.c_double] * 3
_libm.fma.restype = ctypes.c_double


def quiet(function):
    def called(*arguments, **named):
        with np.errstate(all="ignore"):
            return function(*arguments, **named)

    return called


def _two_sum(a, b):
    """a + b rounded, and what the rounding left out."""
    s = a + b
    back = s - a
    return s, (a - (s - back)) + (b - back)


def _odd_sum(a, b):
    """a + b, where it is not exact, as the neighbour with an odd last bit."""
    s, error = _two_sum(a, b)
    bits = s.view(np.int64)
    inexact = (error != 0) & np.isfinite(s) & np.isfinite(error) & (bits & 1 == 0)
    if not inexact.any():
        return s
    away = np.where((error > 0) == (s > 0), 1, -1)
    return np.where(inexact, bits + away, bits).view(F64)


def _fma32(a, b, c):
    return _odd_sum(a.astype(F64) * b.astype(F64), c.astype(F64)).astype(F32)


def _fma64(a, b, c):
    a, b, c = np.broadcast_arrays(a, b, c)
    high = a * b
    split = 134217729.0
    a_high = split * a - (split * a - a)
    b_high = split * b - (split * b - b)
    a_low, b_low = a - a_high, b - b_high
    low = a_low * b_low - (((high - a_high * b_high) - a_low * b_high) - a_high * b_low)
    t, t_low = _two_sum(c, low)
    v, v_low = _two_sum(high, t)
    result = v + _odd_sum(t_low, v_low)
    size = [np.abs(each) for each in (a, b, c, high)]
    normal = [(each > 1e-140) & (each < 1e140) for each in size]
    exact = (normal[0] & normal[1] & normal[3]) & (normal[2] | (c == 0))
    if not exact.all():
        result = result.copy()
        for i in zip(*np.nonzero(~exact)):
            result[i] = _libm.fma(a[i], b[i], c[i])
    return result


@quiet
def fma(a, b, c):
    """a * b + c with one rounding, in the type of c (float32 or float64)."""
    return (_fma32 if c.dtype == F32 else _fma64)(a, b, c)


def work_type(dtype):
    """The type that the operation computes in."""
    return F64 if dtype == torch.float64 else F32


@quiet
def widen(tensor, dtype=None):
    """The values of a tensor as numpy numbers of the type that computes for `dtype`."""
    if tensor is None:
        return None
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        raw = tensor.contiguous().view(torch.int16).numpy().view(np.uint16)
        values = (raw.astype(np.uint32) << 16).view(F32)
    else:
        values = tensor.numpy()
    return values.astype(work_type(dtype or tensor.dtype))


def _to_odd32(values):
    """float64 to float32, where inexact the neighbour with an odd last bit."""
    single = values.astype(F32)
    bits = single.view(np.int32)
    inexact = np.isfinite(single) & (single.astype(F64) != values) & (bits & 1 == 0)
    larger = np.abs(values) > np.abs(single.astype(F64))
    moved = np.where(inexact, bits + np.where(larger, 1, -1), bits)
    # A zero whose value lies on its other side has no neighbour nearer to zero.
    least = np.copysign(F32(1e-45), values.astype(F32)).view(np.int32)
    return np.where(inexact & (single == 0), least, moved).astype(np.int32).view(F32)


@quiet
def round_to(values, dtype):
    """Numbers of the working type or float64, rounded once to the dtype, as numpy numbers in it
    (bfloat16: as the float32 of the same value)."""
    if dtype in (torch.float64, torch.float32):
        return values.astype(work_type(dtype))
    if values.dtype == F64:
        values = _to_odd32(values)
    if dtype == torch.float16:
        return values.astype(np.float16)
    bits = values.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    kept = (rounded & np.uint32(0xFFFF0000)).view(F32)
    return np.where(np.isnan(values), F32(np.nan), kept)


def differs(a, b):
    """Where two arrays of one type do not hold the same bits; any NaN is like any other."""
    raw = UINT[a.dtype.itemsize]
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return (a.view(raw) != b.view(raw)) & ~(np.isnan(a) & np.isnan(b))


def stored(tensor):
    """A tensor's values as round_to gives them."""
    if tensor.dtype == torch.bfloat16:
        return widen(tensor)
    return tensor.detach().cpu().numpy()
