"""Tensors whose first or last byte lies beside a page that nobody may touch."""

import ctypes
import mmap

import numpy as np
import torch

PAGE = mmap.PAGESIZE
INTEGERS = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_PROT_NONE = 0


def _guarded_pages(size):
    """A mapping of `size` usable bytes, rounded up to pages, between two forbidden pages."""
    usable = -(-max(size, 1) // PAGE) * PAGE
    mapping = mmap.mmap(-1, usable + 2 * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    for guard in (address, address + PAGE + usable):
        if _libc.mprotect(guard, PAGE, _PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    return mapping, usable


def guarded(tensor, end):
    """A copy of the tensor, in its memory order, whose memory ends (or starts) at a guard page."""
    order = sorted(range(tensor.ndim), key=lambda i: -tensor.stride(i))
    dense = tensor.permute(order).contiguous()
    size = dense.numel() * dense.element_size()
    mapping, usable = _guarded_pages(size)
    offset = PAGE + (usable - size if end else 0)
    integer = INTEGERS[dense.element_size()]
    memory = np.frombuffer(mapping, integer, dense.numel(), offset)
    copy = torch.from_numpy(memory).view(dense.dtype).view(dense.shape)
    copy.copy_(dense)
    return copy.permute([order.index(i) for i in range(tensor.ndim)])
