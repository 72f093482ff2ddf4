"""What other objects claim about their memory: DLPack capsules with wrong fields are refused."""

import ctypes

import numpy as np
import pytest
import torch

from causal_conv1d_mps import _C
from causal_conv1d_mps._tables import arrange

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
    _C.run("forward", arrange("forward", x=x, weight=torch.ones(3, 4), out=out))
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
