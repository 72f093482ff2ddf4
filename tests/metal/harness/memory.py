"""Tensors as the kernel sees them: copies between guard pages, with the state of every byte.

Views of one storage whose bytes interleave share a copy, so that aliasing behaves as on the device.
"""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from . import runtime

PAGE = mmap.PAGESIZE
GUARD = 1 << 24  # before and after each buffer, so that a far miss hits no other buffer either
BUFFER_ALIGNMENT = 256  # of a Metal buffer; what a storage offset adds is kept
_PROT_NONE = 0
NORESERVE = 0x4000  # MAP_NORESERVE of Linux, which Python does not name

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class GuardedMemory:
    """`size` bytes at an address that is `offset` modulo 256, close to what nobody may touch."""

    def __init__(self, size: int, offset: int = 0):
        lead = offset % BUFFER_ALIGNMENT
        # Between the last byte and the guard lies only the rest of an alignment unit.
        used = -(-(lead + size) // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT
        inner = -(-used // PAGE) * PAGE
        self._length = inner + 2 * GUARD
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
        address = _libc.mmap(None, self._length, _PROT_NONE, flags, -1, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(f"cannot map {self._length} bytes")
        self._map = address
        if inner and _libc.mprotect(address + GUARD, inner, mmap.PROT_READ | mmap.PROT_WRITE):
            self.close()
            raise MemoryError(f"cannot use {inner} bytes")
        self.base = address + GUARD + inner - used + lead
        self.size = size
        self.before = self.base - address
        self.padded = address + self._length - self.base
        self.bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.base))

    def close(self) -> None:
        if self._map:
            self.bytes = None
            _libc.munmap(self._map, self._length)
            self._map = None


def address_view(address: int, size: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def extent(tensor: torch.Tensor) -> tuple[int, int]:
    """First byte and the byte after the last one of the view's elements, as addresses."""
    if tensor.numel() == 0:
        return tensor.data_ptr(), tensor.data_ptr()
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def element_bytes(tensor: torch.Tensor) -> np.ndarray | None:
    """Which bytes of the extent belong to an element; None if all do."""
    low, high = extent(tensor)
    if high - low == tensor.numel() * tensor.element_size():
        return None
    dims = [(n, s) for n, s in zip(tensor.shape, tensor.stride(), strict=True) if n > 1 and s != 0]
    elements = torch.zeros((high - low) // tensor.element_size(), dtype=torch.bool)
    offsets = torch.zeros(1, dtype=torch.int64)
    for n, s in dims:
        offsets = (offsets[:, None] + torch.arange(n) * s).reshape(-1)
    elements[offsets] = True
    return np.repeat(elements.numpy(), tensor.element_size())


# ---- Which bytes nobody has written yet ----


class _Marks:
    """Per storage: the bytes that are initialised. A storage without marks is initialised."""

    def __init__(self):
        self._marks: dict[int, tuple[StorageWeakRef, np.ndarray]] = {}

    def find(self, tensor: torch.Tensor) -> np.ndarray | None:
        pointer = tensor.untyped_storage().data_ptr()
        entry = self._marks.get(pointer)
        if entry is None:
            return None
        if entry[0].expired() or entry[1].size != tensor.untyped_storage().nbytes():
            del self._marks[pointer]
            return None
        return entry[1]

    def create(self, tensor: torch.Tensor) -> np.ndarray:
        marks = self.find(tensor)
        if marks is None:
            storage = tensor.untyped_storage()
            marks = np.ones(storage.nbytes(), dtype=bool)
            if storage.nbytes():
                self._marks[storage.data_ptr()] = (StorageWeakRef(storage), marks)
        return marks

    def view(self, tensor: torch.Tensor, marks: np.ndarray) -> np.ndarray:
        low, high = extent(tensor)
        start = low - tensor.untyped_storage().data_ptr()
        return marks[start : start + high - low]


_marks = _Marks()


def uninitialised(tensor: torch.Tensor) -> torch.Tensor:
    """Marks the view's elements as never written; kernels must write them before they read them."""
    view = _marks.view(tensor, _marks.create(tensor))
    elements = element_bytes(tensor)
    view[slice(None) if elements is None else elements] = False
    return tensor


def initialised(tensor: torch.Tensor) -> torch.Tensor:
    """Takes the mark away, for a tensor that something other than a kernel has filled."""
    marks = _marks.find(tensor)
    if marks is not None:
        _marks.view(tensor, marks)[:] = True
    return tensor


def unwritten(tensor: torch.Tensor) -> int:
    """How many of the view's bytes are still marked as never written."""
    marks = _marks.find(tensor)
    if marks is None:
        return 0
    view, elements = _marks.view(tensor, marks), element_bytes(tensor)
    return int(np.count_nonzero(~(view if elements is None else view[elements])))


# ---- Regions ----


@dataclass
class Block:
    """One copy: the buffers bound to it and the state of its bytes."""

    low: int
    high: int
    tensors: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    memory: GuardedMemory | None = None
    flags: np.ndarray | None = None
    keep: list[np.ndarray] = field(default_factory=list)

    @property
    def index(self) -> int:
        return self.tensors[0][0]

    def load(self, races: bool) -> runtime.Region:
        first = self.tensors[0][1]
        size = self.high - self.low
        offset = self.low - first.untyped_storage().data_ptr()
        self.memory = GuardedMemory(size, offset)
        self.flags = np.full(size, runtime.INIT, dtype=np.uint8)
        if size:
            self.memory.bytes[:] = address_view(self.low, size)
        for _, tensor in self.tensors:
            self._mark(tensor)
        region = device_region(self.memory, self.flags, self.index)
        base = self.memory.base
        line_count = (base + size) // runtime.LINE - base // runtime.LINE + 1
        lines = [np.zeros(line_count, dtype=np.uint32) for _ in range(2)]
        region.load_line, region.store_line = (a.ctypes.data for a in lines)
        self.keep += lines
        if races:
            cells = np.zeros(size, dtype=runtime.CELL)
            region.cells = cells.ctypes.data
            self.keep.append(cells)
        return region

    def _slice(self, tensor: torch.Tensor) -> np.ndarray:
        low, high = extent(tensor)
        return self.flags[low - self.low : high - self.low]

    def _mark(self, tensor: torch.Tensor) -> None:
        flags, elements = self._slice(tensor), element_bytes(tensor)
        flags[slice(None) if elements is None else elements] |= runtime.ELEMENT
        marks = _marks.find(tensor)
        if marks is not None:
            view = _marks.view(tensor, marks)
            unset = ~view if elements is None else ~view & elements
            flags[unset] &= ~runtime.INIT & 0xFF

    def address_of(self, tensor: torch.Tensor) -> int:
        return self.memory.base + tensor.data_ptr() - self.low

    def store(self) -> None:
        """Copies back what the kernel wrote."""
        written = (self.flags & runtime.WRITTEN) != 0
        if not written.any():
            return
        target = address_view(self.low, self.high - self.low)
        target[written] = self.memory.bytes[written]
        for _, tensor in self.tensors:
            marks = _marks.find(tensor)
            if marks is not None:
                low, high = extent(tensor)
                part = written[low - self.low : high - self.low]
                _marks.view(tensor, marks)[part] = True

    def close(self) -> None:
        if self.memory:
            self.memory.close()


def device_region(memory: GuardedMemory, flags: np.ndarray | None, index: int) -> runtime.Region:
    return runtime.Region(
        base=memory.base,
        size=memory.size,
        padded=memory.padded,
        before=memory.before,
        kind=runtime.DEVICE,
        index=index,
        flags=flags.ctypes.data if flags is not None and flags.size else None,
    )
