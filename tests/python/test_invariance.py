"""The same bits: from call to call, and wherever the same numbers enter the same step.

The bits of y[b, :, t] depend only on the taps, the weights and the bias: every test here computes
some steps in two ways and compares them bit for bit. The same holds for dx and for the gradients of
the initial states.
"""

import contextlib
import itertools

import cases
import pytest
import torch
import torch.nn.functional as F
from backends import BACKENDS, CPU
from hypothesis import given
from hypothesis import strategies as st
from inputs import EXPANDED, LAYOUTS, ODD_OFFSET, arrange, same_bits, values, weights
from test_backward import gradients

import causal_conv1d_mps as ccmps

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
WIDTHS = st.sampled_from([1, 2, 3, 4, 5, 9])
LENGTHS = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 129, 257, 300]))
ACTIVATIONS = st.sampled_from([None, "silu"])
SIZES = dict(dtype=DTYPES, length=LENGTHS, width=WIDTHS, activation=ACTIVATIONS)
NOT_EXPANDED = (*LAYOUTS, ODD_OFFSET)


class Problem:
    """x, the parameters of the operation, and y by one plain call."""

    def __init__(self, backend, dtype, length, width, activation, batch=3, dim=9):
        self.device, self.width = backend.device, width
        self.x = values((batch, dim, length), dtype, length).to(self.device)
        self.dout = values((batch, dim, length), dtype, length + 1).to(self.device)
        self.weight = weights((dim, width), torch.float32, 1).to(self.device)
        self.bias = weights((dim,), torch.float32, 2).to(self.device)
        self.activation = activation
        self.parameters = dict(weight=self.weight, bias=self.bias, activation=activation)
        self.y = self(self.x)

    def __call__(self, x, **more):
        return ccmps.causal_conv1d_fn(x, **self.parameters, **more)

    def dx(self, x=None, dout=None, **more):
        x = (self.x if x is None else x).detach().requires_grad_()
        return torch.autograd.grad(self(x, **more), x, self.dout if dout is None else dout)[0]

    def update(self, x, state, **more):
        return ccmps.causal_conv1d_update(x, state, **self.parameters, **more)

    def empty_states(self, state_len=None):
        batch, dim, _ = self.x.shape
        return self.x.new_zeros(batch, dim, self.width - 1 if state_len is None else state_len)

    def pieces(self, cuts):
        edges = sorted({0, self.x.shape[2], *(cut % self.x.shape[2] for cut in cuts)})
        return list(itertools.pairwise(edges))


@contextlib.contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


EVERYTHING = [
    cases.ConvCase(2, 33, 300, 4, dtype, layout=layout, initial=True, final="returned")
    for dtype in cases.DTYPES
    for layout in ("contiguous", "channel_last")
]
EVERYTHING += [cases.replace(case, batch=1, packing="cu_seqlens") for case in EVERYTHING[::3]]
EVERYTHING += [cases.replace(case, packing="seq_idx", residual=True) for case in EVERYTHING[:8:3]]


def everything(case, device):
    """Every output and every gradient of one case."""
    arguments = case.arguments(device)
    found = gradients(case, device)[2]
    found["y"], found["final_states"] = ccmps.causal_conv1d_fn(
        **arguments, return_final_states=True
    )
    return found


@pytest.mark.cases(EVERYTHING)
def test_repeated_calls(backend, case):
    first = everything(case, backend.device)
    for _ in range(3):
        again = everything(case, backend.device)
        assert all(same_bits(first[name], again[name]) for name in first)


@pytest.mark.cases(EVERYTHING)
def test_threads(backend, case):
    """Gradients of weights too: the order of their sums is fixed by the shape."""
    with threads(1):
        one = everything(case, backend.device)
    for count in (2, 3, 4):
        with threads(count):
            many = everything(case, backend.device)
        assert all(same_bits(one[name], many[name]) for name in one), f"{count} threads"


@pytest.mark.parametrize("case", EVERYTHING, ids=lambda case: case.id)
def test_cpu_implementations(case):
    """Every instruction set gives the bits of the scalar kernels."""
    found = {}
    for backend in CPU:
        with backend.enter():
            found[backend.name] = everything(case, "cpu")
    scalar = found["cpu-scalar"]
    for implementation, got in found.items():
        different = [name for name in scalar if not same_bits(scalar[name], got[name])]
        assert not different, f"{implementation}: {different}"


@given(**SIZES)
def test_batch(backend, **sizes):
    problem = Problem(backend, **sizes)
    for b in range(3):
        row = slice(b, b + 1)
        assert same_bits(problem(problem.x[row]), problem.y[row])


@given(**SIZES, kept=st.integers(1, 300))
def test_length(backend, kept, **sizes):
    problem = Problem(backend, **sizes)
    assert same_bits(problem(problem.x[..., :kept]), problem.y[..., :kept])


@given(**SIZES, first=st.integers(0, 8), count=st.integers(1, 9))
def test_channels(backend, first, count, **sizes):
    problem = Problem(backend, **sizes)
    part = slice(first, first + count)
    weight, bias = problem.weight[part], problem.bias[part]
    y = ccmps.causal_conv1d_fn(problem.x[:, part], weight, bias, activation=problem.activation)
    assert same_bits(y, problem.y[:, part])


@given(**SIZES, layout=st.sampled_from(NOT_EXPANDED), out_layout=st.sampled_from(NOT_EXPANDED))
def test_layout(backend, layout, out_layout, **sizes):
    problem = Problem(backend, **sizes)
    out = arrange(torch.zeros_like(problem.x), out_layout, backend.device)
    assert same_bits(problem(arrange(problem.x, layout, backend.device), out=out), problem.y)


@given(**SIZES, layout=st.sampled_from(EXPANDED))
def test_stride_zero(backend, layout, **sizes):
    problem = Problem(backend, **sizes)
    x = arrange(problem.x, layout, backend.device)
    assert same_bits(problem(x), problem(x.contiguous()))


@given(**SIZES, offset=st.integers(0, 17))
def test_alignment(backend, offset, **sizes):
    problem = Problem(backend, **sizes)
    storage = problem.x.new_zeros(problem.x.numel() + 17)
    x = storage[offset : offset + problem.x.numel()].view_as(problem.x)
    x.copy_(problem.x)
    assert same_bits(problem(x), problem.y)
    assert same_bits(problem(x.mT.contiguous().mT), problem.y)


@given(**SIZES, cuts=st.lists(st.integers(1, 300), max_size=5))
def test_chunks_with_states(backend, cuts, **sizes):
    problem = Problem(backend, **sizes)
    states, chunks = None, []
    for begin, end in problem.pieces(cuts):
        more = dict(initial_states=states, return_final_states=True)
        y, states = problem(problem.x[..., begin:end], **more)
        chunks.append(y)
    assert same_bits(torch.cat(chunks, dim=-1), problem.y)
    assert same_bits(states, problem(problem.x, return_final_states=True)[1])


@given(**SIZES, spare=st.integers(0, 3))
def test_token_by_token(backend, spare, **sizes):
    problem = Problem(backend, **sizes)
    state = problem.empty_states(problem.width - 1 + spare)
    steps = [problem.update(token, state) for token in problem.x.unbind(-1)]
    assert same_bits(torch.stack(steps, dim=-1), problem.y)


@given(**SIZES, cuts=st.lists(st.integers(1, 300), max_size=5), spare=st.integers(1, 6))
def test_updates_of_several_tokens(backend, cuts, spare, **sizes):
    """Shifted and circular states, in any split."""
    problem = Problem(backend, **sizes)
    shifted, circular = (problem.empty_states(problem.width - 1 + spare) for _ in range(2))
    for begin, end in problem.pieces(cuts):
        x = problem.x[..., begin:end]
        assert same_bits(problem.update(x, shifted), problem.y[..., begin:end])
        where = torch.full((3,), begin, dtype=torch.int32, device=backend.device)
        y = problem.update(x, circular, cache_seqlens=where)
        assert same_bits(y, problem.y[..., begin:end])


@given(**SIZES, prompt=st.integers(1, 300))
def test_prefill_then_decode(backend, prompt, **sizes):
    problem = Problem(backend, **sizes)
    prompt = min(prompt, sizes["length"])
    y, states = problem(problem.x[..., :prompt], return_final_states=True)
    tokens = problem.x[..., prompt:].unbind(-1)
    steps = [problem.update(token, states).unsqueeze(-1) for token in tokens]
    assert same_bits(torch.cat([y, *steps], dim=-1), problem.y)


@given(**SIZES, cuts=st.lists(st.integers(1, 300), max_size=5))
def test_packing(backend, cuts, **sizes):
    """Sequences packed by cu_seqlens, packed by seq_idx, and each on its own."""
    problem = Problem(backend, **sizes)
    pieces = problem.pieces(cuts)
    ids = torch.arange(len(pieces)).repeat_interleave(torch.tensor([e - b for b, e in pieces]))
    seq_idx = ids.to(torch.int32).to(backend.device).unsqueeze(0)
    cu_seqlens = torch.tensor([0, *(e for _, e in pieces)], dtype=torch.int32).to(backend.device)
    x = problem.x[:1]
    alone = torch.cat([problem(x[..., begin:end]) for begin, end in pieces], dim=-1)
    assert same_bits(problem(x, cu_seqlens=cu_seqlens), alone)
    assert same_bits(problem(x, seq_idx=seq_idx), alone)


# The gradients of x and of the initial states.


@pytest.mark.parametrize("cpu", CPU, ids=str)
@given(**SIZES)
def test_dx_implementation(cpu, **sizes):
    with BACKENDS["cpu-scalar"].enter():
        problem = Problem(cpu, **sizes)
        dx = problem.dx()
    with cpu.enter():
        assert same_bits(problem.dx(), dx)


@given(**SIZES, layout=st.sampled_from(NOT_EXPANDED), other=st.sampled_from(NOT_EXPANDED))
def test_dx_batch_and_layout(backend, layout, other, **sizes):
    problem = Problem(backend, **sizes)
    dx = problem.dx()
    x, dout = arrange(problem.x, layout, backend.device), problem.dout
    assert same_bits(problem.dx(x, arrange(dout, other, backend.device)), dx)
    assert same_bits(problem.dx(problem.x[1:2], dout[1:2]), dx[1:2])


@given(**SIZES, offset=st.integers(0, 17))
def test_dx_alignment(backend, offset, **sizes):
    problem = Problem(backend, **sizes)
    storage = problem.x.new_zeros(problem.x.numel() + 17)
    x = storage[offset : offset + problem.x.numel()].view_as(problem.x)
    assert same_bits(problem.dx(x.copy_(problem.x)), problem.dx())


@given(**SIZES, kept=st.integers(1, 300))
def test_dx_length(backend, kept, **sizes):
    problem = Problem(backend, **sizes)
    dx = problem.dx(problem.x[..., :kept], problem.dout[..., :kept])
    reached = dx.shape[2] - (problem.width - 1)  # later steps reach back into the others
    same = slice(0, max(reached, 0) if kept < sizes["length"] else None)
    assert same_bits(dx[..., same], problem.dx()[..., same])


@given(**SIZES, begin=st.integers(0, 299))
def test_dx_position(backend, begin, **sizes):
    """The steps from `begin` on, with the ones before them as states or left out."""
    problem = Problem(backend, **sizes)
    begin, history = begin % sizes["length"], problem.width - 1
    states = F.pad(problem.x[..., :begin], (history, 0))[..., begin:]
    x, dout = problem.x[..., begin:], problem.dout[..., begin:]
    dx = problem.dx()
    assert same_bits(problem.dx(x, dout, initial_states=states), dx[..., begin:])
    alone = problem.dx(x, dout)  # where a step sees other taps, and dx another gradient
    assert same_bits(alone[..., history:], dx[..., begin + history :])


@given(**SIZES, cuts=st.lists(st.integers(1, 300), max_size=5))
def test_dx_packing(backend, cuts, **sizes):
    problem = Problem(backend, **sizes)
    pieces = problem.pieces(cuts)
    x, dout = problem.x[:1], problem.dout[:1]
    parts = [problem.dx(x[..., b:e], dout[..., b:e]) for b, e in pieces]
    cu_seqlens = torch.tensor([0, *(e for _, e in pieces)])
    ids = torch.arange(len(pieces)).repeat_interleave(cu_seqlens.diff()).unsqueeze(0)
    alone = torch.cat(parts, dim=-1)
    assert same_bits(problem.dx(x, dout, cu_seqlens=cu_seqlens.to(backend.device)), alone)
    assert same_bits(problem.dx(x, dout, seq_idx=ids.to(backend.device)), alone)


@given(
    **SIZES, layout=st.sampled_from(NOT_EXPANDED), cuts=st.lists(st.integers(1, 300), max_size=4)
)
def test_state_gradients(backend, layout, cuts, **sizes):
    """Of a batch, a row, another layout, and packed sequences."""
    problem = Problem(backend, **sizes)
    pieces = problem.pieces(cuts)
    x, dout = problem.x[:1], problem.dout[:1]
    given = values((len(pieces), 9, problem.width - 1), sizes["dtype"], 3).to(backend.device)
    last = values(given.shape, sizes["dtype"], 4).to(backend.device)

    def gradient(x, dout, states, last, **more):
        states = states.detach().requires_grad_()
        y = problem(x, initial_states=states, return_final_states=True, **more)
        return torch.autograd.grad(y, states, (dout, last))[0]

    cells = [slice(i, i + 1) for i in range(len(pieces))]
    alone = [
        gradient(x[..., b:e], dout[..., b:e], given[cell], last[cell])
        for (b, e), cell in zip(pieces, cells)
    ]
    cu_seqlens = torch.tensor([0, *(e for _, e in pieces)]).to(backend.device)
    packed = gradient(x, dout, given, last, cu_seqlens=cu_seqlens)
    assert same_bits(packed, torch.cat(alone))
    begin, end = pieces[0]
    x, dout = problem.x[..., begin:end], problem.dout[..., begin:end]
    states, last = (torch.cat([t[:1]] * 3) for t in (given, last))
    batch = gradient(x, dout, states, last)
    assert same_bits(batch[:1], alone[0])
    arranged = [arrange(t, layout, backend.device) for t in (x, dout)]
    assert same_bits(gradient(*arranged, states, last), batch)
