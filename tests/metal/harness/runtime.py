"""The C runtime through ctypes: its structures, and loading compiled libraries."""

from __future__ import annotations

import ctypes
import functools
import threading
from ctypes import POINTER, Structure, c_char, c_char_p, c_int32, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

import numpy as np

from . import errors, toolchain

MAX_BUFFERS = 31
LINE = 64

DEVICE, BYTES, THREADGROUP, CONSTANT = range(4)
INIT, WRITTEN, ELEMENT = 1, 2, 4

CELL = np.dtype([("writer", "u4"), ("write_time", "u4"), ("reader", "u4"), ("read_time", "u4")])

_ERRORS = {
    1: errors.OutOfBoundsError,
    2: errors.UninitialisedReadError,
    3: errors.DataRaceError,
    4: errors.DivergenceError,
    5: errors.MisalignedError,
    6: errors.ReadOnlyError,
    7: errors.MemoryFaultError,
    8: errors.MetalError,
}

# One launch at a time: the runtime keeps its state in globals.
LOCK = threading.RLock()


_TRAFFIC_COUNTS = """load_lines store_lines group_load_lines group_store_lines launch_load_lines
    launch_store_lines load_bytes store_bytes loads stores"""


class TrafficCounts(Structure):
    _fields_ = [(name, c_uint64) for name in _TRAFFIC_COUNTS.split()]


class Region(Structure):
    _fields_ = [
        ("base", c_void_p),
        ("size", c_uint64),
        ("padded", c_uint64),
        ("before", c_uint64),
        ("kind", c_int32),
        ("index", c_int32),
        ("flags", c_void_p),
        ("cells", c_void_p),
        ("load_line", c_void_p),
        ("store_line", c_void_p),
        ("name", c_char_p),
        ("traffic", TrafficCounts),
    ]


class Launch(Structure):
    _fields_ = [
        ("entry", c_void_p),
        ("name", c_char_p),
        ("grid", c_uint32 * 3),
        ("group", c_uint32 * 3),
        ("buffers", c_void_p * MAX_BUFFERS),
        ("regions", POINTER(Region)),
        ("region_count", c_uint32),
        ("check_uninitialised", c_uint32),
        ("check_uniform", c_uint32),
        ("flush_subnormals", c_uint32),
        ("image_begin", c_void_p),
        ("image_end", c_void_p),
    ]


class Report(Structure):
    _fields_ = [("status", c_int32), ("message", c_char * 1024), ("pc", c_uint64)]


class _KernelRow(Structure):
    _fields_ = [("entry", c_void_p), ("function", c_void_p), ("sizes", POINTER(c_uint32))]


class _Global(Structure):
    _fields_ = [
        ("begin", c_uint64),
        ("size", c_uint64),
        ("padded", c_uint64),
        ("name", c_char_p),
        ("module", c_char_p),
        ("initialised", c_uint64),
        ("location", c_uint64),
        ("indicator", c_uint64),
    ]


@functools.cache
def _runtime() -> ctypes.CDLL:
    library = ctypes.CDLL(str(toolchain.runtime()))
    library.mh_run.argtypes = [POINTER(Launch), POINTER(Report)]
    library.mh_run.restype = c_int32
    return library


@dataclass
class Global:
    """A threadgroup variable or a constant of a compiled library."""

    name: str
    begin: int
    size: int
    padded: int
    function: int = 0  # of a threadgroup variable: the address of the kernel that declares it


@dataclass
class LoadedKernel:
    entry: int
    function: int
    sizes: list[int]  # per buffer parameter: the bytes that must be bound, 0 if unknown


class Image:
    """A compiled library in this process."""

    def __init__(self, compiled: toolchain.Compiled):
        _runtime()
        self.path = compiled.path
        self._library = ctypes.CDLL(str(compiled.path))
        begin, end = c_void_p(), c_void_p()
        self._library.mh_image_range(ctypes.byref(begin), ctypes.byref(end))
        self.begin, self.end = begin.value, end.value
        rows = (_KernelRow * len(compiled.kernels)).in_dll(self._library, compiled.table)
        self.kernels = [
            LoadedKernel(row.entry, row.function, list(row.sizes[: len(kernel.buffers)]))
            for row, kernel in zip(rows, compiled.kernels, strict=True)
        ]
        self.globals = self._globals(compiled.threadgroup_variables)

    def _globals(self, threadgroup: dict[int, tuple[int, str]]) -> list[Global]:
        count = c_uint64()
        table = self._library.mh_image_globals
        table.restype = POINTER(_Global)
        first = table(ctypes.byref(count))
        found = []
        for row in first[: count.value]:
            function, name = threadgroup.get(row.begin - self.begin, (0, ""))
            name = name or (row.name or b"?").decode()
            function = function + self.begin if function else 0
            found.append(Global(name, row.begin, row.size, row.padded, function))
        return sorted(found, key=lambda g: g.begin)


def run(launch: Launch, image: Image) -> None:
    """Runs the launch; raises what it reports."""
    report = Report()
    status = _runtime().mh_run(ctypes.byref(launch), ctypes.byref(report))
    if status == 0:
        return
    message = report.message.decode()
    if image.begin <= report.pc < image.end:
        place = toolchain.source_line(image.path, report.pc - image.begin)
        message += f" at {place}" if place else ""
    raise _ERRORS[status](message)
