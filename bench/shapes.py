"""The one list of shapes that every benchmark of this project times."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from . import block, serving

OPS = ("forward", "backward", "update", *serving.OPS, *block.OPS)
DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp64": torch.float64,
}
LAYOUTS = ("BDT", "BTD")

# (B, D, T), W = 4, bias + SiLU unless said.
GPU = [
    (8, 4096, 2048),
    (1, 8192, 4096),
    (4, 4128, 4096),
    (2, 2048, 16384),
    (1, 1536, 131072),
    (16, 768, 1024),
    (1, 512, 1024),
]
SMALL = [(1, 64, 128), (2, 128, 256), (4, 256, 512), (1, 512, 1024), (8, 64, 128)]
_SHAPE = re.compile(r"\{(\d+), (\d+), (\d+)\}")
CPU = [
    tuple(map(int, sizes))
    for sizes in _SHAPE.findall(Path(__file__).with_name("cpu_shapes.inc").read_text())
]
DECODE = [(1, 4096), (1, 8192), (64, 8192), (256, 8192), (1024, 8192)]
DECODE_STATES = (3, 4)  # W-1 steps, and the W that transformers keeps
# Requests, D, and their packed tokens (2^25 elements) or the most tokens of each.
SERVING = {
    "prefill": [(8, 4096, 8192), (64, 8192, 4096), (4, 8192, 512)],
    "ragged": [(8, 8192, 4), (64, 8192, 4), (256, 8192, 4)],
}
# Convolutions of published models: (D, W, bias, activation).
MODELS = [
    (1024, 3, False, None),
    (2048, 3, False, None),
    (6144, 4, True, "silu"),
    (1536, 4, True, "silu"),
    (2560, 4, True, "silu"),
    (8192, 4, True, "silu"),
    (10240, 4, True, "silu"),
]
MODEL_SEQLEN = 2048
LFM2 = [(1, 1024, 1024), (4, 1024, 2048), (4, 2048, 2048)]  # W = 3, in the weights' dtype


@dataclass(frozen=True)
class Case:
    """One thing to time. `op` is one of OPS (update: T is 1; of serving: serving.py)."""

    group: str
    op: str
    B: int
    D: int
    T: int
    W: int = 4
    dtype: str = "bf16"
    layout: str = "BDT"
    bias: bool = True
    activation: str | None = "silu"
    threads: int = 0
    # Weights in float32, as mixed-precision training keeps them; False: in x's dtype.
    float32_weights: bool = True
    S: int = 3  # steps of a state

    @property
    def shape(self):
        if self.op == "update":
            return f"({self.B}, {self.D}), S = {self.S}"
        if self.op in serving.OPS:
            return f"{self.B} requests, ({self.T}, {self.D})"
        return f"({self.B}, {self.D}, {self.T})"

    @property
    def copy_elements(self):
        """Elements of a copy that moves as many bytes as this operation has to."""
        if self.op == "update":
            return self.B * self.D * (self.S + 1)  # x and the S states in; y and the states out
        if self.op in serving.OPS:
            return serving.copy_elements(self)
        if self.op in block.OPS:
            return block.copy_elements(self)
        tensors = 3 if self.op == "backward" else 2
        return self.B * self.D * self.T * tensors // 2


GROUPS = ("gpu", "small", "cpu", "decode", "serving", "models", "lfm2")


def cases(group, *, ops, dtypes, layouts, threads):
    """Every case of one group. What a group fixes by itself (decode: the operation) stays fixed."""
    if group == "decode":
        base = [Case(group, "update", B, D, 1, S=S) for S in DECODE_STATES for B, D in DECODE]
        ops, layouts = [op for op in ops if op == "update"], ["BDT"]
    elif group == "serving":
        base = [
            Case(group, op, B, D, T)
            for op, shapes in SERVING.items()
            if op in ops
            for B, D, T in shapes
        ]
        return [
            replace(case, dtype=dtype, layout="BTD", threads=count)
            for count in threads
            for dtype in dtypes
            for case in base
        ]
    elif group == "lfm2":
        base = [
            Case(group, op, B, D, T, 3, dtype, "BTD", False, None, float32_weights=False)
            for dtype in dtypes
            for op in block.OPS
            if op in ops
            for B, D, T in LFM2
        ]
        return [replace(case, threads=count) for count in threads for case in base]
    elif group == "models":
        base = [
            Case(group, "forward", 1, D, MODEL_SEQLEN, W, bias=bias, activation=activation)
            for D, W, bias, activation in MODELS
        ]
    else:
        table = {"gpu": GPU, "small": SMALL, "cpu": CPU}[group]
        base = [Case(group, "forward", B, D, T) for B, D, T in table]
    if group != "decode":
        ops = [op for op in ops if op in ("forward", "backward")]
    return [
        replace(case, op=op, dtype=dtype, layout=layout, threads=count)
        for count in threads
        for dtype in dtypes
        for layout in layouts
        for op in ops
        for case in base
    ]
