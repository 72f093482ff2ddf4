"""The ways in which a call can reach the library; each returns its results by name."""

import importlib
import itertools

import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _tables

OPERATORS = torch.ops.causal_conv1d_mps


def _dropin(name):
    return importlib.import_module("causal_conv1d_mps.compat.dao." + name)


def _code(call):
    return 0 if call.activation is None else 1


def _named(result, final):
    y, states = result if final else (result, None)
    return {"y": y, "final_states": states} if final else {"y": y}


def _arguments(call):
    return dict(
        seq_idx=call.seq_idx,
        initial_states=call.initial_states,
        return_final_states=call.final,
        activation=call.activation,
        cu_seqlens=call.cu_seqlens,
        residual=call.residual,
    )


def _function(call):
    plain = not call.final and all(
        t is None for t in (call.seq_idx, call.initial_states, call.cu_seqlens, call.residual)
    )
    if plain:
        return ccmps.causal_conv1d(call.x, call.weight, call.bias, call.activation)
    return ccmps.causal_conv1d_fn(call.x, call.weight, call.bias, **_arguments(call))


def _module(call):
    """A module whose parameters are the call's tensors."""
    module = ccmps.nn.CausalConv1d(
        call.weight.shape[0],
        call.weight.shape[1],
        call.bias is not None,
        call.activation,
        device="meta",
    )
    parameters = {"weight": call.weight.unsqueeze(1)}
    if call.bias is not None:
        parameters["bias"] = call.bias
    arguments = _arguments(call)
    del arguments["activation"]
    return torch.func.functional_call(module, parameters, (call.x,), arguments)


def _dropin_fn(call):
    return _dropin("causal_conv1d_interface").causal_conv1d_fn(
        call.x,
        call.weight,
        call.bias,
        call.seq_idx,
        call.initial_states,
        call.final,
        None,
        call.activation,
    )


def _inputs(operator, call):
    """What the operator takes of the call, which knows its tensors by the same names."""
    return [getattr(call, argument.name, None) for argument in _tables.OPERATORS[operator]]


def forward(call):
    if call.route == "operator":
        y, states = OPERATORS.forward(*_inputs("forward", call), _code(call), call.final)
        return _named((y, states) if call.final else y, call.final)
    if call.route == "out":
        result = ccmps.causal_conv1d_fn(
            call.x, call.weight, call.bias, **_arguments(call), out=call.out
        )
        assert (result[0] if call.final else result) is call.out, "another tensor than out"
        return _named(result, call.final)
    if call.route == "recorded":
        call.weight.requires_grad_()
        result = _function(call)
        call.weight.requires_grad_(False)
        return _named(result, call.final)
    guard = {"no_grad": torch.no_grad, "inference": torch.inference_mode}.get(call.route)
    route = {"module": _module, "dropin": _dropin_fn}.get(call.route, _function)
    if guard is None:
        return _named(route(call), call.final)
    with guard():
        return _named(route(call), call.final)


def _leaves(call):
    names = ("x", "weight", "bias", "initial_states", "residual")
    return {name: getattr(call, name) for name in names if getattr(call, name) is not None}


def backward(call):
    leaves = _leaves(call)
    if call.route in ("operator", "dropin"):
        results = _backward_directly(call)
        return {
            name: r
            for name, r in zip(("x", "weight", "bias", "initial_states"), results)
            if name in leaves
        }
    if call.route == "vjp":
        return _vjp(call, leaves)
    for tensor in leaves.values():
        tensor.requires_grad_()
    result = (_module if call.route == "module" else _function)(call)
    outputs, above = [result], [call.dout]
    if call.final:
        outputs, above = list(result), [call.dout, call.dfinal_states]
    if call.route == "autograd" and all(t.is_leaf for t in leaves.values()):
        torch.autograd.backward(outputs, above)
        found = [t.grad for t in leaves.values()]
    else:
        found = torch.autograd.grad(outputs, list(leaves.values()), above, allow_unused=True)
    for tensor in leaves.values():
        tensor.requires_grad_(False)
        tensor.grad = None
    return dict(zip(leaves, found))


def _backward_directly(call):
    with_states = call.initial_states is not None
    if call.route == "dropin":
        return _dropin("cpp_functions").causal_conv1d_bwd_function(
            call.x,
            call.weight,
            call.bias,
            call.dout,
            call.seq_idx,
            call.initial_states,
            call.dfinal_states,
            None,
            with_states,
            call.activation is not None,
        )
    needs = [True, True, call.bias is not None, with_states, False, False]
    return OPERATORS.backward(*_inputs("backward", call), _code(call), needs)


def _vjp(call, leaves):
    def function(*tensors):
        given = dict(zip(leaves, tensors))
        arguments = _arguments(call) | {
            name: given[name] for name in ("initial_states", "residual") if name in given
        }
        return ccmps.causal_conv1d_fn(given["x"], given["weight"], given.get("bias"), **arguments)

    _, pullback = torch.func.vjp(function, *leaves.values())
    above = (call.dout, call.dfinal_states) if call.final else call.dout
    return dict(zip(leaves, pullback(above)))


def update(call):
    indices = dict(
        cache_seqlens=call.cache_seqlens,
        conv_state_indices=call.conv_state_indices,
        pad_slot_id=call.pad_slot_id,
        num_accepted_tokens=call.num_accepted_tokens,
        conv_state_out_indices=call.conv_state_out_indices,
    )
    if call.route == "operator":
        y = OPERATORS.update(
            call.x,
            call.conv_state,
            call.weight,
            call.bias,
            call.cache_seqlens,
            call.conv_state_indices,
            call.num_accepted_tokens,
            call.pad_slot_id,
            _code(call),
            call.conv_state_out_indices,
        )
    elif call.route == "dropin":
        y = _dropin("causal_conv1d_interface").causal_conv1d_update(
            call.x,
            call.conv_state,
            call.weight,
            call.bias,
            call.activation,
            call.cache_seqlens,
            call.conv_state_indices,
        )
    elif call.route == "module":
        with torch.no_grad():
            module = ccmps.nn.CausalConv1d(*call.weight.shape, False, call.activation)
            module.weight = torch.nn.Parameter(call.weight.unsqueeze(1))
            if call.bias is not None:
                module.bias = torch.nn.Parameter(call.bias)
            y = module.step(call.x, call.conv_state, **indices)
    else:
        y = ccmps.causal_conv1d_update(
            call.x, call.conv_state, call.weight, call.bias, call.activation, **indices
        )
    return {"y": y, "conv_state": call.conv_state}


def varlen(call):
    if call.route == "operator":
        return {"states": OPERATORS.varlen_states(call.x, call.cu_seqlens, call.state_len)}
    function = ccmps.causal_conv1d_varlen_states
    if call.route == "dropin":
        function = _dropin("causal_conv1d_varlen").causal_conv1d_varlen_states
    return {"states": function(call.x, call.cu_seqlens, call.state_len)}


def chunks(call):
    """The sequence in pieces, each going on from the states of the one before."""
    states, pieces = call.initial_states, []
    bounds = [0, *call.cuts, call.x.shape[2]]
    for begin, end in itertools.pairwise(bounds):
        residual = None if call.residual is None else call.residual[..., begin:end]
        y, states = ccmps.causal_conv1d_fn(
            call.x[..., begin:end],
            call.weight,
            call.bias,
            initial_states=states,
            return_final_states=True,
            activation=call.activation,
            residual=residual,
        )
        pieces.append(y)
    return {"y": torch.cat(pieces, -1), "final_states": states}


def steps(call):
    """The sequence by update, one or a few tokens at a time."""
    batch, dim, length = call.x.shape
    state = call.x.new_zeros(batch, dim, call.state_len)
    pieces = [call.x[..., :0]]
    bounds = [0, *call.cuts, length]
    for begin, end in itertools.pairwise(bounds):
        x = call.x[..., begin] if end == begin + 1 else call.x[..., begin:end]
        y = ccmps.causal_conv1d_update(x, state, call.weight, call.bias, call.activation)
        pieces.append(y.reshape(batch, dim, end - begin))
    return {"y": torch.cat(pieces, -1), "conv_state": state}
