"""A wrong argument: the exception, a message that names the argument, what was expected and what
came, and nothing written anywhere."""

import re

import pytest
import torch
from inputs import same_bits

import causal_conv1d_mps as ccmps

F32, F16, F64, I32 = torch.float32, torch.float16, torch.float64, torch.int32
B, D, T, W = 2, 6, 10, 4


def zeros(*shape, dtype=F32):
    return torch.zeros(shape, dtype=dtype)


def sevens(*shape, dtype=F32):
    """Memory that must still hold sevens after the refusal."""
    return torch.full(shape, 7.0, dtype=dtype)


def ints(*values):
    return torch.tensor(values, dtype=I32)


def forward(**changes):
    arguments = dict(
        x=torch.ones(B, D, T),
        weight=zeros(D, W),
        bias=zeros(D),
        out=sevens(B, D, T),
        final_states_out=sevens(B, D, W - 1),
        return_final_states=True,
    )
    return ccmps.causal_conv1d_fn, arguments | changes


def packed(*bounds, **changes):
    states = sevens(max(len(bounds) - 1, 0), D, W - 1)
    arguments = dict(x=torch.ones(1, D, T), out=sevens(1, D, T), final_states_out=states)
    return forward(**arguments | dict(cu_seqlens=ints(*bounds)) | changes)


def update(**changes):
    arguments = dict(
        x=torch.ones(B, D), conv_state=sevens(B, D, W - 1), weight=zeros(D, W), bias=zeros(D)
    )
    return ccmps.causal_conv1d_update, arguments | changes


def pooled(*indices, **changes):
    x, pool = torch.ones(len(indices), D), sevens(5, D, W - 1)
    return update(x=x, conv_state=pool, conv_state_indices=ints(*indices), **changes)


def accepted(*counts, state_len=W + 1):
    state = sevens(B, D, state_len)
    counts = ints(*counts)
    return update(x=torch.ones(B, D, 3), conv_state=state, num_accepted_tokens=counts)


def varlen(**changes):
    arguments = dict(x=torch.ones(T, D), cu_seqlens=ints(0, 4, T), state_len=3)
    return ccmps.causal_conv1d_varlen_states, arguments | changes


def inside_x(shift):
    """out= overlapping x by all but `shift` steps."""
    storage = sevens(B, D, T + shift)
    return forward(x=storage[..., :T], out=storage[..., shift:])


def update_beside_x(shift):
    """out= overlapping x by all but `shift` channels."""
    storage = sevens(B, D + shift)
    return update(x=storage[:, :D], out=storage[:, shift:])


def in_place_beside(dtype):
    x = sevens(B, D, 2)
    return update(x=x, out=x, conv_state=sevens(B, D, 3, dtype=dtype))


def update_over(name):
    function, arguments = update()
    return function, arguments | dict(out=arguments[name].flatten()[: B * D].view(B, D))


def row(call, exception, argument, expected, got):
    return call, exception, f"^{argument}: .*{expected}.*{got}"


REFUSED = {
    "x is a list": row(forward(x=[1.0]), TypeError, "x", "Tensor", "list"),
    "x is None": row(forward(x=None), TypeError, "x", "Tensor", "NoneType"),
    "x of integers": row(forward(x=zeros(B, D, T, dtype=I32)), TypeError, "x", "float32", "int32"),
    "x of booleans": row(forward(x=zeros(B, D, T) > 0), TypeError, "x", "float32", "bool"),
    "x complex": row(forward(x=zeros(B, D, T) * 1j), TypeError, "x", "real", "complex"),
    "x sparse": row(forward(x=zeros(B, D, T).to_sparse()), TypeError, "x", "strided", "sparse"),
    "x 2-d": row(forward(x=zeros(D, T)), ValueError, "x", r"\(B, D, T\)", r"\(6, 10\)"),
    "x 4-d": row(forward(x=zeros(1, B, D, T)), ValueError, "x", r"\(B, D, T\)", "4"),
    "weight is a number": row(forward(weight=1.0), TypeError, "weight", "Tensor", "float"),
    "weight dim": row(forward(weight=zeros(5, W)), ValueError, "weight", r"\(6, 4\)", r"\(5, 4\)"),
    "weight 3-d": row(
        forward(weight=zeros(D, 2, W)), ValueError, "weight", r"\(D, W\)", r"\(6, 2, 4\)"
    ),
    "weight empty": row(forward(weight=zeros(D, 0)), ValueError, "weight", "W >= 1", "0"),
    "weight of integers": row(
        forward(weight=zeros(D, W, dtype=I32)), TypeError, "weight", "float32", "int32"
    ),
    "weight float64": row(
        forward(weight=zeros(D, W, dtype=F64)), TypeError, "weight", "with float64 x", "float64"
    ),
    "bias dim": row(forward(bias=zeros(5)), ValueError, "bias", r"\(6,\)", r"\(5,\)"),
    "bias 2-d": row(forward(bias=zeros(D, 1)), ValueError, "bias", r"\(D\)", r"\(6, 1\)"),
    "bias is a list": row(forward(bias=[0.0]), TypeError, "bias", "Tensor", "list"),
    "bias float64": row(
        forward(bias=zeros(D, dtype=F64)), TypeError, "bias", "with float64 x", "float64"
    ),
    "activation": row(
        forward(activation="relu"), NotImplementedError, "activation", "'silu' or 'swish'", "'relu'"
    ),
    "activation True": row(
        forward(activation=True), NotImplementedError, "activation", "None, 'silu'", "True"
    ),
    "seq_idx of floats": row(
        forward(seq_idx=zeros(B, T)), TypeError, "seq_idx", "int32 or int64", "float32"
    ),
    "seq_idx shape": row(
        forward(seq_idx=zeros(B, 9, dtype=I32)), ValueError, "seq_idx", r"\(2, 10\)", r"\(2, 9\)"
    ),
    "both packings": row(
        packed(0, T, seq_idx=zeros(1, T, dtype=I32)),
        ValueError,
        "seq_idx, cu_seqlens",
        "at most one",
        "both",
    ),
    "cu_seqlens of floats": row(
        packed(cu_seqlens=zeros(2)), TypeError, "cu_seqlens", "int32 or int64", "float32"
    ),
    "cu_seqlens 2-d": row(
        packed(cu_seqlens=zeros(1, 2, dtype=I32)),
        ValueError,
        "cu_seqlens",
        r"\(N\+1\)",
        r"\(1, 2\)",
    ),
    "cu_seqlens with a batch": row(
        forward(cu_seqlens=ints(0, T)), ValueError, "cu_seqlens", "batch size 1", "2"
    ),
    "cu_seqlens empty": row(packed(), ValueError, "cu_seqlens", "at least one", "none"),
    "cu_seqlens start": row(packed(1, T), ValueError, "cu_seqlens", "start at 0", "1"),
    "cu_seqlens end long": row(packed(0, 11), ValueError, "cu_seqlens", "0 to 10", "11"),
    "cu_seqlens falling": row(
        packed(0, 7, 4, T), ValueError, "cu_seqlens", "non-decreasing", "4 after 7"
    ),
    "cu_seqlens negative": row(
        packed(0, -3, T), ValueError, "cu_seqlens", "non-decreasing", "-3 after 0"
    ),
    "cu_seqlens beyond": row(packed(0, 99, T), ValueError, "cu_seqlens", "0 to 10", "99"),
    "initial_states length": row(
        forward(initial_states=zeros(B, D, W)),
        ValueError,
        "initial_states",
        r"\(2, 6, 3\)",
        r"\(2, 6, 4\)",
    ),
    "initial_states dtype": row(
        forward(initial_states=zeros(B, D, W - 1, dtype=F16)),
        TypeError,
        "initial_states",
        "float32",
        "float16",
    ),
    "initial_states per sequence": row(
        packed(0, 4, T, initial_states=zeros(1, D, W - 1)),
        ValueError,
        "initial_states",
        r"\(2, 6, 3\)",
        r"\(1, 6, 3\)",
    ),
    "residual shape": row(
        forward(residual=zeros(B, D, 9)), ValueError, "residual", r"\(2, 6, 10\)", r"\(2, 6, 9\)"
    ),
    "residual dtype": row(
        forward(residual=zeros(B, D, T, dtype=F16)), TypeError, "residual", "float32", "float16"
    ),
    "out shape": row(
        forward(out=sevens(B, D, 9)), ValueError, "out", r"\(2, 6, 10\)", r"\(2, 6, 9\)"
    ),
    "out dtype": row(
        forward(out=sevens(B, D, T, dtype=F16)), TypeError, "out", "float32", "float16"
    ),
    "out is x": row(inside_x(0), ValueError, "out", "of its own", "overlaps x"),
    "out overlaps x": row(inside_x(1), ValueError, "out", "of its own", "overlaps x"),
    "out expanded": row(
        forward(out=sevens(1, D, T).expand(B, D, T)), ValueError, "out", "without overlap", "0, 10"
    ),
    "final_states_out shape": row(
        forward(final_states_out=sevens(B, D, W)),
        ValueError,
        "final_states(_out)?",
        r"\(2, 6, 3\)",
        r"\(2, 6, 4\)",
    ),
    "final_states_out dtype": row(
        forward(final_states_out=sevens(B, D, W - 1, dtype=F16)),
        TypeError,
        "final_states(_out)?",
        "float32",
        "float16",
    ),
    "update x 1-d": row(update(x=zeros(D)), ValueError, "x", r"\(B, D\) or \(B, D, T\)", r"\(6,\)"),
    "update state missing": row(
        update(conv_state=None), TypeError, "conv_state", "Tensor", "NoneType"
    ),
    "update state short": row(
        update(conv_state=sevens(B, D, 2)), ValueError, "conv_state", ">= W-1 = 3", "2"
    ),
    "update state batch": row(
        update(conv_state=sevens(3, D, 3)),
        ValueError,
        "conv_state",
        r"\(2, 6, 3\)",
        r"\(3, 6, 3\)",
    ),
    "update state dim": row(
        update(conv_state=sevens(B, 5, 3)),
        ValueError,
        "conv_state",
        r"\(2, 6, 3\)",
        r"\(2, 5, 3\)",
    ),
    "update state dtype": row(
        update(conv_state=sevens(B, D, 3, dtype=F64)),
        TypeError,
        "conv_state",
        "float32, float16 or bfloat16",
        "float64",
    ),
    "update state of float64 x": row(
        update(x=zeros(B, D, dtype=F64)), TypeError, "conv_state", "float64 like x", "float32"
    ),
    "update state of integers": row(
        update(conv_state=zeros(B, D, 3, dtype=I32)), TypeError, "conv_state", "float32", "int32"
    ),
    "update in place, state dtype": row(
        in_place_beside(F16), ValueError, "out", "of its own.*several steps", "x itself"
    ),
    "update state expanded": row(
        update(conv_state=sevens(1, D, 3).expand(B, D, 3)),
        ValueError,
        "conv_state",
        "without overlap",
        "0, 3",
    ),
    "update weight": row(
        update(weight=zeros(5, W)), ValueError, "weight", r"\(6, 4\)", r"\(5, 4\)"
    ),
    "update activation": row(
        update(activation="gelu"), NotImplementedError, "activation", "'silu'", "'gelu'"
    ),
    "indices of floats": row(
        update(conv_state_indices=zeros(B)),
        TypeError,
        "conv_state_indices",
        "int32 or int64",
        "float32",
    ),
    "indices length": row(
        update(conv_state_indices=ints(0)),
        ValueError,
        "conv_state_indices",
        r"\(2,\)",
        r"\(1,\)",
    ),
    "indices out of range": row(
        pooled(0, 5), ValueError, "conv_state_indices", "below the pool's 5", "5 at element 1"
    ),
    "indices far out of range": row(
        pooled(2**31 - 1, 0), ValueError, "conv_state_indices", "below", str(2**31 - 1)
    ),
    "indices twice": row(
        pooled(3, -1, 3), ValueError, "conv_state_indices", "once", "3 again at element 2"
    ),
    "out indices length": row(
        pooled(0, 1, conv_state_out_indices=ints(2)),
        ValueError,
        "conv_state_out_indices",
        r"\(2,\)",
        r"\(1,\)",
    ),
    "out indices of floats": row(
        pooled(0, 1, conv_state_out_indices=zeros(2)),
        TypeError,
        "conv_state_out_indices",
        "int32 or int64",
        "float32",
    ),
    "out indices out of range": row(
        pooled(0, 1, conv_state_out_indices=ints(2, 5)),
        ValueError,
        "conv_state_out_indices",
        "below the pool's 5",
        "5 at element 1",
    ),
    "out indices twice": row(
        pooled(0, 0, 1, conv_state_out_indices=ints(2, -1, 2)),
        ValueError,
        "conv_state_out_indices",
        "once",
        "2 again at element 2",
    ),
    "out indices read for another": row(
        pooled(0, 1, conv_state_out_indices=ints(1, 2)),
        ValueError,
        "conv_state_out_indices",
        "no row that is read for another",
        "1, which is read for element 1",
    ),
    "indices out of range beside out indices": row(
        pooled(7, 1, conv_state_out_indices=ints(3, 2)),
        ValueError,
        "conv_state_indices",
        "below the pool's 5",
        "7 at element 0",
    ),
    "out indices, fewer rows than x": row(
        update(conv_state=sevens(1, D, 3), conv_state_out_indices=ints(0, -1)),
        ValueError,
        "conv_state",
        "at least B = 2 rows",
        "1",
    ),
    "cache_seqlens length": row(
        update(cache_seqlens=ints(0, 1, 2)), ValueError, "cache_seqlens", r"\(2,\)", r"\(3,\)"
    ),
    "cache_seqlens negative": row(
        update(cache_seqlens=ints(0, -4)), ValueError, "cache_seqlens", ">= 0", "-4 at element 1"
    ),
    "lengths and seq_idx": row(
        forward(lengths=ints(1, 2), seq_idx=zeros(B, T, dtype=I32)),
        ValueError,
        "lengths, seq_idx",
        "at most one of them",
        "both",
    ),
    "a length beyond the end": row(
        forward(lengths=ints(T + 1, 2)), ValueError, "lengths", "from 0 to T = 10", "11"
    ),
    "accepted and circular": row(
        update(cache_seqlens=ints(0, 1), num_accepted_tokens=ints(1, 1)),
        ValueError,
        "num_accepted_tokens, cache_seqlens",
        "at most one of them",
        "both",
    ),
    "accepted, state short": row(
        accepted(1, 2, state_len=4), ValueError, "conv_state", "W-2 . T = 5", "4"
    ),
    "accepted none": row(
        accepted(1, 0), ValueError, "num_accepted_tokens", r"1 to S-W\+2 = 3", "0 at element 1"
    ),
    "accepted too many": row(
        accepted(4, 1), ValueError, "num_accepted_tokens", r"1 to S-W\+2 = 3", "4 at element 0"
    ),
    "update out shape": row(update(out=sevens(B, 5)), ValueError, "out", r"\(2, 6\)", r"\(2, 5\)"),
    "update out dtype": row(
        update(out=sevens(B, D, dtype=F16)), TypeError, "out", "float32", "float16"
    ),
    "update out is a list": row(update(out=[0.0]), TypeError, "out", "Tensor", "list"),
    "update out inside": row(
        update(out=sevens(1, D).expand(B, D)), ValueError, "out", "without overlap", "0, 1"
    ),
    "update out over a part of x": row(
        update_beside_x(1), ValueError, "out", "memory of its own", "overlaps x"
    ),
    "update out over weight": row(
        update_over("weight"), ValueError, "out", "memory of its own", "overlaps weight"
    ),
    "update out over conv_state": row(
        update_over("conv_state"), ValueError, "conv_state", "of its own", "overlaps out"
    ),
    "varlen x 3-d": row(
        varlen(x=zeros(1, T, D)), ValueError, "x", r"\(total, D\)", r"\(1, 10, 6\)"
    ),
    "varlen cu_seqlens of floats": row(
        varlen(cu_seqlens=zeros(3)), TypeError, "cu_seqlens", "int32 or int64", "float32"
    ),
    "varlen cu_seqlens empty": row(
        varlen(cu_seqlens=ints()), ValueError, "cu_seqlens", "at least one", "none"
    ),
    "varlen cu_seqlens falling": row(
        varlen(cu_seqlens=ints(0, 5, 3)), ValueError, "cu_seqlens", "non-decreasing", "3 after 5"
    ),
    "varlen cu_seqlens beyond": row(
        varlen(cu_seqlens=ints(0, 11)), ValueError, "cu_seqlens", "0 to 10", "11"
    ),
    "varlen state_len": row(varlen(state_len=-1), ValueError, "state_len", ">= 0", "-1"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_refused(wrong):
    (function, arguments), exception, pattern = REFUSED[wrong]
    tensors = {k: v for k, v in arguments.items() if isinstance(v, torch.Tensor)}
    before = {k: v.clone() for k, v in tensors.items() if v.layout == torch.strided}
    with pytest.raises(exception) as caught:
        function(**arguments)
    message = str(caught.value)
    assert caught.type is exception and re.search(pattern, message), message
    assert "\n" not in message
    for name, value in before.items():
        assert torch.equal(tensors[name], value), f"{name} was written"


@pytest.mark.parametrize("name", ["x", "weight"])
def test_gradients_do_not_change_the_message(name):
    """The same refusal where the call goes through autograd."""
    function, arguments = forward(weight=zeros(5, W))
    del arguments["out"], arguments["final_states_out"]
    arguments[name].requires_grad_()
    with pytest.raises(ValueError, match=r"^weight: .*\(6, 4\).*\(5, 4\)"):
        function(**arguments)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("wrong", ["dtype", "shape", "batch"])
def test_recorded_final_states_out(wrong, watched):
    """While gradients are recorded the states are copied: what does not fit is refused before."""
    targets = {
        "dtype": (sevens(B, D, W - 1, dtype=F16), TypeError, "float32.*float16"),
        "shape": (sevens(B, D, 1), ValueError, r"\(2, 6, 3\), got \(2, 6, 1\)"),
        "batch": (sevens(B + 1, D, W - 1), ValueError, r"\(2, 6, 3\), got \(3, 6, 3\)"),
    }
    target, exception, message = targets[wrong]
    function, arguments = forward(final_states_out=target)
    del arguments["out"]
    arguments["x"].requires_grad_()
    if watched:
        arguments["x"] = arguments["x"].as_subclass(type("Watched", (torch.Tensor,), {}))
    with pytest.raises(exception, match=f"^final_states_out: expected .*{message}"):
        function(**arguments)
    assert (target == 7).all()


@pytest.mark.parametrize("watched", [False, True])
def test_numbers(watched):
    """pad_slot_id and state_len, on the direct path and on the operators'."""
    for value, exception in (
        (None, TypeError),
        ("0", TypeError),
        (1.5, TypeError),
        (2**63, ValueError),
    ):
        function, arguments = update(pad_slot_id=value)
        if watched:
            arguments["x"] = arguments["x"].to("meta")
        with pytest.raises(exception, match=r"^pad_slot_id: expected .*integer.*got"):
            function(**arguments)
        assert same_bits(arguments["conv_state"], sevens(B, D, W - 1))
    for value, exception in ((None, TypeError), (1.5, TypeError), (-1, ValueError)):
        function, arguments = varlen(state_len=value)
        if watched:
            arguments = {k: v.to("meta") if k != "state_len" else v for k, v in arguments.items()}
        with pytest.raises(exception, match=r"^state_len: expected an integer.*got"):
            function(**arguments)


def test_out_does_not_take_gradients():
    function, arguments = forward()
    arguments["x"].requires_grad_()
    with pytest.raises(RuntimeError, match=r"^out: .*requires grad"):
        function(**arguments)
    assert same_bits(arguments["out"], sevens(B, D, T))


@pytest.mark.parametrize("argument", ["weight", "bias", "seq_idx", "initial_states", "residual"])
def test_another_device(argument):
    """The meta device stands for any other."""
    function, arguments = forward(
        seq_idx=zeros(B, T, dtype=I32),
        initial_states=zeros(B, D, W - 1),
        residual=zeros(B, D, T),
    )
    arguments[argument] = arguments[argument].to("meta")
    with pytest.raises((ValueError, NotImplementedError, RuntimeError), match=argument):
        function(**arguments)
    assert same_bits(arguments["out"], sevens(B, D, T))
