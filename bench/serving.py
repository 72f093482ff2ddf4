"""Calls on a pool of states: what an engine's prefill and its speculative decoding are made of.

B is the number of requests, T the packed tokens of a prefill, or the most tokens that a request has
in a decoding step.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F

import causal_conv1d_mps as ccmps

OPS = ("prefill", "ragged")


def sizes(case):
    """Tokens of each request."""
    if case.op == "prefill":
        return [case.T // case.B + (n < case.T % case.B) for n in range(case.B)]
    return [1 + n % case.T for n in range(case.B)]


def copy_elements(case):
    """x in, y out; the columns of a row that are read, and those that are written."""
    tokens, past = sum(sizes(case)), case.B * (case.W - 1)
    written = past if case.op == "prefill" else sum(case.W - 2 + n for n in sizes(case))
    return case.D * (2 * tokens + past + written) // 2


def make_inputs(case, normal, device, generator):
    """Random rows of a pool that has twice as many; every second request of a prefill goes on."""
    tokens = sizes(case)
    columns = case.W - 1 if case.op == "prefill" else case.W - 2 + case.T
    chosen = torch.randperm(2 * case.B, generator=generator)[: case.B]
    accepted = torch.randint(1, case.T + 1, (case.B,), generator=generator)
    bounds = torch.tensor([0, *tokens]).cumsum(0).to(torch.int32)
    rows = normal(bounds[-1].item(), case.D)
    return SimpleNamespace(
        x=rows.T[None] if case.op == "prefill" else rows,
        pool=normal(2 * case.B, columns, case.D).mT,
        bounds=bounds.to(device),
        rows=chosen.to(device),
        goes_on=(torch.arange(case.B) % 2 == 1).to(device),
        accepted=accepted.to(torch.int32).to(device),
        sizes=torch.tensor(tokens).to(device),
    )


def ours(case, inputs):
    if case.op == "prefill":
        options = dict(
            activation=case.activation,
            cu_seqlens=inputs.bounds,
            conv_states=inputs.pool,
            conv_state_indices=inputs.rows,
            has_initial_state=inputs.goes_on,
        )
        return lambda: ccmps.causal_conv1d_fn(inputs.x, inputs.weight, inputs.bias, **options)
    options = dict(
        conv_state_indices=inputs.rows,
        num_accepted_tokens=inputs.accepted,
        cu_seqlens=inputs.bounds,
        max_seqlen=case.T,
    )
    return lambda: ccmps.causal_conv1d_update(
        inputs.x, inputs.pool, inputs.weight, inputs.bias, case.activation, **options
    )


def forward(case, inputs):
    """The plain forward pass of the same tokens, as one sequence."""
    return lambda: ccmps.causal_conv1d(inputs.x, inputs.weight, inputs.bias, case.activation)


def pytorch(case, inputs):
    """Gather the rows, mask them, convolve, scatter: all that the host can prepare is prepared."""
    dtype = inputs.x.dtype
    inputs = SimpleNamespace(**vars(inputs))
    inputs.weight = inputs.weight.to(dtype)
    inputs.bias = None if inputs.bias is None else inputs.bias.to(dtype)
    return (_composed_prefill if case.op == "prefill" else _composed_ragged)(case, inputs)


def _composed_prefill(case, inputs):
    past, device = case.W - 1, inputs.x.device
    starts, ends = inputs.bounds[:-1].long(), inputs.bounds[1:].long()
    moved = past * torch.arange(1, case.B + 1, device=device)
    steps = torch.arange(case.T, device=device)
    steps += moved[torch.searchsorted(ends, steps, right=True)]
    before = torch.arange(past, device=device)
    states = ((starts + moved - past)[:, None] + before).flatten()
    last = ((ends + moved - past)[:, None] + before).flatten()
    live = inputs.goes_on[:, None, None]

    def run():
        rows = torch.where(live, inputs.pool[inputs.rows], 0)
        wide = inputs.x.new_empty(1, case.D, case.T + past * case.B)
        wide[0, :, states] = rows.permute(1, 0, 2).flatten(1)
        wide[..., steps] = inputs.x
        y = F.conv1d(wide, inputs.weight[:, None], inputs.bias, groups=case.D)
        inputs.pool[inputs.rows] = wide[0, :, last].unflatten(1, (case.B, past)).transpose(0, 1)
        y = y[..., steps - past]
        return F.silu(y) if case.activation else y

    return run


def _composed_ragged(case, inputs):
    past, device = case.W - 1, inputs.x.device
    owner = torch.repeat_interleave(torch.arange(case.B, device=device), inputs.sizes)
    place = torch.arange(len(owner), device=device) - inputs.bounds.long()[owner]
    column = torch.arange(case.W - 2 + case.T, device=device)
    fresh = (column < (case.W - 2 + inputs.sizes)[:, None])[:, None]

    def run():
        old = inputs.pool[inputs.rows]
        columns = inputs.accepted.long()[:, None] - 1 + torch.arange(past, device=device)
        history = old.gather(2, columns[:, None].expand(-1, case.D, -1))
        tokens = inputs.x.new_zeros(case.B, case.T, case.D)
        tokens[owner, place] = inputs.x
        steps = torch.cat([history, tokens.mT], dim=-1)
        y = sum(inputs.weight[:, k, None] * steps[..., k : k + case.T] for k in range(case.W))
        y = (y if inputs.bias is None else y + inputs.bias[:, None]).mT[owner, place]
        inputs.pool[inputs.rows] = torch.where(fresh, steps[..., 1:], old)
        return F.silu(y) if case.activation else y

    return run


def verify(case, inputs, result, before, channels, reference, convolve, close):
    """Every request for itself, on these channels: y, its row, and the rows of no request."""
    pool = inputs.pool.index_select(1, channels.to(inputs.pool.device))
    kept = before.index_select(1, channels.to(before.device))
    weight, bias = reference(inputs.weight, 0), reference(inputs.bias, 0)
    x = reference(inputs.x[0].T if case.op == "prefill" else inputs.x, 1)
    y = result[0].T if case.op == "prefill" else result
    y = y.index_select(1, channels.to(y.device))
    rows, bounds = inputs.rows.tolist(), inputs.bounds.tolist()
    right = True
    for n, row in enumerate(rows):
        begin, end = bounds[n : n + 2]
        first = 0 if case.op == "prefill" else int(inputs.accepted[n]) - 1
        past = kept[row, :, first : first + case.W - 1].to(x)
        if case.op == "prefill" and not inputs.goes_on[n]:
            past = torch.zeros_like(past)
        steps = torch.cat([past, x[begin:end].T], dim=1)[None]
        acc = convolve(steps, weight, bias)[..., case.W - 1 :]
        size = convolve(steps.abs(), weight.abs(), None if bias is None else bias.abs())
        expected = F.silu(acc) if case.activation else acc
        right &= close(y[begin:end].T[None], expected, 8 * size[..., case.W - 1 :])
        moved = steps[0, :, -(case.W - 1) :] if case.op == "prefill" else steps[0, :, 1:]
        kept[row, :, : moved.shape[1]] = moved.to(kept)
    return right and torch.equal(pool, kept)
