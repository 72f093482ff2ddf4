"""The operations as docs/numerics.md defines them, in the order of sums that it gives, with exact
fused multiply-adds. What no order is promised for has a bound instead.

Shares nothing with the library or with tests/python. Arrays are numpy; x is (B, D, T).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from exact import F32, F64, fma, quiet, round_to, stored, widen

LARGE = 1e37  # magnitudes beyond: float32 may overflow on the way, float64 does not


@dataclass
class Exact:
    """The numbers that are stored, bit for bit."""

    values: np.ndarray


@dataclass
class Near:
    """Any rounding of a number within `error` of the value; where `free`, any number at all."""

    values: np.ndarray
    error: np.ndarray
    free: np.ndarray


def _eps(dtype):  # half an epsilon of the type that computes; 3 times where float64 checks itself
    return (2.0**-24, 2.0**-149) if dtype == F32 else (3 * 2.0**-53, 2.0**-1070)


class Sequences:
    """Which step is a tap of which: rows of (batch, first, end, state row) and ids per step."""

    def __init__(self, shape, seq_idx, cu_seqlens):
        batch, _, length = shape
        self.ids = np.zeros((batch, length), np.int64)
        self.live = np.ones((batch, 1, length), bool)
        if seq_idx is not None:
            self.ids = seq_idx.cpu().numpy().astype(np.int64)
            self.live = (self.ids >= 0)[:, None, :]
        if cu_seqlens is None:
            self.rows = [(b, 0, length, b) for b in range(batch)]
        else:
            bounds = cu_seqlens.tolist()
            self.rows = [(0, bounds[n], bounds[n + 1], n) for n in range(len(bounds) - 1)]
        self.seq_idx = seq_idx is not None

    def first_id(self, row):
        b, begin, end, _ = row
        return self.ids[b, begin] if end > begin else 0


def _history(x, states, width, row):
    """Steps -(W-1) .. of one sequence: (D, W-1 + length)."""
    b, begin, end, n = row
    past = np.zeros((x.shape[1], width - 1), x.dtype) if states is None else states[n]
    return np.concatenate([past, x[b, :, begin:end]], axis=1)


def _ids(sequences, width, row):
    """The sequence of each step of the history; the steps before it are those of the first."""
    b, begin, end, _ = row
    first = np.full(width - 1, sequences.first_id(row), np.int64)
    return np.concatenate([first, sequences.ids[b, begin:end]])


def _taps(x, states, width, sequences, row):
    """For k in 0..W-1 the tap of every step: excluded ones are 0."""
    history, ids = _history(x, states, width, row), _ids(sequences, width, row)
    length = row[2] - row[1]
    now = ids[width - 1 :]
    for k in range(width):
        same = ids[k : k + length] == now
        yield np.where(same, history[:, k : k + length], x.dtype.type(0))


@quiet
def accumulate(x, weight, bias, states, sequences):
    acc = np.zeros(x.shape, x.dtype)
    if bias is not None:
        acc += bias[:, None]
    width = weight.shape[1]
    for row in sequences.rows:
        b, begin, end, _ = row
        part = np.ascontiguousarray(acc[b, :, begin:end])
        for k, tap in enumerate(_taps(x, states, width, sequences, row)):
            part = fma(np.ascontiguousarray(weight[:, k : k + 1]), tap, part)
        acc[b, :, begin:end] = part
    return acc


def final_states(stored_x, stored_states, width, sequences):
    """Copies of the last W-1 steps, as they are stored."""
    rows = len(sequences.rows)
    out = np.zeros((rows, stored_x.shape[1], width - 1), stored_x.dtype)
    for row in sequences.rows:
        _, _, _, n = row
        history, ids = _history(stored_x, stored_states, width, row), _ids(sequences, width, row)
        last = _last_step(ids, width)
        if last is None:
            out[n] = history[:, : width - 1]
        else:
            kept = ids[last + 1 : last + width] == ids[last + width - 1]
            out[n] = np.where(kept, history[:, last + 1 : last + width], 0)
    return out


def _last_step(ids, width):
    """The last step that is no padding, counted from the sequence's first; None: there is none."""
    live = np.nonzero(ids[width - 1 :] >= 0)[0]
    return int(live[-1]) if live.size else None


@quiet
def activated(acc, live, residual, silu, dtype):
    """y from the pre-activation, which is exact."""
    work = acc.dtype
    if not silu:
        y = acc if residual is None else acc + residual
        return Exact(round_to(np.where(live, y, work.type(0)), dtype))
    u, tiny = _eps(work)
    wide = acc.astype(F64)
    e = np.exp(-np.abs(wide))
    value = np.where(wide < 0, wide * e, wide) / (1 + e)
    error = 4 * u * np.abs(value) + 2 * tiny + 2.0**-1074 * np.abs(wide)
    error = np.where(wide < (-88 if work == F32 else -708), error + np.abs(value), error)
    if residual is not None:
        value = value + residual
        error = error + u * np.abs(value)
    elif dtype.itemsize == 2:
        error = error + 2.0**-16.5 * np.abs(value)
    error = np.where(np.isfinite(value), error, 0)
    # The residual's sum may lie on the other side of the largest float32.
    free = (np.abs(value) > LARGE) & np.isfinite(wide) & (residual is not None) & (work == F32)
    return Near(*(np.where(live, each, 0) for each in (value, error)), free & live)


@quiet
def _slope(dout, acc):
    """dout * silu'(acc) in float64 and how far from it a result of the type of acc may be."""
    u, tiny = _eps(acc.dtype)
    a, d = acc.astype(F64), dout.astype(F64)
    e = np.exp(-np.abs(a))
    s = np.where(a >= 0, 1 / (1 + e), e / (1 + e))
    rest = np.where(a >= 0, e / (1 + e), 1 / (1 + e))
    # A zero times infinity is NaN, as in s * (1 + acc * (1 - s)).
    value = s * (1 + a * rest)
    error = 10 * u * s * (1 + np.abs(a) * rest) + 4 * tiny * (1 + np.abs(a))
    error = np.where(a < (-86 if acc.dtype == F32 else -700), error + np.abs(value), error)
    # dout * s may be subnormal, and its rounding is multiplied.
    error = np.abs(d) * error + 2 * u * np.abs(d * value) + tiny * (2 + np.abs(a) * rest)
    value = d * value
    if acc.dtype == F32:
        error = np.where(np.abs(value) > LARGE, np.inf, error)
    return value, np.where(np.isnan(value), 0, error)


class Backward:
    """Gradients of one call: dx and dinitial exactly where there is no activation, else near."""

    @quiet
    def __init__(self, call, dout, dfinal):
        self.call, self.dfinal = call, dfinal
        self.x, self.weight, self.bias, self.states = call.wide()
        work, silu = self.x.dtype, call.activation is not None
        self.sequences = Sequences(self.x.shape, call.seq_idx, call.cu_seqlens)
        acc = accumulate(self.x, self.weight, self.bias, self.states, self.sequences)
        dout = widen(dout)
        live = self.sequences.live
        if silu:
            value, error = _slope(dout, acc)
            self.dpre, self.dpre_error = np.where(live, value, 0), np.where(live, error, 0)
        else:
            self.dpre = np.where(live, dout, work.type(0))
            self.dpre_error = np.zeros(self.x.shape)
        self.exact = not silu
        self._steps()
        self._sums()

    @quiet
    def _steps(self):
        """dx and dinitial_states, sequence by sequence."""
        width = self.weight.shape[1]
        kind = self.x.dtype if self.exact else F64
        dx = [np.zeros(self.x.shape, kind) for _ in range(3)]
        shape = (len(self.sequences.rows), self.x.shape[1], width - 1)
        dstates = [np.zeros(shape, kind) for _ in range(3)]
        dfinal = widen(self.dfinal)
        for row in self.sequences.rows:
            b, begin, end, n = row
            arrays = self._row(row, None if dfinal is None else dfinal[n])
            for target, array in zip(dx, arrays):
                target[b, :, begin:end] = array[:, width - 1 :]
            for target, array in zip(dstates, arrays):
                target[n] = array[:, : width - 1]
        self.dx, self.dstates = self._result(dx), self._result(dstates)

    def _row(self, row, dfinal):
        """Of the history of one sequence: the gradient, its error, and the sum of magnitudes."""
        b, begin, end, _ = row
        width, length = self.weight.shape[1], end - begin
        ids = _ids(self.sequences, width, row)
        start = self._from_final(dfinal, ids)
        value = start if self.exact else start.astype(F64)
        error, size = np.zeros(value.shape), np.abs(start.astype(F64))
        if length == 0:  # the final state is the initial one
            return value, error, size
        steps = np.arange(ids.size)
        for k in range(width):
            target = steps - k  # the step, counted from the sequence's first, whose k-th tap it is
            inside = (target >= 0) & (target < length)
            target = np.where(inside, target, 0)
            inside &= ids[np.minimum(target + width - 1, ids.size - 1)] == ids
            weight = np.ascontiguousarray(self.weight[:, k : k + 1])
            dpre = np.where(inside, self.dpre[b][:, begin + target], value.dtype.type(0))
            wrong = np.where(inside, self.dpre_error[b][:, begin + target], 0.0)
            if self.exact:
                value = fma(weight, dpre, value)
                continue
            weight = weight.astype(F64)
            value = value + weight * dpre
            error += np.where(wrong == 0, 0, np.abs(weight) * wrong)
            size += np.abs(weight * dpre)
        if self.sequences.seq_idx:  # nothing flows to padding
            value = np.where(ids < 0, start, value)
            error, size = np.where(ids < 0, 0, error), np.where(ids < 0, 0, size)
        return value, error, size

    def _from_final(self, dfinal, ids):
        """The gradient of the final state that each step of the history was copied to."""
        width = self.weight.shape[1]
        out = np.zeros((self.x.shape[1], ids.size), self.x.dtype)
        if dfinal is None or width == 1:
            return out
        last = _last_step(ids, width)
        if last is None:
            out[:, : width - 1] = dfinal
        else:
            kept = ids[last + 1 : last + width] == ids[last + width - 1]
            out[:, last + 1 : last + width] = np.where(kept, dfinal, 0)
        return out

    def _result(self, arrays):
        value, error, size = arrays
        width = self.weight.shape[1]
        if self.exact:
            return Exact(round_to(value, self.call.x.dtype))
        u, tiny = _eps(self.x.dtype)
        error = 1.001 * error + min(width + 1, 16) * u * size + (width + 2) * tiny
        return Near(value, error, self._free(value, size + error))

    def _free(self, value, size):
        """Where the order of operations decides what overflows."""
        if self.x.dtype == F64:
            return ~(size < 1e300)
        return ~(size < LARGE) & ~np.isnan(value)

    @quiet
    def _sums(self):
        """dweight and dbias: no order is promised to be the same for every layout."""
        (batch, dim, length), width = self.x.shape, self.weight.shape[1]
        u, tiny = _eps(self.x.dtype)
        shape = (dim, width + 1)
        value, error, size = (np.zeros(shape) for _ in range(3))
        for row in self.sequences.rows:
            b, begin, end, _ = row
            dpre = self.dpre[b, :, begin:end].astype(F64)
            wrong = self.dpre_error[b, :, begin:end]
            live = np.broadcast_to(self.sequences.live, (batch, 1, length))[b, :, begin:end]
            taps = _taps(self.x, self.states, width, self.sequences, row)
            for k, tap in enumerate([*taps, np.ones((dim, end - begin))]):
                tap = np.where(live, tap.astype(F64), 0)  # whatever padded memory holds
                value[:, k] += (dpre * tap).sum(1)
                size[:, k] += np.abs(dpre * tap).sum(1)
                error[:, k] += np.where(wrong == 0, 0, wrong * np.abs(tap)).sum(1)
        growth = (np.log2(max(batch * length, 1)) + 2) * 2 * u
        error = 1.001 * error + growth * size + (width + batch * length + 2) * tiny
        free = self._free(value, size + error)
        near = [Near(value[:, p], error[:, p], free[:, p]) for p in (np.s_[:width], width)]
        self.dweight, self.dbias = near


def varlen_states(x, cu_seqlens, length):
    """x (total, D) as stored."""
    bounds = cu_seqlens.tolist()
    out = np.zeros((len(bounds) - 1, x.shape[1], length), x.dtype)
    for n, (begin, end) in enumerate(itertools.pairwise(bounds)):
        count = min(length, end - begin)
        if count:
            out[n, :, length - count :] = x[end - count : end].T
    return out


def update(call):
    """The pre-activations (D, T of every row), which rows are live, and the stored states after."""
    x, weight, bias, _ = call.wide()
    x = x.reshape(*x.shape[:2], x.shape[2] if x.ndim == 3 else 1)
    stored_x = round_to(widen(call.x), call.conv_state.dtype).reshape(x.shape)
    state, stored_state = widen(call.conv_state), stored(call.conv_state).copy()
    (batch, dim, length), width = x.shape, weight.shape[1]
    size = state.shape[2]
    taps = np.zeros((batch, dim, width - 1), x.dtype)
    live = np.ones((batch, 1, 1), bool)
    before = stored_state.copy()
    for b in range(batch):
        slot = b if call.conv_state_indices is None else int(call.conv_state_indices[b])
        to = slot if call.conv_state_out_indices is None else int(call.conv_state_out_indices[b])
        padded = min(slot, to) < 0 or call.pad_slot_id in (slot, to)
        if call.conv_state_indices is not None and padded:
            live[b] = False
            continue
        back = np.arange(width - 1, 0, -1)
        if call.cache_seqlens is not None:
            begin = int(call.cache_seqlens[b])
            stored_state[to] = before[slot]
            if size:
                taps[b] = state[slot][:, (begin - back) % size]
                for t in range(length):
                    stored_state[to, :, (begin + t) % size] = stored_x[b, :, t]
            continue
        if call.num_accepted_tokens is not None:
            origin = int(call.num_accepted_tokens[b]) + width - 2
            taps[b] = state[slot][:, origin - back]
            if width > 1:
                kept = before[slot][:, origin - back[1:]]
                window = np.concatenate([kept, stored_x[b]], axis=1)
                stored_state[to, :, : window.shape[1]] = window
            continue
        taps[b] = state[slot][:, size - back]
        both = np.concatenate([before[slot], stored_x[b]], axis=1)
        stored_state[to] = both[:, both.shape[1] - size :]
    sequences = Sequences(x.shape, None, None)
    return accumulate(x, weight, bias, taps, sequences), live, stored_state
