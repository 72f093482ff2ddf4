"""Shapes, strides, dtypes and arguments that nobody thought of, against the reference."""

import cases
import oracle
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import segment_ids, sequence_bounds, values, weights
from test_backward import gradients

import causal_conv1d_mps as ccmps

LAYOUT_NAMES = (*cases.LAYOUTS, cases.ODD_OFFSET, *cases.EXPANDED)


def dtypes_of(backend):
    return st.sampled_from(backend.dtypes)


@st.composite
def conv_cases(draw, backend):
    x_dtype = draw(dtypes_of(backend))
    parameters = [d for d in backend.dtypes if d != torch.float64 or x_dtype == torch.float64]
    packing = draw(st.sampled_from([None, "seq_idx", "cu_seqlens"]))
    return cases.ConvCase(
        batch=1 if packing == "cu_seqlens" else draw(st.integers(0, 5)),
        dim=draw(st.integers(0, 40)),
        length=draw(st.integers(1 if packing == "seq_idx" else 0, 90)),
        width=draw(st.integers(1, 12)),
        x_dtype=x_dtype,
        weight_dtype=draw(st.sampled_from(parameters)),
        bias_dtype=draw(st.sampled_from([None, *parameters])),
        layout=draw(st.sampled_from(LAYOUT_NAMES)),
        activation=draw(st.sampled_from([None, "silu", "swish"])),
        packing=packing,
        initial=draw(st.booleans()),
        final=draw(st.sampled_from([None, "returned"])),
        residual=draw(st.booleans()),
        index_dtype=draw(st.sampled_from([torch.int32, torch.int64])),
    )


@settings(max_examples=150)
@given(data=st.data())
def test_forward_and_backward(backend, data):
    case = data.draw(conv_cases(backend))
    arguments, above, found = gradients(case, backend.device)
    want = oracle.forward(**arguments)
    y, final_states = ccmps.causal_conv1d_fn(**arguments, return_final_states=True)
    oracle.check(y, want.y, "y")
    oracle.check(final_states, want.final_states, "final_states")
    dfinal_states = above[1] if len(above) == 2 else None
    want = oracle.backward(above[0], **arguments, dfinal_states=dfinal_states)
    for name, gradient in found.items():
        oracle.check(gradient, getattr(want, name), f"gradient of {name}")


@st.composite
def views(draw, shape, dtype, seed, device):
    """A tensor with the shape and any strides that slicing and permuting can give."""
    order = draw(st.permutations(range(3)))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 3))
    step = draw(st.tuples(*[st.integers(1, 3)] * 3))
    offset = draw(st.integers(0, 9))
    sizes = [max(n * s, 1) + p for n, s, p in zip(shape, step, padding)]
    count = sizes[0] * sizes[1] * sizes[2]
    storage = values((offset + count,), dtype, seed).to(device)[offset:]
    view = storage.view([sizes[i] for i in order]).permute([order.index(i) for i in range(3)])
    return view[tuple(slice(p, p + n * s, s) for n, s, p in zip(shape, step, padding))]


@settings(max_examples=100)
@given(data=st.data())
def test_any_strides(backend, data):
    """Also of the weights, the states and the index tensors."""
    dtype = data.draw(dtypes_of(backend))
    batch, dim, length, width = (data.draw(st.integers(1, n)) for n in (4, 20, 70, 6))

    def view(shape, seed):
        return data.draw(views(shape, dtype, seed, backend.device))

    x = view((batch, dim, length), 1)
    weight = view((1, dim, width), 2)[0]
    bias = view((1, 1, dim), 3)[0, 0]
    states = view((batch, dim, width - 1), 4)
    ids = segment_ids(batch, 2 * length, torch.int64, 5)[:, ::2].to(backend.device)
    given = dict(seq_idx=ids, initial_states=states, activation="silu")
    want = oracle.forward(x, weight, bias, **given)
    y, final_states = ccmps.causal_conv1d_fn(x, weight, bias, **given, return_final_states=True)
    oracle.check(y, want.y, "y")
    oracle.check(final_states, want.final_states, "final_states")

    state = view((batch, dim, width - 1 + data.draw(st.integers(0, 4))), 6)
    want = oracle.update(x, state, weight, bias, "silu")
    y = ccmps.causal_conv1d_update(x, state, weight, bias, "silu")
    oracle.check(y, want.y, "y")
    oracle.check_exact(state, want.conv_state, "conv_state")


@settings(max_examples=50)
@given(data=st.data())
def test_varlen_states(backend, data):
    total, dim, sequences, state_len = (data.draw(st.integers(0, n)) for n in (60, 20, 8, 20))
    dtype = data.draw(dtypes_of(backend))
    x = data.draw(views((1, total, dim), dtype, 1, backend.device))[0]
    bounds = sequence_bounds(total, sequences, torch.int64, 2).to(backend.device)
    states = ccmps.causal_conv1d_varlen_states(x, bounds, state_len)
    oracle.check_exact(states, oracle.varlen_states(x, bounds, state_len), "states")


@given(data=st.data())
def test_parameters_of_any_dtype(backend, data):
    """float64 parameters go with float64 x only; everything else mixes."""
    x_dtype = data.draw(dtypes_of(backend))
    parameters = [d for d in backend.dtypes if d != torch.float64 or x_dtype == torch.float64]
    weight = weights((9, 4), data.draw(st.sampled_from(parameters)), 1).to(backend.device)
    bias = weights((9,), data.draw(st.sampled_from(parameters)), 2).to(backend.device)
    x = values((2, 9, 33), x_dtype, 3).to(backend.device)
    y = ccmps.causal_conv1d(x, weight, bias)
    assert y.dtype == x_dtype
    oracle.check(y, oracle.forward(x, weight, bias).y, "y")
