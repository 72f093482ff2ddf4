#!/usr/bin/env python3
"""A representative subset of the operation table, to run under compute-sanitizer.

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck tests/cuda/sanitize.py

Every result is copied to the host, so that initcheck sees an element that no kernel has written.
Values are not checked here: the tests do that. Without the caching allocator each tensor is an
allocation of its own, so that memcheck sees one step outside it.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
import cases

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C

CASES_PER_LIST = 40

# Besides the spread: long rows, rows that start anywhere, the general path, wide kernels.
CONVOLUTIONS = [
    cases.ConvCase(2, 9, length, width, dtype, layout=layout, packing=packing, initial=True)
    for length, width, packing in ((2049, 4, None), (513, 3, "seq_idx"), (130, 17, None))
    for dtype, layout in (
        (cases.BF16, "contiguous"),
        (cases.F32, "odd_offset"),
        (cases.F16, "every_other_step"),
        (cases.BF16, "channel_last"),
    )
]


def spread(table, count):
    """Every n-th case, n odd, so that the steps of the table's nested loops do not line up."""
    step = max(len(table) // count, 1) | 1
    return table[::step]


def convolve(case):
    arguments = case.arguments("cuda")
    leaves = {
        name: tensor.detach().requires_grad_()
        for name, tensor in arguments.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    }
    y, final_states = ccmps.causal_conv1d_fn(**{**arguments, **leaves}, return_final_states=True)
    above = [torch.ones_like(y), torch.ones_like(final_states)]
    yield from (y, final_states)
    yield from torch.autograd.grad((y, final_states), list(leaves.values()), above)


def update(case):
    arguments = case.arguments("cuda")
    yield ccmps.causal_conv1d_update(**arguments)
    yield arguments["conv_state"]


def varlen_states(case):
    arguments = case.arguments("cuda")
    yield ccmps.causal_conv1d_varlen_states(**arguments)


def wild_indices():
    """Indices out of range, which only the kernels can keep inside the tensors."""
    wild = torch.tensor([-(2**31), -5, 5, 2**31 - 1], dtype=torch.int32, device="cuda")
    x, pool = torch.randn(4, 9, 3, device="cuda"), torch.randn(5, 9, 7, device="cuda")
    weight = torch.randn(9, 4, device="cuda")
    pooled, others = (
        ("conv_state_indices", "conv_state_out_indices"),
        ("cache_seqlens", "num_accepted_tokens"),
    )
    for name in (*pooled, *others):
        state = pool if name in pooled else pool[:4]
        yield ccmps.causal_conv1d_update(x, state, weight, **{name: wild})
        yield state
    packed = torch.randn(1, 9, 40, device="cuda")
    for bounds in ([0, 50, 20, 40], [-9, 10, 20, 10**6], [2**31 - 1, -(2**31), 7, 3]):
        cu_seqlens = torch.tensor(bounds, dtype=torch.int32, device="cuda")
        options = dict(cu_seqlens=cu_seqlens, return_final_states=True)
        yield from ccmps.causal_conv1d_fn(packed, weight, **options)
        yield ccmps.causal_conv1d_varlen_states(packed[0].T, cu_seqlens, 3)
        wanted = dict(positions=wild, out=pool[..., :3], out_indices=wild.flip(0))
        yield ccmps.causal_conv1d_varlen_states(packed[0].T, cu_seqlens, 3, **wanted)
        wanted = dict(positions=wild.long() * 2**9, initial_states=pool[:3])
        yield ccmps.causal_conv1d_varlen_states(packed[0].T, cu_seqlens, 3, **wanted)
        ragged = dict(cu_seqlens=cu_seqlens, max_seqlen=11)
        yield ccmps.causal_conv1d_update(packed[0].T, pool[:3], weight, **ragged)
    nodes = torch.zeros(4, 3, 9, 3, device="cuda")
    tree = dict(parents=wild[:, None].expand(4, 3), intermediate_states=nodes)
    yield ccmps.causal_conv1d_update(x, pool[:4], weight, **tree)
    yield nodes


def main():
    convolutions = CONVOLUTIONS + spread(cases.BACKWARD, CASES_PER_LIST)
    work = [(case.id, convolve(case)) for case in convolutions]
    work += [(case.id, update(case)) for case in spread(cases.UPDATE, CASES_PER_LIST)]
    work += [(case.id, varlen_states(case)) for case in spread(cases.VARLEN, CASES_PER_LIST // 2)]
    work.append(("wild indices", wild_indices()))
    results = 0
    for name, tensors in work:
        for tensor in tensors:
            tensor.detach().cpu()
            results += 1
        if not _C.last_kernel().startswith(("cuda/", "none")):
            sys.exit(f"{name}: ran {_C.last_kernel()!r}, not a CUDA kernel")
    print(f"{len(work)} cases, {results} results")


if __name__ == "__main__":
    main()
