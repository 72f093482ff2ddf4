"""The operation as a composition of differentiable PyTorch operations.

Slow and obviously right. It serves only what the kernels do not compute: derivatives of the
backward pass (double backward and beyond) and forward-mode derivatives.
"""

import torch
import torch.nn.functional as F

# By code. Not F.silu: without gradient mode its backward pass has no forward-mode derivative.
ACTIVATIONS = {0: lambda acc: acc, 1: lambda acc: acc * torch.sigmoid(acc)}


def live_steps(named):
    """(B, T), whether a step is no padding; None: all are. named: the inputs by name."""
    if named.get("cu_seqlens") is not None:
        steps = torch.arange(named["x"].shape[2], device=named["x"].device)
        return (steps < named["cu_seqlens"][-1]).unsqueeze(0)
    ids = step_ids(named["x"], named.get("seq_idx"), named.get("lengths"))
    return None if ids is None else ids >= 0


def step_ids(x, seq_idx, lengths):
    """(B, T), what taps compare, negative at padding; None: one sequence per row."""
    if lengths is None:
        return seq_idx
    if lengths.shape != x.shape[:1] or lengths.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"lengths: expected ({x.shape[0]},) of int32 or int64, got {tuple(lengths.shape)} of "
            f"{lengths.dtype}"
        )
    steps = torch.arange(x.shape[2], device=x.device)
    return -(steps >= lengths.unsqueeze(1)).to(torch.int64)


def _with_past(seq_idx, columns):
    """seq_idx and, before it, that of so many steps before x: they belong to the first step's."""
    if seq_idx.shape[1] == 0:
        return seq_idx.new_zeros(seq_idx.shape[0], columns)
    return torch.cat([seq_idx[:, :1].expand(-1, columns), seq_idx], dim=1)


def masked_final_states(x, states, seq_idx):
    """The last steps of every row up to its last step that is not padding, as many as states has.

    states: the steps before x; a row that is all padding keeps them.
    """
    size, length = states.shape[2], x.shape[2]
    steps = torch.cat([states, x], dim=2)
    if length == 0:
        return steps
    number = torch.arange(length, device=x.device)
    last = torch.where(seq_idx >= 0, number, -1).amax(dim=1, keepdim=True)
    columns = last + 1 + torch.arange(size, device=x.device)
    ids = seq_idx.gather(1, last.clamp(min=0))
    kept = (_with_past(seq_idx, size).gather(1, columns) == ids) | (last < 0)
    found = steps.gather(2, columns[:, None].expand(-1, x.shape[1], -1))
    return torch.where(kept[:, None], found, 0)


def _packed_positions(x, cu_seqlens):
    """For every step: its sequence, its position in it, and whether it is in one at all."""
    steps = torch.arange(x.shape[2], device=x.device)
    ends = cu_seqlens[1:].to(torch.int64)
    sequence = torch.searchsorted(ends, steps, right=True)
    live = (sequence < ends.shape[0]) & (steps >= cu_seqlens[0])
    sequence = sequence.clamp(max=max(ends.shape[0] - 1, 0))
    return sequence, steps - cu_seqlens[:-1][sequence], live


def _packed_taps(x, width, cu_seqlens, states):
    """The list of taps, oldest first, for packed sequences; each is (1, D, T)."""
    batch, dim, length = x.shape
    if length == 0 or cu_seqlens.shape[0] < 2:
        none = torch.zeros(length, dtype=torch.bool, device=x.device)
        return [x.new_zeros(batch, dim, length) for _ in range(width)], none
    sequence, position, live = _packed_positions(x, cu_seqlens)
    padded = F.pad(x, (width - 1, 0))
    taps = []
    for back in range(width - 1, -1, -1):
        tap = padded[..., width - 1 - back : width - 1 - back + length]
        inside = position >= back
        if states is None:
            tap = torch.where(inside, tap, 0)
        else:
            column = (width - 1 + position - back).clamp(0, max(width - 2, 0))
            early = states[sequence, :, column].t() if width > 1 else tap
            tap = torch.where(inside, tap, early)
        taps.append(torch.where(live, tap, 0))
    return taps, live


def packed_final_states(x, width, cu_seqlens, states):
    count, dim = cu_seqlens.shape[0] - 1, x.shape[1]
    if width == 1 or count == 0:
        return x.new_zeros(count, dim, width - 1)
    starts, ends = cu_seqlens[:-1].to(torch.int64), cu_seqlens[1:].to(torch.int64)
    columns = torch.arange(width - 1, device=x.device)
    position = (ends - starts)[:, None] - (width - 1) + columns
    if x.shape[2]:
        source = (starts[:, None] + position).clamp(0, x.shape[2] - 1)
        late = x[0][:, source].transpose(0, 1)
    else:
        late = x.new_zeros(count, dim, width - 1)
    if states is None:
        early = torch.zeros_like(late)
    else:
        column = (width - 1 + position).clamp(0, width - 2)
        early = states.gather(2, column[:, None, :].expand(-1, dim, -1))
    return torch.where((position >= 0)[:, None, :], late, early)


def _without_padding(tensor, live):
    """Zero where a gradient of 0 would meet whatever else is there."""
    if tensor is None or live is None:
        return tensor
    return torch.where(live.unsqueeze(1), tensor, 0)


def _gated(x, pre_gate, compute):
    """The taps: products rounded to x's dtype, which derivatives do not see."""
    if pre_gate is None:
        return x.to(compute)
    taps = x.to(compute) * pre_gate.to(compute)
    return taps + (taps.to(x.dtype).to(compute) - taps).detach()


def forward(
    x,
    weight,
    bias=None,
    seq_idx=None,
    cu_seqlens=None,
    initial_states=None,
    lengths=None,
    pre_gate=None,
    post_gate=None,
    residual=None,
    activation=0,
):
    """y and the final states, by differentiable operations only."""
    compute = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight = weight.squeeze(1) if weight.dim() == 3 else weight
    width, length = weight.shape[1], x.shape[2]
    seq_idx = step_ids(x, seq_idx, lengths)
    if pre_gate is not None or post_gate is not None:
        steps = live_steps(dict(x=x, seq_idx=seq_idx, cu_seqlens=cu_seqlens))
        x, pre_gate, post_gate = (_without_padding(t, steps) for t in (x, pre_gate, post_gate))
    wide = _gated(x, pre_gate, compute)
    taps_weight = weight.to(compute)
    states = None if initial_states is None else initial_states.to(compute)

    live = None
    if cu_seqlens is not None:
        taps, steps = _packed_taps(wide, width, cu_seqlens, states)
        live = steps[None, None, :]
        final_states = packed_final_states(wide, width, cu_seqlens, states)
    else:
        if states is None:
            states = wide.new_zeros(wide.shape[0], wide.shape[1], width - 1)
        padded = torch.cat([states, wide], dim=2)
        taps = [padded[..., k : k + length] for k in range(width)]
        final_states = padded[..., length:]
        if seq_idx is not None:
            ids = _with_past(seq_idx, width - 1)
            live = (seq_idx >= 0)[:, None]
            taps = [
                torch.where((ids[:, None, k : k + length] == seq_idx[:, None]) & live, tap, 0)
                for k, tap in enumerate(taps)
            ]
            final_states = masked_final_states(wide, states, seq_idx)

    acc = torch.zeros_like(wide) if bias is None else bias.to(compute)[:, None].expand_as(wide)
    for k, tap in enumerate(taps):
        acc = acc + taps_weight[:, k, None] * tap
    y = ACTIVATIONS[activation](acc)
    if post_gate is not None:
        y = y * post_gate.to(compute)
    if residual is not None:
        y = y + residual.to(compute)
    if live is not None:
        y = torch.where(live, y, 0)
    return y.to(x.dtype), final_states.to(x.dtype)


def backward(
    dout,
    x,
    weight,
    bias=None,
    seq_idx=None,
    cu_seqlens=None,
    initial_states=None,
    lengths=None,
    pre_gate=None,
    post_gate=None,
    dfinal_states=None,
    activation=0,
):
    """Gradients of x, weight, bias, initial_states, pre_gate and post_gate, differentiable.

    None where absent.
    """
    sources = {
        "x": x,
        "weight": weight,
        "bias": bias,
        "initial_states": initial_states,
        "pre_gate": pre_gate,
        "post_gate": post_gate,
    }
    present = {name: tensor for name, tensor in sources.items() if tensor is not None}
    fixed = dict(seq_idx=seq_idx, cu_seqlens=cu_seqlens, lengths=lengths, activation=activation)

    def primal(*tensors):
        return forward(**dict(zip(present, tensors, strict=True)), **fixed)

    (_, final_states), pullback = torch.func.vjp(primal, *present.values())
    if dfinal_states is None:
        dfinal_states = torch.zeros_like(final_states)
    found = dict(zip(present, pullback((dout, dfinal_states)), strict=True))
    return tuple(found.get(name) for name in sources)
