"""Buffers of many gigabytes of which little is used: nothing is held for the rest.

The bytes of a view's elements are copied there and back. The others are mapped and never touched; a
kernel that reads one has read what nobody has written. No marks are kept, no traffic is counted.
"""

from __future__ import annotations

import mmap

import numpy as np
import torch

from . import runtime
from .memory import NORESERVE, Block, GuardedMemory, address_view, device_region, extent

FAR = 1 << 28  # bytes: a block as long as this is treated so


def lazily_mapped(size: int) -> np.ndarray:
    """Zeros that take memory once they are written. Unmapped with the array."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=np.uint8)


def element_places(tensor: torch.Tensor, low: int) -> np.ndarray:
    """Where the bytes of the view's elements lie, counted from the address `low`."""
    item = tensor.element_size()
    places = np.array([tensor.data_ptr() - low])
    for n, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if n > 1 and stride != 0:
            places = (places[:, None] + np.arange(n) * (stride * item)).reshape(-1)
    return (places[:, None] + np.arange(item)).reshape(-1)


class FarBlock(Block):
    """Flags, and what tells races, are mapped lazily as the bytes are."""

    def load(self, races: bool) -> runtime.Region:
        size = self.high - self.low
        offset = self.low - self.tensors[0][1].untyped_storage().data_ptr()
        self.memory = GuardedMemory(size, offset)
        self.flags = lazily_mapped(size)
        self._places = np.concatenate([element_places(t, self.low) for _, t in self.tensors])
        self.memory.bytes[self._places] = address_view(self.low, size)[self._places]
        self.flags[self._places] = runtime.INIT | runtime.ELEMENT
        region = device_region(self.memory, self.flags, self.index)
        if races:
            cells = lazily_mapped(size * runtime.CELL.itemsize)
            region.cells = cells.ctypes.data
            self.keep.append(cells)
        return region

    def store(self) -> None:
        written = self._places[(self.flags[self._places] & runtime.WRITTEN) != 0]
        address_view(self.low, self.high - self.low)[written] = self.memory.bytes[written]


def blocks_of(tensors: list[tuple[int, torch.Tensor]]) -> list[Block]:
    """Groups tensors whose extents overlap."""
    groups: list[tuple[int, int, list]] = []
    for index, tensor in sorted(tensors, key=lambda item: extent(item[1])):
        low, high = extent(tensor)
        if groups and low < groups[-1][1]:
            start, end, members = groups[-1]
            groups[-1] = start, max(high, end), [*members, (index, tensor)]
        else:
            groups.append((low, high, [(index, tensor)]))
    return [(FarBlock if high - low >= FAR else Block)(low, high, t) for low, high, t in groups]
