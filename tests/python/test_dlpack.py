"""What other objects claim about their memory: DLPack capsules with wrong fields are refused."""

import ctypes

import numpy as np
import pytest
import torch

from causal_conv1d_mps import _C

FLOATS = np.arange(1000, dtype=np.float32)
NEW_CAPSULE = ctypes.pythonapi.PyCapsule_New
NEW_CAPSULE.restype = ctypes.py_object
NEW_CAPSULE.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class Producer:
    """A float32 tensor (2, 3, 5), but for the fields that are given."""

    def __init__(self, sizes=(2, 3, 5), **fields):
        self.sizes = (ctypes.c_int64 * 8)(*sizes)
        self.steps = (ctypes.c_int64 * 8)(15, 5, 1)
        self.name = b"dltensor"
        plain = dict(data=FLOATS.ctypes.data, device_type=1, ndim=3, code=2, bits=32, lanes=1)
        plain |= dict(shape=ctypes.addressof(self.sizes), strides=ctypes.addressof(self.steps))
        self.managed = Managed(**plain | fields)

    def __dlpack__(self, **options):
        return NEW_CAPSULE(ctypes.addressof(self.managed), self.name, None)


def forward(x):
    out = torch.full((2, 3, 5), 7.0)
    _C.forward(x, torch.ones(3, 4), None, None, None, None, None, out, None, 0, 1)
    return out


def test_a_plain_producer_is_read():
    x = torch.from_numpy(FLOATS[:30].copy()).view(2, 3, 5)
    assert torch.equal(forward(Producer()), forward(x))
    assert torch.equal(forward(Producer(strides=None)), forward(x))


WRONG = {
    "negative ndim": dict(ndim=-1),
    "least ndim": dict(ndim=-(2**31)),
    "no shape": dict(shape=None),
    "byte_offset": dict(byte_offset=2**63),
    "largest byte_offset": dict(byte_offset=2**64 - 4),
    "ndim of five": dict(ndim=5),
    "largest ndim": dict(ndim=2**31 - 1),
    "no data": dict(data=None),
    "sizes beyond 2^64": dict(sizes=(2**62, 2**62, 2**62), strides=None),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^(x|weight): expected"):
        forward(Producer(**WRONG[wrong]))


def test_only_pytorchs_exchange_table_is_called():
    """A table on another type is not read, whatever it points to."""
    nothing = (ctypes.c_uint64 * 16)(2, 2**62)

    class WithTable(Producer):
        __dlpack_c_exchange_api__ = NEW_CAPSULE(
            ctypes.addressof(nothing), b"dlpack_exchange_api", None
        )

    assert torch.equal(forward(WithTable()), forward(Producer()))


def backward(alloc):
    x, weight = torch.ones(4, 16, 4096), torch.ones(16, 4)
    dx, dweight = torch.full_like(x, 7), torch.full_like(weight, 7)
    gradients = (dx, dweight, None, None)
    try:
        _C.backward(x, x, weight, None, None, None, None, None, *gradients, 0, alloc, 1)
    except (TypeError, ValueError, RuntimeError):
        assert (dx == 7).all() and (dweight == 7).all()
        raise


def bytes_of(count, device="cpu"):
    return torch.zeros(count, dtype=torch.uint8, device=device)


SCRATCH = {
    "smaller": (lambda n: bytes_of(64), "expected at least [0-9]+ bytes, got 64"),
    "by one byte": (lambda n: bytes_of(n - 1), "expected at least"),
    "empty": (lambda n: bytes_of(0), "expected at least"),
    "expanded": (lambda n: bytes_of(1).expand(n), "contiguous bytes"),
    "of floats": (lambda n: torch.zeros(n), "uint8"),
    "of two dimensions": (lambda n: bytes_of(n).view(1, -1), "contiguous bytes"),
    "unaligned": (lambda n: bytes_of(n + 64)[1:], "16-byte alignment"),
    "elsewhere": (lambda n: bytes_of(n, "meta"), "meta"),
    "no tensor": (lambda n: 5, "expected a tensor, got int"),
}


@pytest.mark.parametrize("wrong", SCRATCH)
def test_scratch_counts_for_what_it_is(wrong):
    alloc, message = SCRATCH[wrong]
    with pytest.raises((TypeError, ValueError, RuntimeError), match=message):
        backward(alloc)


def test_scratch_may_be_larger():
    backward(lambda n: bytes_of(n + 4096))


@pytest.mark.parametrize("wrong", ["smaller", "of floats"])
def test_scratch_of_a_metal_launch(wrong):
    alloc, message = SCRATCH[wrong]
    x, weight = torch.ones(4, 16, 4096), torch.ones(16, 4)
    results = (torch.empty_like(x), torch.empty_like(weight), None, None)
    arguments = (x, x, weight, None, None, None, None, None, *results, 0, alloc, 1)
    with pytest.raises(ValueError, match=f"^scratch: .*{message}"):
        _C.launches("backward", *arguments)
