"""Cases of causal_conv1d_fn from and into a pool of states."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from cases import DTYPES, F32, MAIN_LAYOUTS, NAMES, SHORT, _compatible, _cycle, _label, _unique
from inputs import arrange, sequence_bounds, values, weights

SEQUENCES = 4


@dataclass(frozen=True)
class PrefillCase:
    """One call of causal_conv1d_fn with conv_states."""

    dim: int
    length: int
    width: int
    spare: int  # columns of the pool beyond W-1
    x_dtype: torch.dtype = F32
    state_dtype: torch.dtype = F32
    weight_dtype: torch.dtype = F32
    packing: str | None = "cu_seqlens"  # None, "cu_seqlens", "capacity" or "lengths"
    indices: str | None = "rows"  # None, "rows", "padded" or "forked"
    flags: str | None = "mixed"  # None, "mixed" or "all"
    bias: bool = True
    residual: bool = False
    activation: str | None = "silu"
    layout: str = "contiguous"
    state_layout: str = "contiguous"
    index_dtype: torch.dtype = torch.int32

    @property
    def dtypes(self):
        return (self.x_dtype, self.state_dtype, self.weight_dtype)

    @property
    def packed(self):
        return self.packing in ("cu_seqlens", "capacity")

    @property
    def id(self):
        return _label(
            f"{self.dim}x{self.length}-w{self.width}-spare{self.spare}",
            "_".join(NAMES[dtype] for dtype in self.dtypes),
            self.packing,
            self.indices and f"{self.indices}_{SHORT[self.index_dtype]}",
            self.flags,
            self.bias and "bias",
            self.residual and "residual",
            self.activation,
            f"{self.layout}_{self.state_layout}",
        )

    def arguments(self, device="cpu"):
        seed = 7 * self.dim + 1009 * self.length + 10007 * self.width + self.spare
        shape = (1 if self.packed else SEQUENCES, self.dim, self.length)
        rows = SEQUENCES if self.indices is None else 2 * SEQUENCES + 1
        pool = values((rows, self.dim, self.width - 1 + self.spare), self.state_dtype, seed + 3)
        given = dict(
            x=arrange(values(shape, self.x_dtype, seed), self.layout, device),
            weight=weights((self.dim, self.width), self.weight_dtype, seed + 1).to(device),
            conv_states=arrange(pool, self.state_layout, device),
            activation=self.activation,
        )
        if self.bias:
            given["bias"] = weights((self.dim,), self.weight_dtype, seed + 2).to(device)
        if self.residual:
            given["residual"] = arrange(values(shape, self.x_dtype, seed + 4), self.layout, device)
        generator = torch.Generator().manual_seed(seed)
        for name, index in self._indices(rows, generator, seed).items():
            given[name] = index.to(self.index_dtype).to(device)
        if self.flags:
            flags = torch.tensor([True, self.flags == "all", True, self.flags == "all"])
            given["has_initial_state"] = flags.to(device)
        return given

    def _indices(self, rows, generator, seed):
        found = {}
        if self.packing == "lengths":
            found["lengths"] = torch.randint(0, self.length + 1, (SEQUENCES,), generator=generator)
        if self.packed:
            end = self.length if self.packing == "cu_seqlens" else self.length * 2 // 3
            found["cu_seqlens"] = sequence_bounds(end, SEQUENCES, torch.int64, seed)
        if self.indices:
            order = torch.randperm(rows, generator=generator)
            found["conv_state_indices"] = order[:SEQUENCES].clone()
        if self.indices == "padded":
            found["conv_state_indices"][1] = -1
        if self.indices == "forked":  # two of one row; the last written where it is
            found["conv_state_out_indices"] = order[SEQUENCES : 2 * SEQUENCES].clone()
            found["conv_state_indices"][1] = found["conv_state_indices"][0]
            found["conv_state_out_indices"][3] = found["conv_state_indices"][3]
            found["conv_state_out_indices"][2] = -1
        return found


def _prefills():
    sizes = ((9, 40, 4, 3), (16, 23, 3, 0), (33, 70, 2, 6), (5, 17, 5, 1), (18, 9, 9, 4))
    ways = itertools.product(
        (None, "cu_seqlens", "capacity", "lengths"),
        (None, "rows", "padded", "forked"),
        (None, "mixed", "all"),
    )
    states = ("contiguous", "channel_last", "sliced", "sliced_time")
    for i, (packing, indices, flags) in enumerate(ways):
        for j in range(2):
            x_dtype = _cycle(i + 2 * j + i // 4, DTYPES)
            alike = [d for d in DTYPES if (d == torch.float64) == (x_dtype == torch.float64)]
            yield PrefillCase(
                *_cycle(i + j, sizes),
                x_dtype,
                _cycle(i + i // 3 + j, alike),
                _cycle(i + j, [d for d in DTYPES if _compatible(x_dtype, d)]),
                packing,
                indices,
                flags,
                bool((i + j) % 2),
                bool((i // 2 + j) % 2),
                _cycle(i // 3 + j, (None, "silu")),
                _cycle(i + i // 4 + j, MAIN_LAYOUTS),
                _cycle(i // 2 + j, states),
                _cycle(i // 2, (torch.int32, torch.int64)),
            )
    for i, (length, packing) in enumerate(
        itertools.product((0, 1, 2, 1100), (None, "cu_seqlens", "lengths"))
    ):
        for j, layout in enumerate(MAIN_LAYOUTS):
            yield PrefillCase(
                3, length, 4, _cycle(i + j, (0, 2, 30)), packing=packing, layout=layout
            )
    for i, (dim, width) in enumerate(itertools.product((1, 17, 130), (1, 2, 4, 64, 257))):
        dtype = _cycle(i, DTYPES)
        yield PrefillCase(
            dim, 30, width, i % 3, dtype, dtype, layout=_cycle(i, MAIN_LAYOUTS), indices="padded"
        )
    yield PrefillCase(0, 5, 4, 1)


PREFILL = _unique(_prefills())
