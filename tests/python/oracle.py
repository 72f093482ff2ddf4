"""The float64 reference for every operation, and how far a result may be from it.

Written with plain torch operations and nothing of the library. Values come from the definition
evaluated in float64; gradients come from torch's autograd over it. Every value has an error bound
beside it, derived below, and `check` accepts a result only if it is the rounding of a number
within that bound: for 16-bit results that is stricter than one unit in the last place.

Error bounds (u = half an epsilon of the type that computes: float32, or float64 for float64 x)
  acc    The chain of fma's rounds once per tap, by at most u times the partial sum: u *
         sum |acc_k|, and never more than 4 epsilons of |bias| + sum |w||x|.
  silu   The slope at acc times that error (the second derivative is at most 1/2), plus two units
         in the last place. Below -88 exp(-acc) overflows float32: anything between the value and
         -0 is right. For 16-bit results without a residual the CPU kernels take a silu of 2^-16.5,
         GPU kernels their approximate exp and reciprocal, 2^-20: a value that lies so near to a
         tie may round to the other side.
  silu'  s * (1 + acc * (1 - s)), 1 - s being e * s: e has 2u, s 4u (e, 1 + e, the division), e * s
         5u (e counts s times, as it moves s the other way), the sum and the product with s one
         each: 10u * s * (1 + |acc| * (1 - s)). That of dout is in the last term.
  dx     One fma per tap and one addition for the final states: (W + 1) * u * sum |w||dpre|, capped
         at 8 epsilons, plus the errors of dpre carried through |w|.
  dw     (log2(B * T) + 2) epsilons of sum |dpre||tap|, plus the errors of dpre carried through.
  tiny   What a rounding may add besides: the smallest subnormal. On a device that flushes those of
         float32 it is 4 x 2^-126, for a result and two factors of at most 3/2 that are flushed.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from unittest import mock

import torch

F64 = torch.float64


@dataclass(frozen=True)
class Bounded:
    """A float64 value and the largest distance from it that a result may have."""

    value: torch.Tensor
    error: torch.Tensor
    brief: torch.Tensor | None = None  # magnitudes of silu where the CPU computes it for 16 bits


@dataclass(frozen=True)
class Unit:
    """The rounding of the type that computes."""

    u: float
    tiny: float
    exp_limit: float

    @staticmethod
    def of(dtype):
        if dtype == F64:  # three times u: the reference itself rounds in float64
            return Unit(3 * 2.0**-53, 2.0**-1074, -709.0)
        return Unit(2.0**-24, 2.0**-124 if _device["flushes"] else 2.0**-149, -88.0)


_device = {"flushes": False}


def device_that(flushes: bool):
    """Results within the block come from one that flushes float32 subnormals, or keeps them."""
    return mock.patch.dict(_device, flushes=flushes)


def check(got: torch.Tensor, want: Bounded, name: str = "result") -> None:
    """Fail unless every element of `got` is the rounding of a number within the bound."""
    assert got.shape == want.value.shape, f"{name}: shape {got.shape}, not {want.value.shape}"
    error = want.error
    if from_gpu_kernel(got):
        if got.element_size() == 2:
            error = error + want.value.abs() * 2.0**-20
    elif want.brief is not None:
        error = error + want.brief * 2.0**-16.5
    low = _rounded(want.value - error, got.dtype)
    high = _rounded(want.value + error, got.dtype)
    here = got.detach().cpu()
    wrong = ~((here >= low) & (here <= high))
    if wrong.any():
        at = tuple(int(i) for i in wrong.nonzero()[0])
        raise AssertionError(
            f"{name}: {int(wrong.sum())} of {wrong.numel()} elements are wrong; first at {at}:"
            f" got {here[at].item()!r}, expected {want.value[at].item()!r}"
            f" +- {want.error[at].item():.3g}"
        )


def from_gpu_kernel(got: torch.Tensor) -> bool:
    """The Metal harness, which runs GPU kernels on tensors of the CPU, replaces this."""
    return got.device.type != "cpu"


def _rounded(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Float64 to the dtype by one rounding. Torch goes to 16 bits by way of float32, which rounds
    twice where that lands on a tie; an odd last bit in between ("round to odd") keeps it off."""
    if dtype in (F64, torch.float32):
        return value.to(dtype)
    single = value.to(torch.float32)
    bits = single.view(torch.int32)
    away = torch.where(value > single, torch.inf, -torch.inf).to(torch.float32)
    to_odd = (single.to(F64) != value) & (bits % 2 == 0)
    return torch.where(to_odd, torch.nextafter(single, away), single).to(dtype)


def check_exact(got: torch.Tensor, want: torch.Tensor, name: str = "result") -> None:
    """Fail unless `got` holds the same numbers (copies are exact)."""
    check(got, Bounded(want.to(F64), torch.zeros(want.shape, dtype=F64)), name)


def _history(x, width, seq_idx, initial_states):
    """Steps -(W-1) .. T-1 and the sequence that each belongs to."""
    batch, dim, length = x.shape
    past = x.new_zeros(batch, dim, width - 1) if initial_states is None else initial_states
    steps = torch.cat([past, x], dim=-1)
    if seq_idx is None or length == 0:
        return steps, torch.zeros(batch, width - 1 + length, dtype=torch.int64)
    ids = seq_idx.to(torch.int64)
    return steps, torch.cat([ids[:, :1].expand(-1, width - 1), ids], dim=-1)


def _convolve(x, weight, bias, seq_idx, initial_states):
    """acc, the sum of |partial sums| on the way to it, and the final states."""
    (batch, dim, length), width = x.shape, weight.shape[1]
    steps, ids = _history(x, width, seq_idx, initial_states)
    current = ids[:, width - 1 :].unsqueeze(1)
    acc = x.new_zeros(batch, dim, length) if bias is None else bias[:, None] + torch.zeros_like(x)
    partial = torch.zeros_like(x)
    for k in range(width):
        same = ids[:, k : k + length].unsqueeze(1) == current
        tap = torch.where(same, steps[..., k : k + length], 0.0)
        acc = acc + weight[:, k, None] * tap
        partial = partial + acc.detach().abs()
    return acc, partial, _final_states(steps, ids, width)


def _final_states(steps, ids, width):
    """The W-1 steps up to the last that is no padding, as far as they are of its sequence; a row
    of padding keeps its initial state. Column 0 of steps and ids is step -(W-1)."""
    if width == 1:
        return steps[..., :0]
    ordinals = torch.arange(1, ids.shape[1] - width + 2) * (ids[:, width - 1 :] >= 0)
    end = torch.nn.functional.pad(ordinals, (1, 0)).amax(1, keepdim=True)  # 0: none is live
    at = end + torch.arange(width - 1)
    kept = (ids.gather(1, at) == ids.gather(1, end + width - 2)) | (end == 0)
    at, kept = (t.unsqueeze(1).expand(-1, steps.shape[1], -1) for t in (at, kept))
    return torch.where(kept, steps.gather(2, at), 0.0)


def _convolve_packed(x, weight, bias, cu_seqlens, initial_states):
    """As `_convolve`, every sequence on its own, and zeros behind the last one."""
    accs, partials, finals = [x[..., :0]], [x[..., :0]], []
    for n, (begin, end) in enumerate(itertools.pairwise(cu_seqlens)):
        state = None if initial_states is None else initial_states[n : n + 1]
        acc, partial, final = _convolve(x[..., begin:end], weight, bias, None, state)
        accs.append(acc)
        partials.append(partial)
        finals.append(final)
    accs.append(torch.zeros_like(x[..., cu_seqlens[-1] :]))
    partials.append(torch.zeros_like(x[..., cu_seqlens[-1] :]))
    none = x.new_zeros(0, x.shape[1], weight.shape[1] - 1)
    return torch.cat(accs, -1), torch.cat(partials, -1), torch.cat([none, *finals])


def _linear(x, weight, bias, seq_idx, cu_seqlens, initial_states):
    if cu_seqlens is None:
        return _convolve(x, weight, bias, seq_idx, initial_states)
    return _convolve_packed(x, weight, bias, cu_seqlens.tolist(), initial_states)


def silu(acc):
    return acc * torch.sigmoid(acc)


def bounded_activation(acc, acc_error, activation, unit):
    if activation is None:
        return Bounded(acc, acc_error)
    s = torch.sigmoid(acc)
    value = acc * s
    slope = (s * (1 + acc * (1 - s))).abs()
    error = (slope + acc_error / 2) * acc_error + 4 * unit.u * value.abs() + 2 * unit.tiny
    return Bounded(value, torch.where(acc < unit.exp_limit, error + value.abs(), error))


def _acc_error(partial, magnitude, width, unit):
    return torch.minimum(unit.u * partial, 8 * unit.u * magnitude) * 1.001 + width * unit.tiny


def _magnitudes(x, weight, bias, seq_idx, cu_seqlens, initial_states):
    absolute = [None if t is None else t.abs() for t in (x, weight, bias)]
    states = None if initial_states is None else initial_states.abs()
    return _linear(*absolute, seq_idx, cu_seqlens, states)[0]


def _wide(*tensors):
    return [None if t is None else t.detach().cpu().to(F64) for t in tensors]


def _indices(*tensors):
    return [None if t is None else t.detach().cpu() for t in tensors]


def _ids(x, seq_idx, lengths):
    """Every step's sequence, negative where it is padding."""
    if lengths is None:
        return seq_idx
    rows = [[0 if t < n else -1 for t in range(x.shape[2])] for n in lengths.tolist()]
    return torch.tensor(rows, dtype=torch.int64).reshape(x.shape[0], x.shape[2])


def _live(x, seq_idx, cu_seqlens):
    """True at every step that is not padding."""
    if cu_seqlens is not None:
        return (torch.arange(x.shape[2]) < cu_seqlens[-1]).expand(1, 1, -1)
    if seq_idx is None:
        return torch.ones(x.shape[0], 1, x.shape[2], dtype=torch.bool)
    return (seq_idx >= 0).unsqueeze(1)


@dataclass(frozen=True)
class Forward:
    y: Bounded
    final_states: Bounded


def forward(
    x,
    weight,
    bias=None,
    *,
    seq_idx=None,
    initial_states=None,
    activation=None,
    cu_seqlens=None,
    residual=None,
    lengths=None,
) -> Forward:
    unit, width, halves = Unit.of(x.dtype), weight.shape[1], x.element_size() == 2
    seq_idx, cu_seqlens = _indices(_ids(x, seq_idx, lengths), cu_seqlens)
    x, weight, bias, initial_states, residual = _wide(x, weight, bias, initial_states, residual)
    where = (seq_idx, cu_seqlens, initial_states)
    acc, partial, final_states = _linear(x, weight, bias, *where)
    magnitude = _magnitudes(x, weight, bias, *where)
    out = bounded_activation(acc, _acc_error(partial, magnitude, width, unit), activation, unit)
    brief = out.value.abs() if halves and activation and residual is None else None
    if residual is not None:
        value = out.value + residual
        out = Bounded(value, out.error * 1.001 + unit.u * value.abs())
    live = _live(x, seq_idx, cu_seqlens)
    y = [None if t is None else torch.where(live, t, 0.0) for t in (out.value, out.error, brief)]
    return Forward(Bounded(*y), Bounded(final_states, torch.zeros_like(final_states)))


@dataclass(frozen=True)
class Backward:
    """One bounded gradient per input; None for an input that was not given."""

    x: Bounded
    weight: Bounded
    bias: Bounded | None
    initial_states: Bounded | None
    residual: Bounded | None


def backward(
    dout,
    x,
    weight,
    bias=None,
    *,
    seq_idx=None,
    initial_states=None,
    activation=None,
    cu_seqlens=None,
    residual=None,
    dfinal_states=None,
    lengths=None,
) -> Backward:
    unit, width, epsilon = Unit.of(x.dtype), weight.shape[1], 2 * Unit.of(x.dtype).u
    seq_idx, cu_seqlens = _indices(_ids(x, seq_idx, lengths), cu_seqlens)
    dout, x, weight, bias, states, residual, dfinal = _wide(
        dout, x, weight, bias, initial_states, residual, dfinal_states
    )
    live = _live(x, seq_idx, cu_seqlens)

    leaves = {"x": x, "weight": weight, "bias": bias, "states": states, "residual": residual}
    leaves = {k: v.clone().requires_grad_() for k, v in leaves.items() if v is not None}
    linear = (leaves["x"], leaves["weight"], leaves.get("bias"))
    acc, partial, final = _linear(*linear, seq_idx, cu_seqlens, leaves.get("states"))
    y = acc if activation is None else silu(acc)
    y = y + leaves.get("residual", 0.0)
    y = torch.where(live, y, 0.0)
    outputs = [(y, dout)] + ([] if dfinal is None else [(final, dfinal)])
    values = _grad(outputs, [*leaves.values(), acc])
    value = dict(zip([*leaves, "acc"], values))

    acc, dpre = acc.detach(), value["acc"]
    acc_error = _acc_error(
        partial, _magnitudes(x, weight, bias, seq_idx, cu_seqlens, states), width, unit
    )
    dpre_error = torch.where(live, _dpre_error(dout, acc, acc_error, dpre, activation, unit), 0.0)

    # The convolution is linear, so its own gradients on absolute values are the sums of magnitudes.
    absolute = {k: leaves[k].detach().abs().requires_grad_() for k in leaves if k != "residual"}
    linear = (absolute["x"], absolute["weight"], absolute.get("bias"))
    acc_abs, _, final_abs = _linear(*linear, seq_idx, cu_seqlens, absolute.get("states"))
    outputs = [(acc_abs, dpre.abs())] + ([] if dfinal is None else [(final_abs, dfinal.abs())])
    magnitude = dict(zip(absolute, _grad(outputs, list(absolute.values()))))
    carried = dict(zip(absolute, _grad([(acc_abs, dpre_error)], list(absolute.values()))))

    steps = max(x.shape[0] * x.shape[2], 1)
    growth = dict.fromkeys(("x", "states"), min(width + 1, 16) * unit.u)
    growth |= dict.fromkeys(("weight", "bias"), (math.log2(steps) + 2) * epsilon)

    def bounded(name):
        if name not in absolute:
            return None
        error = 1.001 * carried[name] + growth[name] * magnitude[name] + (width + 2) * unit.tiny
        return Bounded(value[name], error)

    dresidual = None
    if residual is not None:
        dresidual = Bounded(value["residual"], torch.zeros_like(value["residual"]))
    return Backward(*(bounded(k) for k in ("x", "weight", "bias", "states")), dresidual)


def _grad(outputs, inputs):
    outputs, grads = zip(*outputs)
    found = torch.autograd.grad(outputs, inputs, grads, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found)]


def _dpre_error(dout, acc, acc_error, dpre, activation, unit):
    """The error of dout * silu'(acc); without an activation dpre is dout, exactly."""
    if activation is None:
        return torch.zeros_like(acc)
    s = torch.sigmoid(acc)
    slope = s * (1 + acc * (1 - s))
    curve = (s * (1 - s) * (2 + acc * (1 - 2 * s))).abs()
    error = (curve + acc_error / 2) * acc_error
    error = error + 10 * unit.u * s * (1 + acc.abs() * (1 - s)) + 4 * unit.tiny * (1 + acc.abs())
    error = torch.where(acc < unit.exp_limit, error + slope.abs(), error)
    return dout.abs() * error * 1.001 + 2 * unit.u * dpre.abs() + unit.tiny


@dataclass(frozen=True)
class Update:
    y: Bounded
    conv_state: torch.Tensor


def update(
    x,
    conv_state,
    weight,
    bias=None,
    activation=None,
    cache_seqlens=None,
    conv_state_indices=None,
    *,
    pad_slot_id=-1,
    num_accepted_tokens=None,
    conv_state_out_indices=None,
) -> Update:
    """y and the new state, one batch row after another."""
    x, conv_state = x.detach().cpu(), conv_state.detach().cpu().clone()
    x3 = x.unsqueeze(-1) if x.ndim == 2 else x
    width, state_len, length = weight.shape[1], conv_state.shape[2], x3.shape[2]
    value = torch.zeros(x3.shape, dtype=F64)
    error = torch.zeros(x3.shape, dtype=F64)
    written = {}
    halves = x.element_size() == 2 and activation is not None
    for b in range(x3.shape[0]):
        slot = b if conv_state_indices is None else int(conv_state_indices[b])
        if conv_state_indices is not None and (slot == pad_slot_id or slot < 0):
            continue
        target = slot if conv_state_out_indices is None else int(conv_state_out_indices[b])
        if conv_state_out_indices is not None and (target == pad_slot_id or target < 0):
            continue
        state, steps = conv_state[slot], x3[b].to(conv_state.dtype)
        if num_accepted_tokens is not None:
            begin = int(num_accepted_tokens[b]) - 1
            taps, new_state = state[:, begin : begin + width - 1], conv_state[target].clone()
            if width > 1 and length > 0:
                window = torch.cat([taps[:, 1:], steps], dim=-1)
                new_state[:, : window.shape[1]] = window
        elif cache_seqlens is None:
            taps = state[:, state_len - (width - 1) :]
            new_state = torch.cat([state, steps], dim=-1)
            new_state = new_state[:, new_state.shape[1] - state_len :]
        else:
            begin = int(cache_seqlens[b])
            taps = state[:, [(begin - (width - 1) + j) % state_len for j in range(width - 1)]]
            new_state = state.clone()
            for t in range(length if state_len else 0):
                new_state[:, (begin + t) % state_len] = steps[:, t]
        row = forward(
            x3[b : b + 1], weight, bias, initial_states=taps.unsqueeze(0), activation=activation
        )
        value[b], error[b] = row.y.value[0], row.y.error[0]
        written[target] = new_state
    for target, new_state in written.items():
        conv_state[target] = new_state
    value, error = value.reshape(x.shape), error.reshape(x.shape)
    return Update(Bounded(value, error, value.abs() if halves else None), conv_state)


def prefill(
    x,
    weight,
    bias=None,
    *,
    conv_states,
    activation=None,
    cu_seqlens=None,
    residual=None,
    lengths=None,
    conv_state_indices=None,
    conv_state_out_indices=None,
    has_initial_state=None,
    pad_slot_id=-1,
) -> Update:
    """causal_conv1d_fn from and into a pool: y and the new pool, one sequence after another."""
    x, before = x.detach().cpu(), conv_states.detach().cpu()
    after, (batch, _, length), width = before.clone(), x.shape, weight.shape[1]
    value, error = torch.zeros(x.shape, dtype=F64), torch.zeros(x.shape, dtype=F64)
    bounds = None if cu_seqlens is None else cu_seqlens.tolist()
    for n in range(batch if bounds is None else len(bounds) - 1):
        rows = [
            n if rows is None else int(rows[n])
            for rows in (conv_state_indices, conv_state_out_indices)
        ]
        given = [rows is not None for rows in (conv_state_indices, conv_state_out_indices)]
        if any(g and (r < 0 or r == pad_slot_id) for r, g in zip(rows, given)):
            continue
        read, written = rows[0], rows[1] if given[1] else rows[0]
        begin, end = (0, length) if bounds is None else bounds[n : n + 2]
        end = end if lengths is None else int(lengths[n])
        b = n if bounds is None else 0
        steps = x[b : b + 1, :, begin:end]
        past = before[read]
        if has_initial_state is None or not has_initial_state[n]:
            past = torch.zeros_like(past)
        part = forward(
            steps,
            weight,
            bias,
            initial_states=past[None, :, past.shape[1] - (width - 1) :],
            activation=activation,
            residual=None if residual is None else residual[b : b + 1, :, begin:end],
        )
        value[b, :, begin:end], error[b, :, begin:end] = part.y.value[0], part.y.error[0]
        history = torch.cat([past, steps[0].to(past.dtype)], dim=-1)
        after[written] = history[:, history.shape[1] - past.shape[1] :]
    halves = x.element_size() == 2 and activation is not None and residual is None
    return Update(Bounded(value, error, value.abs() if halves else None), after)


def varlen_states(
    x, cu_seqlens, state_len, *, initial_states=None, positions=None, out=None, out_indices=None
):
    """`state_len` rows that end at each position (each sequence's end without), of its sequence and
    what came before it; in a copy of `out`, where that is given."""
    x, bounds = x.detach().cpu(), cu_seqlens.tolist()
    before = torch.zeros(len(bounds) - 1, x.shape[1], state_len, dtype=x.dtype)
    if initial_states is not None:
        before = initial_states.cpu()[..., initial_states.shape[2] - state_len :]
    wanted = list(enumerate(bounds[1:])) if positions is None else []
    for position in () if positions is None else positions.tolist():
        live = [n for n, b in enumerate(itertools.pairwise(bounds)) if b[0] < position <= b[1]]
        wanted.append((live[0] if live else 0, position))
    rows = range(len(wanted)) if out_indices is None else out_indices.tolist()
    states = torch.zeros(len(wanted), x.shape[1], state_len, dtype=x.dtype)
    states = states if out is None else out.detach().cpu().clone()
    for (n, end), row in zip(wanted, rows, strict=True):
        for column in range(state_len if row >= 0 else 0):
            step = end - state_len + column
            old = step < bounds[n]
            found = before[n, :, state_len + step - bounds[n]] if old else x[step]
            states[row, :, column] = found.to(states.dtype)
    return states
