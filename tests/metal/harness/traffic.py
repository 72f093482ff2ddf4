"""A launch's memory traffic as numbers (README.md says what each one means)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

LINE = 64


@dataclass
class Traffic:
    """Bytes moved between a kernel and device memory; `buffers` has them per index."""

    load_bytes: int = 0  # lines loaded, counted once per SIMD-group instruction
    store_bytes: int = 0
    group_load_bytes: int = 0  # distinct lines per threadgroup, summed over threadgroups
    group_store_bytes: int = 0
    launch_load_bytes: int = 0  # distinct lines in the whole launch
    launch_store_bytes: int = 0
    requested_load_bytes: int = 0  # what the threads asked for
    requested_store_bytes: int = 0
    loads: int = 0  # by threads
    stores: int = 0
    buffers: dict[int, Traffic] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return self.load_bytes + self.store_bytes

    @property
    def group_bytes(self) -> int:
        return self.group_load_bytes + self.group_store_bytes

    @property
    def launch_bytes(self) -> int:
        return self.launch_load_bytes + self.launch_store_bytes

    @property
    def launch_lines(self) -> int:
        return self.launch_bytes // LINE

    def __add__(self, other: Traffic) -> Traffic:
        total = Traffic()
        for name in _COUNTS:
            setattr(total, name, getattr(self, name) + getattr(other, name))
        for index in {*self.buffers, *other.buffers}:
            total.buffers[index] = self.buffers.get(index, Traffic()) + other.buffers.get(
                index, Traffic()
            )
        return total


_COUNTS = [f.name for f in fields(Traffic) if f.name != "buffers"]


def from_counts(counts) -> Traffic:
    """From the runtime's record of one buffer."""
    return Traffic(
        load_bytes=counts.load_lines * LINE,
        store_bytes=counts.store_lines * LINE,
        group_load_bytes=counts.group_load_lines * LINE,
        group_store_bytes=counts.group_store_lines * LINE,
        launch_load_bytes=counts.launch_load_lines * LINE,
        launch_store_bytes=counts.launch_store_lines * LINE,
        requested_load_bytes=counts.load_bytes,
        requested_store_bytes=counts.store_bytes,
        loads=counts.loads,
        stores=counts.stores,
    )
