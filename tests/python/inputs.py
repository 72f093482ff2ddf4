"""Deterministic inputs and the memory layouts that they come in."""

from __future__ import annotations

import torch

EXTREMES = (0.0, -0.0, 1e-6, -1e-6, 24.0, -24.0, 95.0, -95.0)

# Memory order of the dimensions (B, D, T), outermost first, padding of each dimension around the
# tensor inside its storage, and the step along time.
LAYOUTS = {
    "contiguous": ("BDT", (0, 0, 0), 1),
    "channel_last": ("BTD", (0, 0, 0), 1),
    "sliced": ("BTD", (0, 3, 0), 1),
    "sliced_time": ("BDT", (0, 2, 1), 1),
    "time_outermost": ("TBD", (1, 0, 0), 1),
    "batch_innermost": ("DTB", (0, 1, 1), 1),
    "every_other_step": ("BDT", (0, 0, 1), 2),
    "every_other_step_channel_last": ("BTD", (0, 0, 0), 2),
}
ODD_OFFSET = "odd_offset"  # contiguous, one element into its storage
EXPANDED = ("expanded_batch", "expanded_dim", "expanded_time")  # stride 0: inputs only


def values(shape, dtype, seed, scale=1.0):
    """Normal numbers over eight binades with a few extremes among them."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(shape, generator=generator)
    binade = torch.randint(-5, 3, tuple(shape), generator=generator)
    mixed = torch.ldexp(normal, binade)
    pick = torch.randint(0, 40 * len(EXTREMES), tuple(shape), generator=generator)
    for i, extreme in enumerate(EXTREMES):
        mixed[pick == i] = extreme
    return (mixed * scale).to(dtype)


def weights(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 0.6).to(dtype)


def empty(shape, dtype, layout, device="cpu"):
    """A (B, D, T) tensor in the layout, full of NaN like the storage around it."""
    if layout == ODD_OFFSET:
        size = shape[0] * shape[1] * shape[2]
        return _poison((size + 2,), dtype, device)[1 : 1 + size].view(shape)
    if layout in EXPANDED:
        at = EXPANDED.index(layout)
        small = [1 if i == at and n > 0 else n for i, n in enumerate(shape)]
        return _poison(small, dtype, device).expand(shape)
    order, padding, step = LAYOUTS[layout]
    padded = [n * (step if i == 2 else 1) + 2 * p for i, (n, p) in enumerate(zip(shape, padding))]
    storage = _poison([padded["BDT".index(c)] for c in order], dtype, device)
    view = storage.permute([order.index(c) for c in "BDT"])
    for i, p in enumerate(padding):
        view = view.narrow(i, p, padded[i] - 2 * p)
    return view[..., ::step]


def arrange(tensor, layout, device="cpu"):
    """The values of `tensor` in the layout (an expanded one keeps the first of the dimension)."""
    out = empty(tensor.shape, tensor.dtype, layout, device)
    if layout in EXPANDED:
        at = EXPANDED.index(layout)
        out.narrow(at, 0, min(1, out.shape[at])).copy_(tensor.narrow(at, 0, min(1, out.shape[at])))
    else:
        out.copy_(tensor)
    return out


def _poison(shape, dtype, device):
    return torch.full(tuple(shape), float("nan"), dtype=dtype, device=device)


def bits(tensor):
    """The same memory as integers, so that comparison is bit for bit."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().contiguous().view(integer).cpu()


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(bits(a), bits(b))


def storage_around(view):
    """The storage of `view` with NaN in place of the view's own elements."""
    size = view.untyped_storage().nbytes() // view.element_size()
    whole = view.as_strided((size,), (1,), 0).clone()
    inside = whole.as_strided(view.shape, view.stride(), view.storage_offset())
    inside.fill_(float("nan"))
    return whole


def segment_ids(batch, length, dtype, seed):
    """Runs of a few steps, some of them padding (-1), some ids coming back later."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for b in range(batch):
        row = []
        while len(row) < length:
            run = int(torch.randint(1, 8, (), generator=generator))
            row += [int(torch.randint(-1, 4, (), generator=generator))] * run
        if b == 0 and row:
            row[0] = 1 + row[0] % 3  # the first sequence is live, so that states reach it
        rows.append(row[:length])
    return torch.tensor(rows, dtype=dtype).reshape(batch, length)


PADDING = ("right", "left", "both", "middle", "all", "packed", "mixed")


def padded_ids(batch, length, dtype, seed, padding):
    """Rows of one sequence with padding at the named place, each of its own length; "packed": of
    several sequences with padding on the right; "mixed": one place after another, row by row."""
    generator = torch.Generator().manual_seed(seed)
    rows = segment_ids(batch, length, dtype, seed)
    for b, row in enumerate(rows):
        place = PADDING[b % 6] if padding == "mixed" else padding
        one, two = torch.randint(0, length + 1, (2,), generator=generator).sort().values.tolist()
        if place != "packed":
            row.fill_(b % 3)
        negative = -1 - b % 2
        if place in ("right", "packed"):
            row[max(one, 1) :] = negative
        if place in ("left", "both"):
            row[: min(one, length - 1)] = negative
        if place == "both":
            row[max(two, one + 1) :] = negative
        if place == "middle":
            row[one + 1 : two] = negative
        if place == "all":
            row.fill_(negative)
    return rows


def sequence_bounds(length, sequences, dtype, seed):
    """cu_seqlens: random cuts, one of the sequences empty."""
    generator = torch.Generator().manual_seed(seed)
    cuts = torch.randint(0, length + 1, (max(sequences - 1, 0),), generator=generator)
    if sequences > 2:
        cuts[1] = cuts[0]
    ends = torch.tensor([0, length])
    return torch.cat([ends, cuts]).sort().values.to(dtype)
