"""Random runs of an engine's decoding loop, against models that share no code with the library.

The model keeps what the engine knows: of every pool row the tokens that were accepted, and where
the row's contract says that they lie. y is computed from those tokens in float64 (oracle.py), the
pool is a tensor of its own, to which the contract is applied column by column. At the end of a run
the accepted tokens' y must be, bit for bit, what one forward call over all of them gives.
"""

import itertools
import os
import random

import oracle
import torch
from inputs import same_bits, values, weights

import causal_conv1d_mps as ccmps

EVERYTHING = os.environ.get("CAUSAL_CONV1D_ALL_CASES") == "1"  # as in tests/metal
ALL_RUNS, STEPS = 2000, 20
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
KINDS = ("window", "shift", "window", "circular")


def seeds(spread):
    """Of the runs to make: all, or so many of them."""
    return range(ALL_RUNS) if EVERYTHING else range(spread)


class Engine:
    """A pool of states and what it holds, as a run's seed says."""

    def __init__(self, backend, seed, kinds):
        self.backend, self.pick = backend, random.Random(seed)
        dtypes = [dtype for dtype in DTYPES if backend.supports(dtype, dtype)]
        self.dtype, self.kind = dtypes[seed % len(dtypes)], kinds[seed // 4 % len(kinds)]
        self.width, self.most = 1 + self.below(6), 1 + self.below(5)
        self.dim, self.rows = self.pick.choice((1, 3, 8, 9, 17)), 7
        self.activation = self.pick.choice((None, "silu"))
        self.has_residual = self.below(4) == 0
        least = self.width - 1
        if self.kind == "window":
            least = max(least, self.width - 2 + self.most)
        self.columns = least + self.below(4)
        pool_dtype = self.dtype  # one that holds x's values
        if self.dtype.itemsize == 2 and self.below(3) == 0:
            pool_dtype = torch.float32
        self.pool = values((self.rows, self.dim, self.columns), self.dtype, seed).to(pool_dtype)
        self.device_pool = self.pool.clone().to(backend.device)
        self.weight = weights((self.dim, self.width), self.dtype, seed)
        self.bias = weights((self.dim,), self.dtype, seed + 1) if self.below(3) else None
        first = 0 if self.kind == "window" else self.columns - (self.width - 1)
        self.history = [
            row[:, first : first + self.width - 1].to(self.dtype).clone() for row in self.pool
        ]
        self.counts = [int(self.kind == "window")] * self.rows  # accepted tokens, or a position
        self.outputs = [[] for _ in range(self.rows)]  # y of the tokens of a row's history
        self.residuals = [[] for _ in range(self.rows)]
        self.seed = seed

    def below(self, n):
        return self.pick.randrange(n)

    def on_device(self, tensor):
        return None if tensor is None else tensor.to(self.backend.device)

    def index(self, values):
        dtype = self.pick.choice((torch.int32, torch.int64))
        return torch.tensor(values, dtype=dtype).to(self.backend.device)

    def parameters(self):
        return dict(
            weight=self.on_device(self.weight),
            bias=self.on_device(self.bias),
            activation=self.activation,
        )

    def new_steps(self, shape, step):
        x = values(shape, self.dtype, 1000 * self.seed + step)
        return x, values(shape, self.dtype, 7 * self.seed + step) if self.has_residual else None

    def taps(self, row):
        """The W-1 steps before what comes next, where the contract has them in the pool."""
        known = self.history[row][:, self.history[row].shape[1] - (self.width - 1) :]
        columns = range(self.columns - (self.width - 1), self.columns)
        if self.kind == "window":
            columns = range(self.counts[row] - 1, self.counts[row] + self.width - 2)
        elif self.kind == "circular" and self.columns:
            columns = [(self.counts[row] + c) % self.columns for c in columns]
        assert same_bits(self.pool[row][:, list(columns)], known.to(self.pool.dtype)), "the model"
        return known

    def want(self, taps, tokens, residual):
        """y of one row's tokens (D, T)."""
        found = oracle.forward(
            tokens[None],
            self.weight,
            self.bias,
            initial_states=taps[None],
            activation=self.activation,
            residual=None if residual is None else residual[None],
        )
        return found.y

    def check(self, y, want, what):
        oracle.check(y[None].cpu(), want, f"y of run {self.seed}, {what}")

    def check_pool(self):
        assert same_bits(self.device_pool.cpu(), self.pool), f"pool of run {self.seed}"

    def with_tokens(self, row, tokens, y, *residual):
        """What is known of a row that goes on from this one by some tokens (D, n)."""
        history = torch.cat([self.history[row], tokens], dim=1)
        return history, [*self.outputs[row], y], [*self.residuals[row], *residual]

    def know(self, row, count, history, outputs, residuals):
        self.counts[row], self.history[row] = count, history
        self.outputs[row], self.residuals[row] = outputs, residuals

    def check_against_forward(self):
        """What was decoded, in whatever pieces, has the bits of one forward call."""
        for history, outputs, residuals in zip(
            self.history, self.outputs, self.residuals, strict=True
        ):
            if not outputs:
                continue
            residual = torch.cat(residuals, dim=1)[None] if self.has_residual else None
            y = ccmps.causal_conv1d_fn(
                self.on_device(history[None, :, self.width - 1 :].contiguous()),
                **self.parameters(),
                initial_states=self.on_device(history[None, :, : self.width - 1].contiguous()),
                residual=self.on_device(residual),
            )
            got = torch.cat(outputs, dim=1)
            assert same_bits(got, y[0].cpu()), f"run {self.seed}: decoding and forward differ"


# ---- Rows that move on: any number of tokens per row and step ----------------------------------


def choose_rows(engine):
    """(slots that are read, that are written or None): some padding, some copied on write."""
    rows = engine.pick.sample(range(engine.rows), engine.rows)
    batch = 1 + engine.below(4)
    reads, free = rows[:batch], rows[batch:]
    if engine.below(3):
        return [-1 - engine.below(2) if engine.below(5) == 0 else r for r in reads], None
    writes = list(reads)
    for i in range(batch):
        forks = engine.below(2)
        if forks and free:
            writes[i] = free.pop()
        elif i and writes[0] != reads[0]:  # a second reader of a row that nobody writes
            reads[i] = reads[0] if free else reads[i]
            writes[i] = free.pop() if free else writes[i]
    for i in range(batch):
        if engine.below(5) == 0:
            (reads if engine.below(2) else writes)[i] = -1
    return reads, writes


class Layout:
    """The tokens of rows of these lengths: as (B, D), (B, D, T), or packed with padding around."""

    def __init__(self, engine, lengths, step):
        self.given, self.bounds = {}, None
        if len(set(lengths)) == 1 and engine.below(2):
            shape = (len(lengths), engine.dim, lengths[0])
            if lengths[0] == 1 and engine.below(2):
                shape = shape[:2]
        else:
            self.bounds = [engine.below(3)]
            for length in lengths:
                self.bounds.append(self.bounds[-1] + length)
            shape = (self.bounds[-1] + engine.below(4), engine.dim)
            self.given = dict(cu_seqlens=engine.index(self.bounds), max_seqlen=engine.most)
        self.x, self.residual = engine.new_steps(shape, step)

    def rows(self, tensor):
        """Each row's (D, T)."""
        if self.bounds is not None:
            return [tensor[a:b].t() for a, b in itertools.pairwise(self.bounds)]
        return (tensor.unsqueeze(-1) if tensor.dim() == 2 else tensor).unbind()

    def around(self, tensor):
        """What is of no row."""
        if self.bounds is None:
            return tensor[:0]
        return torch.cat([tensor[: self.bounds[0]], tensor[self.bounds[-1] :]])


def moved_on(engine, read, write, tokens):
    """The pool's row `write` after these tokens, which follow what row `read` holds."""
    steps, width, size = tokens.to(engine.pool.dtype), engine.width, engine.columns
    taps = engine.taps(read).to(engine.pool.dtype)
    if engine.kind == "window":
        row = engine.pool[write].clone()
        if width > 1:
            row[:, : width - 2 + steps.shape[1]] = torch.cat([taps[:, 1:], steps], dim=1)
        return row
    row = engine.pool[read].clone()
    if engine.kind == "shift":
        return torch.cat([row, steps], dim=1)[:, steps.shape[1] :]
    for i in range(steps.shape[1] if size else 0):
        row[:, (engine.counts[read] + i) % size] = steps[:, i]
    return row


def run_rows(backend, seed, steps=STEPS):
    engine = Engine(backend, seed, KINDS)
    for step in range(steps):
        reads, writes = choose_rows(engine)
        lengths = [engine.below(engine.most + 1) for _ in reads]
        if engine.below(3) == 0:
            lengths = [1 + engine.below(engine.most)] * len(reads)
        layout = Layout(engine, lengths, step)
        targets = reads if writes is None else writes
        padded = [min(pair) < 0 for pair in zip(reads, targets, strict=True)]
        y = call(engine, layout, reads, writes, padded)
        assert not layout.around(y).any(), f"run {seed}, step {step}: y of no row"
        changes = []
        residuals = [None] * len(reads)
        if layout.residual is not None:
            residuals = layout.rows(layout.residual)
        rows = zip(reads, targets, layout.rows(layout.x), layout.rows(y), residuals, strict=True)
        for i, (read, write, tokens, got, residual) in enumerate(rows):
            if padded[i]:
                assert not got.any(), f"run {seed}, step {step}: y of padding"
            elif lengths[i]:
                want = engine.want(engine.taps(read), tokens, residual)
                engine.check(got, want, f"step {step}, row {i}")
                changes.append((write, *after(engine, read, write, tokens, got, residual)))
        for write, row, *known in changes:
            engine.pool[write] = row
            engine.know(write, *known)
        engine.check_pool()
    engine.check_against_forward()


def call(engine, layout, reads, writes, padded):
    """The step on the device's pool; y on the CPU."""
    counts = [
        engine.pick.choice((0, -3, 99)) if pad else engine.counts[read]
        for read, pad in zip(reads, padded, strict=True)
    ]
    given = layout.given | dict(conv_state_indices=engine.index(reads))
    if writes is not None:
        given["conv_state_out_indices"] = engine.index(writes)
    if engine.kind != "shift":
        name = {"window": "num_accepted_tokens", "circular": "cache_seqlens"}[engine.kind]
        given[name] = engine.index(counts)
    x = engine.on_device(layout.x.clone())
    if engine.below(3) == 0:
        inside = engine.pool.dtype == engine.dtype and engine.below(2)
        given["out"] = x if inside else torch.full_like(x, 7.0)
    y = ccmps.causal_conv1d_update(
        x,
        engine.device_pool,
        **engine.parameters(),
        **given,
        residual=engine.on_device(layout.residual),
    )
    assert given.get("out", y) is y
    return y.cpu()


def after(engine, read, write, tokens, y, residual):
    """The pool's row `write`, and what the engine knows of it when it has accepted some tokens."""
    accepted, count = tokens.shape[1], engine.counts[read] + tokens.shape[1]
    if engine.kind == "window":
        accepted = count = 1 + engine.below(tokens.shape[1])
    more = (tokens, y) if residual is None else (tokens, y, residual)
    row = moved_on(engine, read, write, tokens)
    return row, count, *engine.with_tokens(read, *(t[:, :accepted] for t in more))


# ---- Trees of drafts -----------------------------------------------------------------------------


def path_to(node, parents):
    """The nodes from the root to this one."""
    path = []
    while node >= 0:
        path.append(node)
        node = parents[node]
    return path[::-1]


def run_trees(backend, seed, steps=STEPS):
    engine = Engine(backend, seed, ("window", "shift"))
    for step in range(steps):
        batch, length = 1 + engine.below(4), 1 + engine.below(8)
        reads = [engine.below(engine.rows) - (engine.below(5) == 0) * 99 for _ in range(batch)]
        parents = [[engine.below(t + 1) - 1 for t in range(length)] for _ in range(batch)]
        layout = Layout(engine, [length] * batch, step)
        while layout.bounds is not None:
            layout = Layout(engine, [length] * batch, step)
        y, nodes = call_tree(engine, layout, reads, parents)
        engine.check_pool()
        expected = {"taps": [], "y": [], "residual": [], "state": []}
        for b, read in enumerate(reads):
            if read < 0:
                assert not y[b].any() and (nodes is None or not nodes[b].any())
                continue
            known, tokens = engine.taps(read), layout.rows(layout.x)[b]
            for t in range(length):
                steps = torch.cat([known, tokens[:, path_to(t, parents[b])]], dim=1)
                expected["taps"].append(steps[:, steps.shape[1] - engine.width :])
                expected["y"].append(layout.rows(y)[b][:, t])
                if layout.residual is not None:
                    expected["residual"].append(layout.rows(layout.residual)[b][:, t])
                if nodes is not None:
                    expected["state"].append(nodes[b, t])
        check_nodes(engine, {k: torch.stack(v) for k, v in expected.items() if v}, step)
        accept_nodes(engine, layout, reads, parents, y, nodes)
    engine.check_against_forward()


def check_nodes(engine, given, step):
    """All nodes of a call at once: each is a sequence of one step after its own taps."""
    if "taps" not in given:
        return
    taps, residual = given["taps"], given.get("residual")
    want = oracle.forward(
        taps[..., -1:],
        engine.weight,
        engine.bias,
        initial_states=taps[..., :-1],
        activation=engine.activation,
        residual=None if residual is None else residual.unsqueeze(-1),
    )
    oracle.check(given["y"].unsqueeze(-1), want.y, f"y of run {engine.seed}, step {step}")
    if "state" in given:
        state = taps[..., 1:].to(engine.pool.dtype)
        assert same_bits(given["state"], state), f"states of run {engine.seed}, step {step}"


def call_tree(engine, layout, reads, parents):
    """y and, sometimes, the nodes' states, on the CPU."""
    batch, length = len(reads), len(parents[0])
    nodes = None
    if engine.below(4):
        shape = (batch, length, engine.dim, engine.width - 1)
        nodes = torch.full(shape, 7.0, dtype=engine.pool.dtype).to(engine.backend.device)
    given = dict(conv_state_indices=engine.index(reads), parents=engine.index(parents))
    if engine.kind == "window":
        counts = [engine.counts[read] if read >= 0 else -5 for read in reads]
        given["num_accepted_tokens"] = engine.index(counts)
    y = ccmps.causal_conv1d_update(
        engine.on_device(layout.x),
        engine.device_pool,
        **engine.parameters(),
        **given,
        residual=engine.on_device(layout.residual),
        intermediate_states=nodes,
    )
    return y.cpu(), None if nodes is None else nodes.cpu()


def accept_nodes(engine, layout, reads, parents, y, nodes):
    """The engine's part: the state of the accepted node goes to the row, here and on the device."""
    if nodes is None:
        return
    for b, read in enumerate(reads):
        if read < 0 or read in reads[:b]:
            continue
        path = path_to(engine.below(len(parents[b])), parents[b])
        more = [layout.rows(t)[b][:, path] for t in (layout.x, y, layout.residual) if t is not None]
        columns = slice(engine.columns - (engine.width - 1), engine.columns)
        if engine.kind == "window":
            columns = slice(0, engine.width - 1)
        for pool in (engine.pool, engine.device_pool):
            pool[read, :, columns] = nodes[b, path[-1]].to(pool.device)
        engine.know(read, int(engine.kind == "window"), *engine.with_tokens(read, *more))
