"""The operation table: every case that every backend must compute.

A case is a value with a readable id; `arguments(device)` builds what the public function and the
oracle both take. ARGUMENTS holds every combination of arguments in every dtype; the other lists
walk sizes, widths, layouts and dtypes across the edges of blocks, vectors and chunks.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace  # noqa: F401  (replace: for the tests)

import torch
from inputs import (
    EXPANDED,
    LAYOUTS,
    ODD_OFFSET,
    PADDING,
    arrange,
    padded_ids,
    segment_ids,
    sequence_bounds,
    values,
    weights,
)

F32, F16, BF16, F64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
DTYPES = (F32, F16, BF16, F64)
NAMES = {F32: "f32", F16: "f16", BF16: "bf16", F64: "f64"}
SHORT = {torch.int32: "i32", torch.int64: "i64"}
MAIN_LAYOUTS = ("contiguous", "channel_last", "sliced")

LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65)
LENGTHS += (127, 128, 129, 255, 256, 257, 1000, 2049)
DIMS = (0, 1, 3, 7, 8, 9, 16, 17, 33, 64, 65, 130, 257)
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 64, 256)


def _label(*parts):
    return "-".join(str(part) for part in parts if part)


@dataclass(frozen=True)
class ConvCase:
    """One call of causal_conv1d_fn."""

    batch: int
    dim: int
    length: int
    width: int
    x_dtype: torch.dtype = F32
    weight_dtype: torch.dtype = F32
    bias_dtype: torch.dtype | None = F32  # None: no bias
    layout: str = "contiguous"
    activation: str | None = "silu"
    packing: str | None = None  # None, "seq_idx", "cu_seqlens" or "lengths"
    initial: bool = False
    final: str | None = None  # None, "returned" or "final_states_out"
    residual: bool = False
    out: bool = False
    index_dtype: torch.dtype = torch.int32
    padding: str | None = None  # where the seq_idx has it (inputs.PADDING); None: anywhere

    @property
    def dtypes(self):
        return tuple(d for d in (self.x_dtype, self.weight_dtype, self.bias_dtype) if d)

    @property
    def id(self):
        return _label(
            f"{self.batch}x{self.dim}x{self.length}-w{self.width}",
            "_".join(NAMES[dtype] for dtype in self.dtypes),
            self.layout,
            self.activation,
            self.packing and f"{self.packing}_{SHORT[self.index_dtype]}",
            self.padding,
            self.initial and "initial",
            self.final,
            self.residual and "residual",
            self.out and "out",
        )

    @property
    def seed(self):
        return self.batch + 7 * self.dim + 1009 * self.length + 10007 * self.width

    @property
    def sequences(self):
        return 5 if self.packing == "cu_seqlens" else self.batch

    @property
    def state_shape(self):
        return (self.sequences, self.dim, self.width - 1)

    def state_layout(self):
        return "contiguous" if self.layout in (*EXPANDED, ODD_OFFSET) else self.layout

    def tensor(self, shape, seed, device, layout=None):
        layout = layout or self.layout
        return arrange(values(shape, self.x_dtype, self.seed + seed), layout, device)

    def arguments(self, device="cpu"):
        shape = (self.batch, self.dim, self.length)
        weight = weights((self.dim, self.width), self.weight_dtype, self.seed + 1).to(device)
        given = dict(x=self.tensor(shape, 0, device), weight=weight, activation=self.activation)
        if self.bias_dtype:
            given["bias"] = weights((self.dim,), self.bias_dtype, self.seed + 2).to(device)
        if self.packing == "seq_idx":
            where = (self.batch, self.length, self.index_dtype, self.seed)
            ids = padded_ids(*where, self.padding) if self.padding else segment_ids(*where)
            given["seq_idx"] = ids.to(device)
        if self.packing == "lengths":
            generator = torch.Generator().manual_seed(self.seed)
            lengths = torch.randint(0, self.length + 1, (self.batch,), generator=generator)
            given["lengths"] = lengths.to(self.index_dtype).to(device)
        if self.packing == "cu_seqlens":
            bounds = sequence_bounds(self.length, self.sequences, self.index_dtype, self.seed)
            given["cu_seqlens"] = bounds.to(device)
        if self.initial:
            states = self.tensor(self.state_shape, 3, device, self.state_layout())
            given["initial_states"] = states
        if self.residual:
            given["residual"] = self.tensor(shape, 4, device)
        return given


def _compatible(x, *parameters):
    return all(p is None or p != F64 or x == F64 for p in parameters)


def _cycle(i, options):
    return options[i % len(options)]


def _arguments():
    shapes = ((2, 9, 33, 4), (3, 16, 20, 3), (2, 33, 18, 4), (1, 5, 65, 2), (2, 8, 40, 5))
    combinations = itertools.product(
        (False, True),
        (None, "silu"),
        (None, "seq_idx", "cu_seqlens"),
        (False, True),
        (None, "returned", "final_states_out"),
        (False, True),
        (False, True),
    )
    for i, (bias, activation, packing, initial, final, residual, out) in enumerate(combinations):
        for j, x_dtype in enumerate(DTYPES):
            batch, dim, length, width = _cycle(i + j, shapes)
            parameter = _cycle(i + j, [d for d in DTYPES if _compatible(x_dtype, d)])
            yield ConvCase(
                1 if packing == "cu_seqlens" else batch,
                dim,
                length,
                width,
                x_dtype,
                parameter,
                parameter if bias else None,
                _cycle(i // 4 + j, MAIN_LAYOUTS),
                activation,
                packing,
                initial,
                final,
                residual,
                out,
                _cycle(i // 2, (torch.int32, torch.int64)),
            )


def _sizes():
    """Lengths, then channels, then widths, across the edges of blocks."""
    states = dict(initial=True, final="returned")
    for i, (length, layout) in enumerate(itertools.product(LENGTHS, MAIN_LAYOUTS[:2])):
        dtype = _cycle(i // 2, DTYPES)
        dim = 3 if length > 300 else _cycle(i, (5, 9, 17))
        yield ConvCase(2, dim, length, 4, dtype, layout=layout, **states)
        yield ConvCase(1, dim, length, 2 + i % 7, _cycle(i // 2 + 1, DTYPES), layout=layout)
        if length:
            width = _cycle(i, (3, 4))
            yield ConvCase(2, 4, length, width, dtype, layout=layout, packing="seq_idx")
        yield ConvCase(1, 4, length, 4, dtype, layout=layout, packing="cu_seqlens", **states)
    for i, (dim, layout) in enumerate(itertools.product(DIMS, MAIN_LAYOUTS)):
        yield ConvCase(2, dim, 21, 4, _cycle(i // 3, DTYPES), layout=layout, **states)
        yield ConvCase(1, dim, 37, 3, _cycle(i // 3 + 2, DTYPES), layout=layout, activation=None)
    for i, (width, layout) in enumerate(itertools.product(WIDTHS, MAIN_LAYOUTS[:2])):
        for length in (5, 70, 300) if width > 9 else (5, 70):
            dtype = _cycle(i // 2, DTYPES)
            yield ConvCase(2, 3, length, width, dtype, layout=layout, **states)
            yield ConvCase(1, 9, length, width, dtype, layout=layout, activation=None)
    yield ConvCase(0, 8, 16, 4, **states)
    yield ConvCase(19, 1, 1, 4, **states)
    yield ConvCase(257, 2, 3, 4, BF16, **states)


def _layouts():
    layouts = (*LAYOUTS, ODD_OFFSET, *EXPANDED)
    for i, (layout, dtype) in enumerate(itertools.product(layouts, DTYPES)):
        yield ConvCase(2, 17, 70, 4, dtype, layout=layout, residual=True)
        packing = _cycle(i, ("seq_idx", "cu_seqlens"))
        batch = 1 if packing == "cu_seqlens" else 3
        yield ConvCase(batch, 8, 41, 3, dtype, layout=layout, packing=packing, initial=True)


def _dtypes():
    for i, (x, weight, bias) in enumerate(itertools.product(DTYPES, repeat=3)):
        if _compatible(x, weight, bias):
            layout = _cycle(i, MAIN_LAYOUTS)
            yield ConvCase(2, 17, 35, 4, x, weight, bias, layout, residual=bool(i % 2))


def _paddings():
    """Where padding lies, across the edges of blocks: states and their gradients see it most."""
    sizes = (
        (3, 9, 33, 4),
        (7, 5, 3, 4),
        (4, 17, 70, 3),
        (2, 3, 1100, 5),
        (7, 4, 20, 9),
        (2, 3, 1, 2),
    )
    for i, (padding, size) in enumerate(itertools.product((*PADDING, None), sizes)):
        for j, layout in enumerate(MAIN_LAYOUTS):
            yield ConvCase(
                *size,
                _cycle(i + j, DTYPES),
                layout=layout,
                activation=_cycle(i // 2 + j, (None, "silu")),
                packing="seq_idx" if padding else "lengths",
                initial=(i + j) % 4 != 3,
                final="returned",
                residual=(i + j) % 5 == 0,
                index_dtype=_cycle(i + j // 2, (torch.int32, torch.int64)),
                padding=padding,
            )


def _unique(*lists):
    """The cases in order, a repeated one once."""
    return list({case.id: case for case in itertools.chain(*lists)}.values())


FORWARD = _unique(_arguments(), _sizes(), _layouts(), _dtypes(), _paddings())
BACKWARD = [c for c in FORWARD if not c.out and c.final != "final_states_out"]


@dataclass(frozen=True)
class UpdateCase:
    """One call of causal_conv1d_update."""

    batch: int
    dim: int
    length: int | None  # None: x is (B, D)
    width: int
    spare: int  # state elements beyond what the call needs
    x_dtype: torch.dtype = F32
    weight_dtype: torch.dtype = F32
    bias: bool = True
    activation: str | None = "silu"
    mode: str = "shift"  # "shift", "circular" or "accepted"
    indices: str | None = None  # None, "rows", "padded", "forked" or "shifted"
    layout: str = "contiguous"
    state_layout: str = "contiguous"
    index_dtype: torch.dtype = torch.int32
    state_dtype: torch.dtype | None = None  # None: x's

    @property
    def dtypes(self):
        return (self.x_dtype, self.weight_dtype)

    @property
    def id(self):
        return _label(
            f"{self.batch}x{self.dim}" + ("" if self.length is None else f"x{self.length}"),
            f"w{self.width}",
            f"spare{self.spare}",
            "_".join(NAMES[dtype] for dtype in self.dtypes),
            f"{self.layout}_{self.state_layout}",
            self.bias and "bias",
            self.activation,
            self.mode,
            self.indices and f"{self.indices}_{SHORT[self.index_dtype]}",
            self.state_dtype and f"state_{NAMES[self.state_dtype]}",
        )

    @property
    def steps(self):
        return 1 if self.length is None else self.length

    @property
    def state_len(self):
        kept = max(self.steps - 1, 0) if self.mode == "accepted" else 0
        return self.width - 1 + kept + self.spare

    def arguments(self, device="cpu"):
        seed = self.batch + 7 * self.dim + 1009 * self.steps + 10007 * self.width
        x = values((self.batch, self.dim, self.steps), self.x_dtype, seed)
        x = arrange(x, self.layout, device)
        slots = self.batch + 3 if self.indices else self.batch
        dtype = self.state_dtype or self.x_dtype
        state = values((slots, self.dim, self.state_len), dtype, seed + 3)
        given = dict(
            x=x[..., 0] if self.length is None else x,
            conv_state=arrange(state, self.state_layout, device),
            weight=weights((self.dim, self.width), self.weight_dtype, seed + 1).to(device),
            activation=self.activation,
        )
        if self.bias:
            given["bias"] = weights((self.dim,), self.weight_dtype, seed + 2).to(device)
        generator = torch.Generator().manual_seed(seed)
        for name, index in self._indices(slots, generator).items():
            given[name] = index.to(self.index_dtype).to(device)
        return given

    def _indices(self, slots, generator):
        found = {}
        if self.indices:
            rows = torch.randperm(slots, generator=generator)[: self.batch]
            if self.indices == "padded":
                rows[::3] = -1
            found["conv_state_indices"] = rows
        if self.indices in ("forked", "shifted"):  # written elsewhere, but the first where it is
            found["conv_state_out_indices"] = rows.clone()
            rows[1:] = rows[:1] if self.indices == "forked" else rows[1:]
            rest = [row for row in range(slots) if row not in rows.tolist()]
            found["conv_state_out_indices"][1:] = torch.tensor(rest[: self.batch - 1])
            found["conv_state_out_indices"][0] = rows[0] if self.indices == "shifted" else rest[-1]
            found["conv_state_out_indices"][self.batch - 1] = -1
        if self.mode == "circular":
            found["cache_seqlens"] = torch.randint(0, 50, (self.batch,), generator=generator)
        if self.mode == "accepted":
            most = self.state_len - self.width + 2
            counts = torch.randint(0, most, (self.batch,), generator=generator)
            found["num_accepted_tokens"] = counts + 1
        return found


def _updates():
    states = ("contiguous", "channel_last", "sliced", "sliced_time")
    combinations = itertools.product(
        (None, 3),
        ("shift", "circular", "accepted"),
        (None, "rows", "padded"),
        (0, 1, 6),
        (False, True),
        (None, "silu"),
    )
    for i, (length, mode, indices, spare, bias, activation) in enumerate(combinations):
        for j, x_dtype in enumerate(DTYPES):
            yield UpdateCase(
                4,
                _cycle(i + j, (9, 16, 33)),
                length,
                _cycle(i // 4, (4, 3, 4, 2)),
                spare,
                x_dtype,
                _cycle(i + j, [d for d in DTYPES if _compatible(x_dtype, d)]),
                bias,
                activation,
                mode,
                indices,
                _cycle(i // 2 + j, MAIN_LAYOUTS),
                _cycle(i // 2 + j // 2, states),
                _cycle(i // 2, (torch.int32, torch.int64)),
            )
    for i, dim in enumerate(DIMS):
        yield UpdateCase(2, dim, None, 4, i % 2, _cycle(i, DTYPES))
        yield UpdateCase(2, dim, None, 4, 0, _cycle(i, DTYPES), state_layout="channel_last")
        yield UpdateCase(2, dim, 2, 3, 0, _cycle(i, DTYPES), mode="circular")
    for i, width in enumerate(WIDTHS):
        yield UpdateCase(2, 5, None, width, i % 2, _cycle(i, DTYPES))
        yield UpdateCase(2, 5, 4, width, 1, _cycle(i + 1, DTYPES), mode="circular")
        yield UpdateCase(2, 5, 4, width, 0, _cycle(i + 2, DTYPES), mode="accepted")
    for i, (length, mode) in enumerate(
        itertools.product((1, 2, 5, 8, 17, 33), ("shift", "circular"))
    ):
        yield UpdateCase(2, 17, length, 4, i % 3, _cycle(i, DTYPES), mode=mode)
    modes = ("shift", "circular", "accepted")
    for i, (x_dtype, state_dtype, mode) in enumerate(itertools.product(DTYPES, DTYPES, modes)):
        if x_dtype != state_dtype and torch.float64 not in (x_dtype, state_dtype):
            for j, length in enumerate((None, 5)):
                yield UpdateCase(
                    3,
                    _cycle(i, (9, 16, 33)),
                    length,
                    _cycle(i, (4, 2, 1, 9)),
                    _cycle(i + j, (0, 2, 7)),
                    x_dtype,
                    mode=mode,
                    indices=_cycle(i + j, ("padded", None)),
                    layout=_cycle(i, MAIN_LAYOUTS),
                    state_layout=_cycle(i // 2, states),
                    state_dtype=state_dtype,
                )
    ways = itertools.product(modes, ("forked", "shifted"), (None, 3))
    for i, (mode, indices, length) in enumerate(ways):
        for j, x_dtype in enumerate(DTYPES):
            yield UpdateCase(
                4,
                _cycle(i + j, (9, 16, 33)),
                length,
                _cycle(i + j, (4, 2, 1, 9)),
                _cycle(i, (0, 1, 6)),
                x_dtype,
                mode=mode,
                indices=indices,
                layout=_cycle(i + j, MAIN_LAYOUTS),
                state_layout=_cycle(i // 2, states),
                index_dtype=_cycle(j, (torch.int32, torch.int64)),
            )
    yield UpdateCase(0, 8, None, 4, 0)
    yield UpdateCase(1, 8, 0, 4, 0)
    yield UpdateCase(130, 3, None, 4, 0, BF16)


UPDATE = _unique(_updates())


@dataclass(frozen=True)
class VarlenCase:
    """One call of causal_conv1d_varlen_states."""

    total: int
    dim: int
    sequences: int
    state_len: int
    dtype: torch.dtype
    layout: str = "contiguous"
    index_dtype: torch.dtype = torch.int32
    initial: torch.dtype | None = None  # of the states before the sequences
    positions: int | None = None  # how many states are wanted
    pool: torch.dtype | None = None  # of the rows that they are written to, a few skipped

    @property
    def dtypes(self):
        return tuple(d for d in (self.dtype, self.initial, self.pool) if d is not None)

    @property
    def id(self):
        size = f"{self.total}x{self.dim}-n{self.sequences}-s{self.state_len}"
        return _label(
            size,
            NAMES[self.dtype],
            self.layout,
            SHORT[self.index_dtype],
            self.initial and f"initial_{NAMES[self.initial]}",
            self.positions is not None and f"m{self.positions}",
            self.pool and f"pool_{NAMES[self.pool]}",
        )

    def arguments(self, device="cpu"):
        seed = self.total + 31 * self.dim + 1009 * self.state_len
        rows = values((1, self.total, self.dim), self.dtype, seed)
        bounds = sequence_bounds(self.total, self.sequences, self.index_dtype, seed)
        chosen = dict(
            x=arrange(rows, self.layout, device)[0],
            cu_seqlens=bounds.to(device),
            state_len=self.state_len,
        )
        if self.initial:
            shape = (self.sequences, self.dim, self.state_len + 2)
            chosen["initial_states"] = arrange(
                values(shape, self.initial, seed + 1), self.layout, device
            )
        generator = torch.Generator().manual_seed(seed)
        count = self.sequences
        if self.positions is not None:  # boundaries, and what lies between
            count = self.positions
            between = torch.randint(0, self.total + 1, (count,), generator=generator)
            ends = torch.cat([bounds.long(), between])[:count]
            chosen["positions"] = ends.to(self.index_dtype).to(device)
        if self.pool:
            chosen["out"] = arrange(
                values((count + 3, self.dim, self.state_len), self.pool, seed + 3),
                self.layout,
                device,
            )
            order = torch.randperm(count + 3, generator=generator)[:count]
            order[1::4] = -1 - order[1::4]
            chosen["out_indices"] = order.to(self.index_dtype).to(device)
        return chosen


def _varlen():
    sizes = (
        (40, 9, 5, 4),
        (17, 16, 1, 3),
        (64, 33, 7, 8),
        (5, 3, 8, 4),
        (0, 4, 2, 3),
        (9, 0, 2, 3),
    )
    sizes += ((300, 130, 4, 64), (6, 2, 1, 0), (257, 1, 30, 5), (12, 8, 3, 20))
    for i, (size, dtype) in enumerate(itertools.product(sizes, DTYPES)):
        layout = _cycle(i + i // 4, ("contiguous", "channel_last", "sliced_time", ODD_OFFSET))
        yield VarlenCase(*size, dtype, layout, _cycle(i, (torch.int32, torch.int64)))
    for i, (size, dtype) in enumerate(itertools.product(sizes, DTYPES)):
        narrow = torch.float64 if dtype == torch.float64 else None
        yield VarlenCase(
            *size,
            dtype,
            _cycle(i + i // 4, ("contiguous", "channel_last", "sliced_time", ODD_OFFSET)),
            _cycle(i // 2, (torch.int32, torch.int64)),
            _cycle(i + i // 3, (None, narrow or dtype, narrow or torch.float32)),
            _cycle(i + i // 5, (None, 3, size[2] + 5)),
            _cycle(i + i // 7, (None, narrow or dtype, narrow or torch.bfloat16)),
        )


VARLEN = _unique(_varlen())
