"""One integer makes one call: sizes, dtypes, layouts, contents, and the route that it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from exact import widen

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
LAYOUTS = {"plain": 30, "permuted": 25, "sliced": 20, "stepped": 10, "expanded": 8, "odd": 7}
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
OPERATIONS = {"forward": 40, "backward": 30, "update": 13, "varlen": 4, "chunks": 7, "steps": 6}
ROUTES = {
    "forward": (
        "function",
        "operator",
        "no_grad",
        "inference",
        "recorded",
        "out",
        "module",
        "dropin",
    ),
    "backward": ("autograd", "grad", "operator", "module", "dropin", "vjp"),
    "update": ("function", "operator", "module", "dropin"),
    "varlen": ("function", "operator", "dropin"),
    "chunks": ("function",),
    "steps": ("function",),
}


@dataclass
class Call:
    """The arguments of one call; what an operation does not take is None."""

    operation: str = ""
    route: str = ""
    activation: str | None = None
    threads: int = 1
    implementation: str | None = None
    flush: bool = False
    x: torch.Tensor = None
    weight: torch.Tensor = None
    bias: torch.Tensor | None = None
    seq_idx: torch.Tensor | None = None
    cu_seqlens: torch.Tensor | None = None
    initial_states: torch.Tensor | None = None
    residual: torch.Tensor | None = None
    out: torch.Tensor | None = None
    dout: torch.Tensor | None = None
    dfinal_states: torch.Tensor | None = None
    conv_state: torch.Tensor | None = None
    cache_seqlens: torch.Tensor | None = None
    conv_state_indices: torch.Tensor | None = None
    num_accepted_tokens: torch.Tensor | None = None
    conv_state_out_indices: torch.Tensor | None = None
    pad_slot_id: int = -1
    state_len: int = 0
    final: bool = False
    cuts: list = field(default_factory=list)

    def tensors(self):
        return {k: v for k, v in vars(self).items() if isinstance(v, torch.Tensor)}

    def wide(self):
        """x, weight, bias and states in the type that computes."""
        dtype = self.x.dtype
        return [widen(t, dtype) for t in (self.x, self.weight, self.bias, self.initial_states)]

    def to(self, device):
        for name, tensor in self.tensors().items():
            moved = torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device
            )
            setattr(
                self, name, moved.copy_(tensor) if 0 not in tensor.stride() else tensor.to(device)
            )

    def describe(self):
        parts = [f"{self.operation}/{self.route}", f"activation={self.activation}"]
        parts += [f"threads={self.threads}", f"{self.implementation or 'best'}"]
        if self.flush:
            parts.append("flushing")
        for name, tensor in self.tensors().items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            parts.append(f"{name}={dtype}{tuple(tensor.shape)} by {tuple(tensor.stride())}")
        return ", ".join(parts)


class Maker:
    def __init__(self, seed):
        self.rng = np.random.default_rng([20261127, seed])
        self.contents = self.pick({"plain": 50, "binades": 20, "special": 20, "bits": 10})

    def pick(self, weights):
        names = list(weights)
        odds = np.array([weights[n] for n in names], float)
        return names[self.rng.choice(len(names), p=odds / odds.sum())]

    def one_in(self, n):
        return bool(self.rng.integers(n) == 0)

    def below(self, n):
        return int(self.rng.integers(n))

    def any_of(self, values):
        return values[self.below(len(values))]

    # --- contents ----------------------------------------------------------------------------

    def values(self, shape, dtype):
        count = int(np.prod(shape))
        normal = self.rng.standard_normal(count)
        if self.contents == "bits" and self.one_in(2):
            integer = INTEGERS[dtype.itemsize]
            raw = self.rng.integers(0, 256, (count, dtype.itemsize), dtype=np.uint8)
            return torch.from_numpy(raw.reshape(-1)).view(integer).view(dtype).reshape(shape)
        if self.contents == "binades":
            normal *= 2.0 ** self.rng.integers(-12, 9, count)
        values = torch.from_numpy(normal).to(dtype)
        if self.contents == "special":
            info = torch.finfo(dtype)
            chosen = (
                np.inf,
                -np.inf,
                np.nan,
                -0.0,
                0.0,
                info.tiny,
                info.tiny / 4,
                -info.tiny / 3,
                info.max,
                -info.max / 2,
                88.5,
                -88.5,
                104.0,
                -104.0,
                16.2,
            )
            at = self.rng.random(count) < 1 / (2 + self.below(60))
            some = torch.tensor([self.any_of(chosen) for _ in range(int(at.sum()))], dtype=dtype)
            values[torch.from_numpy(at)] = some
        return values.reshape(shape)

    def tensor(self, shape, dtype, expand=True):
        """Values in a random layout, NaN around them."""
        style = self.pick(
            {"plain": 30, "permuted": 25, "sliced": 20, "stepped": 10, "expanded": 8, "odd": 7}
        )
        rank = len(shape)
        if style == "expanded" and expand and rank and min(shape) > 0:
            axis = self.below(rank)
            small = [1 if i == axis else n for i, n in enumerate(shape)]
            return self.values(small, dtype).expand(shape)
        return self.place(self.values(shape, dtype), style)

    def place(self, values, style=None):
        style = style or self.pick({"plain": 1, "permuted": 1, "sliced": 1})
        rank, shape = values.ndim, values.shape
        order = [int(i) for i in self.rng.permutation(rank)]
        if style in ("plain", "odd"):
            order = list(range(rank))
        if rank == 3 and style != "plain" and self.one_in(2):
            order = [0, 2, 1]  # channel-last
        pad = [self.below(3) if style == "sliced" else 0 for _ in range(rank)]
        step = [1 + (style == "stepped") * self.below(3) for _ in range(rank)]
        outer = [n * s + 2 * p for n, s, p in zip(shape, step, pad)]
        around = float("nan") if values.is_floating_point() else -7
        whole = torch.full((int(np.prod(outer)) + (style == "odd"),), around, dtype=values.dtype)
        view = whole[style == "odd" :].view([outer[i] for i in order])
        view = view.permute([order.index(i) for i in range(rank)])
        view = view[tuple(slice(p, p + n * s, s) for n, s, p in zip(shape, step, pad))]
        return view.copy_(values)

    def index(self, values, shape=None):
        dtype = self.any_of((torch.int32, torch.int64))
        values = torch.tensor(np.asarray(values, np.int64)).to(dtype)
        return self.place(values if shape is None else values.reshape(shape))

    # --- arguments ---------------------------------------------------------------------------

    def sizes(self):
        width = self.any_of((1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 6, 7, 8, 9))
        if self.one_in(25):
            width = self.any_of((16, 64, 257))
        batch, dim, length = 1 + self.below(3), 1 + self.below(24), self.below(40)
        kind = self.below(40)
        if kind == 0:
            batch, dim, length = 1, 1 + self.below(3), 1000 + self.below(1400)
        elif kind == 1:
            batch, dim, length = 1, 300 + self.below(400), 1 + self.below(6)
        elif kind == 2:
            batch, dim, length = 2, 17 + self.below(16), 520 + self.below(200)
        elif kind == 3:
            batch, dim, length = [(0, dim, length), (batch, 0, length), (batch, dim, 0)][
                self.below(3)
            ]
        elif kind == 4:
            batch = 20 + self.below(30)
        if width > 60:
            batch, dim = 1, min(dim, 4)
        return batch, dim, length, width

    def parameter(self, dtype):
        if self.one_in(2):
            return dtype
        return self.any_of(FLOATS if dtype == torch.float64 else FLOATS[:3])

    def segments(self, batch, length):
        rows = []
        for _ in range(batch):
            row = []
            while len(row) < length:
                row += [self.below(5) - 1] * (1 + self.below(7))
            row = row[:length]
            if self.one_in(3) and length:  # right-padded, or all padding
                row[self.below(length) :] = [-1 - self.below(2)] * (length - self.below(length))
                row = row[:length] + [-1] * (length - len(row))
            rows.append(row[:length])
        return self.index(rows, (batch, length))

    def bounds(self, length, sequences):
        cuts = sorted(self.below(length + 1) for _ in range(sequences - 1))
        if len(cuts) > 1 and self.one_in(2):
            cuts[1] = cuts[0]
        return self.index([0, *cuts, length])

    def call(self):
        call = Call(operation=self.pick(OPERATIONS))
        call.route = self.any_of(ROUTES[call.operation])
        call.activation = self.any_of((None, None, "silu", "swish"))
        call.threads = 1 + self.below(4)
        call.flush = self.one_in(12)
        dtype = self.any_of((*FLOATS[:3], *FLOATS[:3], FLOATS[3]))
        batch, dim, length, width = self.sizes()
        if dim == 0 and call.route == "module":
            call.route = "function" if call.operation != "backward" else "grad"
        if call.operation == "varlen":
            self.varlen(call, dtype, dim, length)
            return call
        call.weight = self.tensor((dim, width), self.parameter(dtype))
        if self.one_in(2):
            call.bias = self.tensor((dim,), self.parameter(dtype))
        if call.operation in ("update", "steps"):
            getattr(self, call.operation)(call, dtype, batch, dim, length, width)
        else:
            self.convolution(call, dtype, batch, dim, length, width)
        return call

    def convolution(self, call, dtype, batch, dim, length, width):
        packing = self.any_of((None, "seq_idx", "cu_seqlens"))
        if call.operation == "chunks" or (call.route == "dropin" and packing == "cu_seqlens"):
            packing = None
        sequences = batch
        if packing == "cu_seqlens":
            batch, sequences = 1, 1 + self.below(6)
            call.cu_seqlens = self.bounds(length, sequences)
        elif packing == "seq_idx":
            call.seq_idx = self.segments(batch, length)
        call.x = self.tensor((batch, dim, length), dtype)
        if self.one_in(2):
            call.initial_states = self.tensor((sequences, dim, width - 1), dtype)
        call.final = bool(self.one_in(2))
        if self.one_in(3) and call.route != "dropin":
            call.residual = self.tensor((batch, dim, length), dtype)
        if call.route == "out":
            call.out = self.tensor((batch, dim, length), dtype, expand=False)
        if call.operation == "backward":
            call.dout = self.tensor((batch, dim, length), dtype)
            if call.final:
                call.dfinal_states = self.tensor((sequences, dim, width - 1), dtype)
        if call.operation == "chunks":
            call.cuts = sorted(self.below(length + 1) for _ in range(1 + self.below(3)))

    def steps(self, call, dtype, batch, dim, length, width):
        length = min(length, 12)
        call.x = self.tensor((batch, dim, length), dtype)
        call.state_len = width - 1 + self.below(3)
        call.cuts = [t for t in range(1, length) if not self.one_in(3)]

    def update(self, call, dtype, batch, dim, length, width):
        length = self.any_of((1, 1, 1, 2, 3, 5))
        one = length == 1 and self.one_in(2)
        state_len, pool = width - 1 + self.below(4), batch
        if self.one_in(2):
            pool = batch + self.below(4)
            rows = self.rng.permutation(pool)[:batch]
            call.pad_slot_id = -1 if self.one_in(2) or call.route == "dropin" else self.below(5)
            pads = [self.any_of((-1, -3, call.pad_slot_id)) if self.one_in(5) else r for r in rows]
            call.conv_state_indices = self.index(pads)
            if call.route != "dropin" and self.one_in(3):  # into rows behind those that are read
                written = self.rng.permutation(batch)
                pads = [-1 if self.one_in(5) else pool + row for row in written]
                call.conv_state_out_indices, pool = self.index(pads), pool + batch
        kind = self.any_of((None, "cache", "accepted"))
        if call.route == "dropin" and kind == "accepted":
            kind = None
        if kind == "cache":
            call.cache_seqlens = self.index([self.below(3 * state_len + 4) for _ in range(batch)])
        elif kind == "accepted":
            state_len += length - 1
            most = state_len - width + 2
            call.num_accepted_tokens = self.index([1 + self.below(most) for _ in range(batch)])
        call.x = self.tensor((batch, dim) if one else (batch, dim, length), dtype)
        if dtype != torch.float64 and self.one_in(4):
            dtype = self.any_of((torch.float32, torch.float16, torch.bfloat16))
        call.conv_state = self.tensor((pool, dim, state_len), dtype, expand=False)

    def varlen(self, call, dtype, dim, length):
        call.x = self.tensor((length, dim), dtype)
        call.cu_seqlens = self.bounds(length, 1 + self.below(6))
        call.state_len = 1 + self.below(8) if call.route == "dropin" else self.below(8)
