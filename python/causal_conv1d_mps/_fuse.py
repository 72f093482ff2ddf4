"""Gated short convolutions of loaded transformers models on the gated operation, and back.

A block keeps its parameters and hooks: its class becomes a subclass with another forward().
"""

import functools
import hashlib
import importlib
import inspect
import io
import textwrap
import tokenize

import torch

from ._projection import convolve_projection, parts_of
from ._watch import any_requires_grad
from .functional import causal_conv1d_update

__all__ = ["fuse", "unfuse"]

_BLOCKS = {
    "Lfm2ShortConv": "transformers.models.lfm2.modeling_lfm2",
    "Lfm2MoeShortConv": "transformers.models.lfm2_moe.modeling_lfm2_moe",
    "Lfm3ShortConv": "transformers.models.lfm3.modeling_lfm3",
}
_PREFIX = "Fused"
# The one forward() of all three in transformers 5.23, by its tokens: what _convolve_block replaces.
_FORWARD = "869768fc6be847785cee70843fcf85f94ea3a168e6f46b6e2e75f3304e0058c3"
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def fuse(model):
    """Replace the gated short convolutions of a transformers model, in place.

    model: a torch.nn.Module that contains LFM2, LFM2-MoE or LFM3 blocks as of transformers 5.23.
    Returns {name of the module: name of its class} for what it has replaced: parameters,
    state_dict, caches and results stay, up to rounding. ValueError, and nothing is changed, where
    there is none, or where one is not as it is known.
    """
    known, fused, others = {}, False, set()
    for name, module in _modules(model):
        kind = type(module)
        if _BLOCKS.get(kind.__name__) == kind.__module__:
            _check(name, module)
            known[name] = module
        elif _is_fused(kind):
            fused = True
        elif any(_is_depthwise(child) for child in module.children()):
            others.add(kind.__name__)
    if not known and not fused:
        found = f"; {', '.join(sorted(others))}: not known" if others else ""
        raise ValueError(
            f"model: expected one with {', '.join(_BLOCKS)} of transformers, got a "
            f"{type(model).__name__} without any{found}"
        )
    for module in known.values():
        module.__class__ = _fused(type(module).__name__)
    return {name: module.__class__.__mro__[1].__name__ for name, module in known.items()}


def unfuse(model):
    """Undo fuse(model). Returns {name of the module: name of its class} for what it has undone."""
    found = {name: module for name, module in _modules(model) if _is_fused(type(module))}
    for module in found.values():
        module.__class__ = type(module).__mro__[1]
    return {name: type(module).__name__ for name, module in found.items()}


def _modules(model):
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    return list(model.named_modules())


def _is_fused(kind):
    return kind.__module__ == __name__ and kind.__name__.startswith(_PREFIX)


def _is_depthwise(module):
    return isinstance(module, torch.nn.Conv1d) and 1 < module.groups == module.in_channels


def _check(name, block):
    """That forward() is the one that is replaced, and the convolution a causal one."""

    def refuse(what):
        kind = type(block).__name__
        raise ValueError(f"model: expected {kind} as in transformers 5.23, but {name} {what}")

    if "forward" in vars(block):
        refuse("has a forward() of its own (hooks of accelerate, or a patch)")
    if _digest(type(block).forward) != _FORWARD:
        refuse("computes something else")
    conv, width = block.conv, block.conv_kernel_size
    expected = dict(
        kernel_size=(width,), stride=(1,), dilation=(1,), padding=(width - 1,), padding_mode="zeros"
    )
    plain = _is_depthwise(conv) and conv.out_channels == conv.in_channels
    if not plain or any(getattr(conv, key) != value for key, value in expected.items()):
        refuse(f"has the convolution {conv}")


@functools.cache
def _digest(function):
    """A hash of a function's tokens, without comments and layout; None where there is no text."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        return None
    lines = io.StringIO(textwrap.dedent(text)).readline
    tokens = (t.string for t in tokenize.generate_tokens(lines) if t.type not in _LAYOUT)
    return hashlib.sha256(" ".join(tokens).encode()).hexdigest()


@functools.cache
def _fused(name):
    """The subclass of a block's class; built late, because it imports the model's file."""
    modeling = importlib.import_module(_BLOCKS[name])
    hooks = importlib.import_module("transformers.integrations.accelerate")
    mask_padding = modeling.apply_mask_to_padding_states

    def forward(self, hidden_states, past_key_values=None, attention_mask=None, **kwargs):
        hidden_states = mask_padding(hidden_states, attention_mask)
        return _convolve_block(self, hidden_states, past_key_values, kwargs.get("seq_idx"))

    forward = hooks.force_accelerate_hooks("conv")(forward)
    members = {"forward": forward, "__module__": __name__, "__doc__": f"{name}, fused."}
    return type(_PREFIX + name, (getattr(modeling, name),), members)


def __getattr__(name):  # for pickles of fused blocks
    if name.startswith(_PREFIX) and name[len(_PREFIX) :] in _BLOCKS:
        return _fused(name[len(_PREFIX) :])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _convolve_block(block, hidden_states, cache, seq_idx):
    projected = block.in_proj(hidden_states)
    weight, bias, layer = block.conv.weight, block.conv.bias, block.layer_idx
    if cache is None:
        return block.out_proj(convolve_projection(projected, weight, bias, seq_idx=seq_idx))

    state = cache.get_conv_state(layer, state_idx=0)
    recorded = torch.is_grad_enabled() and any_requires_grad(projected, weight, bias, state)
    keeps_all = cache.is_recording_past(layer)
    gates = parts_of(projected)
    if state is not None and projected.shape[1] == 1 and not keeps_all and not recorded:
        y = causal_conv1d_update(gates.pop("x"), state, weight, bias, **gates)
        return block.out_proj(y.transpose(1, 2))

    before = None if state is None else _before(state, weight.shape[-1] - 1)
    if recorded and before is not None:
        before = before.clone()  # the cache changes in place
    y = convolve_projection(projected, weight, bias, seq_idx=seq_idx, initial_states=before)
    width = block.conv_kernel_size
    new = slice(0 if keeps_all else max(projected.shape[1] - width, 0), None)
    taps = gates["pre_gate"][..., new] * gates["x"][..., new]
    cache.update_conv_state(taps, layer, conv_kernel_size=width)
    return block.out_proj(y)


def _before(state, steps):
    """The last steps of a state: one that may be rolled back holds fewer after a short prompt."""
    missing = steps - state.shape[2]
    if missing > 0:
        return torch.nn.functional.pad(state, (missing, 0))
    return state[..., state.shape[2] - steps :]
