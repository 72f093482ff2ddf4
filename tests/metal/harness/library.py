"""The stand-in for torch.mps.compile_shader: the same call, run on the CPU under every check."""

from __future__ import annotations

import ctypes
import dataclasses
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from . import arguments, far, lexer, memory, modes, runtime, toolchain
from .declarations import Kernel
from .errors import MetalError
from .traffic import Traffic, from_counts

THREADGROUP_MEMORY = 32 * 1024
THREADGROUP_ALIGNMENT = 16


@dataclass
class _Checks:
    races: bool = True
    uninitialised: bool = True
    uniform: bool = False


_checks = _Checks()
_total = Traffic()
_last = Traffic()


@contextmanager
def checks(**switches: bool):
    """Within the block: races, uninitialised (on by default), uniform (off).

    uniform: every lane must take part in every SIMD-group function, also in those that are defined
    for whatever lanes are active.
    """
    before = dataclasses.replace(_checks)
    for name, value in switches.items():
        if name not in vars(before):
            raise TypeError(f"unknown check {name!r}; there are {', '.join(vars(before))}")
        setattr(_checks, name, value)
    try:
        yield
    finally:
        vars(_checks).update(vars(before))


def traffic() -> Traffic:
    """The last launch's traffic."""
    return _last


@contextmanager
def count_traffic():
    """The traffic of all launches within the block, in the object that it gives."""
    global _total
    before, _total = _total, Traffic()
    inner = _total
    try:
        yield inner
    finally:
        _total = before


def _add_to_total(last: Traffic) -> None:
    summed = _total + last
    _total.__dict__.update(summed.__dict__)


class MetalKernel:
    """One kernel; call it as torch's: kernel(*args, threads=, group_size=, arg_casts=)."""

    def __init__(self, image: runtime.Image, kernel: Kernel, loaded: runtime.LoadedKernel):
        self._image, self._kernel, self._loaded = image, kernel, loaded
        self.last_traffic = Traffic()
        self._variables = [g for g in image.globals if g.function == loaded.function]
        if self.static_thread_group_memory_length > THREADGROUP_MEMORY:
            raise MetalError(
                f"Failed to created pipeline state object, error: kernel '{kernel.name}' uses "
                f"{self.static_thread_group_memory_length} bytes of threadgroup memory, and "
                f"{THREADGROUP_MEMORY} is the most"
            )

    @property
    def name(self) -> str:
        return self._kernel.name

    @property
    def max_threads_per_threadgroup(self) -> int:
        return self._kernel.max_threads

    @property
    def thread_execution_width(self) -> int:
        return 32

    @property
    def static_thread_group_memory_length(self) -> int:
        unit = THREADGROUP_ALIGNMENT
        return sum(-(-variable.size // unit) * unit for variable in self._variables)

    def __call__(self, *args, threads=None, group_size=None, arg_casts=None) -> None:
        grid = arguments.dimensions(threads, "threads")
        group = arguments.dimensions(group_size, "group_size")
        casts = arguments.Casts(arg_casts)
        tensors, packed = [], []
        for index, value in enumerate(args):
            if isinstance(value, torch.Tensor):
                arguments.check_tensor(value, index)
                tensors.append((index, value))
                grid = [value.numel()] if grid is None else grid
            else:
                packed.append((index, arguments.bytes_of(value, index, casts)))
        self._check_count(len(args))
        grid, group = self._sizes(grid, group)
        with runtime.LOCK, ExitStack() as stack:
            self._launch(tensors, packed, grid, group, stack)

    def _check_count(self, count: int) -> None:
        needed = self._kernel.buffers
        expected = max(needed, default=-1) + 1
        if count != expected:
            raise MetalError(
                f"kernel '{self.name}' takes {expected} arguments (its buffers are "
                f"{sorted(needed)}), but {count} were given"
            )

    def _sizes(
        self, grid: list[int] | None, group: list[int] | None
    ) -> tuple[list[int], list[int]]:
        if grid is None:
            raise MetalError("Number of threads is undefined or has wrong dimension")
        if group is not None and len(group) != len(grid):
            raise MetalError(f"threads {grid} and group_size {group} differ in dimensions")
        limit = self.max_threads_per_threadgroup
        if group is None:
            group = [min(grid[0], limit)] if len(grid) == 1 else [limit]
        grid, group = (sizes + [1] * (3 - len(sizes)) for sizes in (grid, group))
        if 0 in grid:
            raise MetalError(f"kernel '{self.name}': a launch of {grid} threads is not allowed")
        if 0 in group:
            raise MetalError(f"kernel '{self.name}': group_size {group} has a zero")
        if group[0] * group[1] * group[2] > limit:
            raise ValueError(f"Threadgroup size exceeds {limit} limit")
        if any(n >= 2**32 for n in grid):
            raise MetalError(f"kernel '{self.name}': a grid of {grid} threads is too large")
        return grid, group

    def _launch(self, tensors, packed, grid, group, stack: ExitStack) -> None:
        launch = runtime.Launch(
            entry=self._loaded.entry,
            name=self.name.encode(),
            grid=tuple(grid),
            group=tuple(group),
            check_uninitialised=_checks.uninitialised,
            check_uniform=_checks.uniform,
            flush_subnormals=modes.current().flushes_subnormals,
            image_begin=self._image.begin,
            image_end=self._image.end,
        )
        blocks = far.blocks_of(tensors)
        regions, keep = [], []
        for block in blocks:
            stack.callback(block.close)
            regions.append(block.load(_checks.races))
            for index, tensor in block.tensors:
                launch.buffers[index] = block.address_of(tensor)
                low, high = memory.extent(tensor)
                self._check_bound(index, high - low)
        for index, data in packed:
            self._check_bound(index, len(data))
            bound = memory.GuardedMemory(len(data))
            stack.callback(bound.close)
            bound.bytes[:] = np.frombuffer(data, dtype=np.uint8)
            region = memory.device_region(bound, None, index)
            region.kind = runtime.BYTES
            regions.append(region)
            launch.buffers[index] = bound.base
        regions += self._global_regions(keep)
        regions.sort(key=lambda region: region.base)
        table = (runtime.Region * len(regions))(*regions)
        launch.regions = ctypes.cast(table, ctypes.POINTER(runtime.Region))
        launch.region_count = len(regions)
        runtime.run(launch, self._image)
        for block in blocks:
            block.store()
        self._count(table)

    def _check_bound(self, index: int, size: int) -> None:
        if index not in self._kernel.buffers:
            return
        needed = self._loaded.sizes[self._kernel.buffers.index(index)]
        if size < needed:
            raise MetalError(
                f"kernel '{self.name}': argument {index} has {size} bytes, but the parameter's "
                f"type has {needed}"
            )

    def _global_regions(self, keep: list[np.ndarray]) -> list[runtime.Region]:
        regions = []
        for variable in self._image.globals:
            mine = variable.function == self._loaded.function
            if variable.function and not mine:
                continue
            region = runtime.Region(
                base=variable.begin,
                size=variable.size,
                padded=variable.padded,
                kind=runtime.THREADGROUP if mine else runtime.CONSTANT,
                index=-1,
                name=variable.name.encode(),
            )
            if mine:
                flags = np.zeros(variable.size, dtype=np.uint8)
                cells = np.zeros(variable.size, dtype=runtime.CELL)
                keep += [flags, cells]
                region.flags, region.cells = flags.ctypes.data, cells.ctypes.data
            regions.append(region)
        return regions

    def _count(self, table) -> None:
        global _last
        result = Traffic()
        for region in table:
            if region.kind == runtime.DEVICE:
                one = from_counts(region.traffic)
                index = region.index
                buffers = {**result.buffers, index: one}
                result = result + one
                result.buffers = buffers
        self.last_traffic = _last = result
        _add_to_total(result)


class ShaderLibrary:
    """What compile_shader gives: its kernels are attributes, and dir() lists them."""

    def __init__(self, source: str, level: str):
        self._compiled = toolchain.compile_library(source, level)
        self._image = runtime.Image(self._compiled)
        self._kernels: dict[str, MetalKernel] = {}

    def __getattr__(self, name: str) -> MetalKernel:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in self._kernels:
            for kernel, loaded in zip(self._compiled.kernels, self._image.kernels, strict=True):
                if kernel.name == name:
                    self._kernels[name] = MetalKernel(self._image, kernel, loaded)
                    break
            else:
                raise RuntimeError(f"Failed to create function state object for: {name}")
        return self._kernels[name]

    def __dir__(self) -> list[str]:
        return sorted(kernel.name for kernel in self._compiled.kernels)


_libraries: dict[tuple[str, str], ShaderLibrary] = {}
_libraries_lock = threading.Lock()


def compile_shader(source: str, *, optimise: bool = True) -> ShaderLibrary:
    """Compiles Metal text; SyntaxError says what is wrong with it. The same text compiles once.

    Without optimise, which torch has not, the compile is quicker and traffic means less.
    """
    if not isinstance(source, str):
        raise TypeError(f"source must be str, not {type(source).__name__}")
    try:
        lexer.check_characters(source)
    except lexer.MslError as error:
        raise SyntaxError(f"{toolchain.SOURCE_NAME}:{error.line}: error: {error}") from None
    level = toolchain.OPTIMISED if optimise else toolchain.UNOPTIMISED
    key = (toolchain.key_of(source), level)
    with _libraries_lock:
        if key not in _libraries:
            _libraries[key] = ShaderLibrary(source, level)
        return _libraries[key]
