"""The interface of flash-linear-attention (fla-core 0.6.0, fla/modules/causal_conv1d).

Tensors are (B, T, D), states (N, D, W). backend, cu_seqlens_cpu and chunk_indices say how fla
computes and cannot change a value here: they are accepted. cp_context is refused.
Two things differ. A mask leaves x as it is, y is 0 where it is 0, nothing masked enters a state.
seq_idx holds whatever the backend, and then a state holds steps of the last sequence only.
"""

import warnings

import torch

from causal_conv1d_mps import _checks, _composite, functional

__all__ = [
    "ShortConvolution",
    "causal_conv1d",
    "causal_conv1d_update",
    "causal_conv1d_update_states",
]

_BACKENDS = ("triton", "cuda", "mix")


def causal_conv1d(
    x,
    weight=None,
    bias=None,
    residual=None,
    initial_state=None,
    output_final_state=False,
    activation=None,
    backend="triton",
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    chunk_indices=None,
    cp_context=None,
    **kwargs,
):
    """x: (B, T, D), or (B, T, ...) with D elements per step. weight: (D, W). bias: (D,).

    residual: of x's shape, added after the activation. initial_state: (N, D, W), the past steps.
    activation: None, "silu" or "swish". cu_seqlens: (N+1,), boundaries of packed sequences (B = 1).
    seq_idx, in kwargs: (B, T), the sequence of every step.
    Returns (y, final_state): y of x's shape; the last W steps (N, D, W), or None if not asked for.
    Differentiable in everything real, the states included.
    """
    seq_idx = kwargs.pop("seq_idx", None)
    _refuse(kwargs)
    if cp_context is not None:
        raise NotImplementedError("cp_context: expected None; there is no context parallelism here")
    if backend not in _BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(_BACKENDS)}, got {backend!r}")
    _checks.require_named(x=x, weight=weight)
    steps = _steps("x", x, weight)
    count = steps.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    if seq_idx is not None and cu_seqlens is not None and initial_state is not None:
        raise ValueError("initial_state: expected None with both seq_idx and cu_seqlens")
    before = None
    if initial_state is not None:
        _check_state("initial_state", initial_state, count, *weight.shape)
        before = initial_state[..., 1:]
    rows = steps.transpose(1, 2)
    y = functional.causal_conv1d_fn(
        rows,
        weight,
        bias,
        seq_idx,
        before,
        activation=activation,
        # The two say the same; fla, too, then takes seq_idx for y.
        cu_seqlens=cu_seqlens if seq_idx is None else None,
        residual=None if residual is None else _steps("residual", residual, weight).transpose(1, 2),
    )
    states = None
    if output_final_state:
        states = _final_state(rows, weight.shape[1], initial_state, cu_seqlens, seq_idx)
    return y.transpose(1, 2).reshape(x.shape), states


def causal_conv1d_update(x, cache, residual=None, weight=None, bias=None, activation=None):
    """A step for every sequence. x: (N, D), (N, 1, D) or (1, N, D). cache: (N, D, W).

    residual: of x's shape. weight: (D, W). bias: (D,).
    Returns (y, cache): y of x's shape, the cache changed in place. Not differentiable.
    """
    _checks.require_named(x=x, weight=weight)
    dim = weight.shape[0]
    rows = x.reshape(-1, dim)
    if rows.numel() != x.numel() or x.dim() < 2 or rows.shape[0] not in x.shape[:2]:
        raise ValueError(
            f"x: expected (N, D), (N, 1, D) or (1, N, D) with D = {dim}, got {tuple(x.shape)}"
        )
    _check_state("cache", cache, rows.shape[0], *weight.shape)
    if residual is not None:
        _checks.require_named(residual=residual)
        if residual.shape != x.shape:
            raise ValueError(f"residual: expected {tuple(x.shape)}, got {tuple(residual.shape)}")
        residual = residual.reshape(rows.shape)
    y = functional.causal_conv1d_update(rows, cache, weight, bias, activation, residual=residual)
    return y.reshape(x.shape), cache


def causal_conv1d_update_states(x, state_len, initial_state=None, cu_seqlens=None):
    """The last state_len steps of every sequence, with those of initial_state before them.

    x: (B, T, D), or (1, T, D) or (T, D) with cu_seqlens (N+1,). initial_state: (N, D, state_len).
    Returns (N, D, state_len).
    """
    _checks.require_named(x=x)
    steps = x.unsqueeze(0) if x.dim() == 2 and cu_seqlens is not None else x
    if steps.dim() != 3:
        raise ValueError(f"x: expected (B, T, D), got {tuple(x.shape)}")
    count = steps.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    if initial_state is not None:
        _check_state("initial_state", initial_state, count, steps.shape[2], state_len)
    return _final_state(steps.transpose(1, 2), state_len, initial_state, cu_seqlens, None)


class ShortConvolution(torch.nn.Conv1d):
    """nn.Conv1d's parameters and initialisation; forward and step take (B, T, D) and a cache."""

    def __init__(
        self,
        hidden_size,
        kernel_size,
        bias=False,
        activation="silu",
        backend="triton",
        device=None,
        dtype=None,
        **kwargs,
    ):
        """use_fast_conv1d, in kwargs, is deprecated there: it changes nothing, with a warning."""
        if "use_fast_conv1d" in kwargs:
            del kwargs["use_fast_conv1d"]
            warnings.warn("use_fast_conv1d changes nothing; leave it out", stacklevel=2)
        _refuse(kwargs)
        _checks.activation_code(activation)
        if backend not in ("cuda", "triton"):
            raise ValueError(f"backend: expected 'cuda' or 'triton', got {backend!r}")
        super().__init__(
            hidden_size,
            hidden_size,
            kernel_size,
            padding=kernel_size - 1,
            groups=hidden_size,
            bias=bias,
            device=device,
            dtype=dtype,
        )
        self.hidden_size = hidden_size
        self.activation = activation
        self.backend = backend

    def extra_repr(self):
        activation = "" if self.activation is None else f", activation={self.activation}"
        return f"{super().extra_repr()}{activation}, backend={self.backend}"

    @property
    def state_size(self):
        """The number of elements that the cache of one sequence holds."""
        return self.hidden_size * self.kernel_size[0]

    def forward(
        self,
        x,
        residual=None,
        mask=None,
        cache=None,
        output_final_state=False,
        cu_seqlens=None,
        chunk_indices=None,
        **kwargs,
    ):
        """x: (B, T, D). Returns (y, cache); cache is None unless output_final_state.

        mask: (B, T), zero at padding; not with cu_seqlens. cache: (N, D, W), the steps before x.
        One step per sequence without gradients changes the cache in place; every other call leaves
        it and returns a new one. The other arguments are causal_conv1d's.
        """
        if mask is not None:
            if cu_seqlens is not None or kwargs.get("seq_idx") is not None:
                raise ValueError("mask: expected None with cu_seqlens or seq_idx")
            kwargs["seq_idx"] = _padding(mask, x)
        if not torch.is_grad_enabled() and _one_step_each(x, cu_seqlens):
            if mask is None:
                return self.step(x, residual, cache, output_final_state, cu_seqlens)
            y, after = self._convolve(x, residual, cache, True, cu_seqlens, **kwargs)
            if cache is not None:
                after = cache.copy_(after)
            return y, after if output_final_state else None
        return self._convolve(x, residual, cache, output_final_state, cu_seqlens, **kwargs)

    def _convolve(self, x, residual, cache, output_final_state, cu_seqlens, **kwargs):
        return causal_conv1d(
            x,
            self.weight.squeeze(1),
            self.bias,
            residual,
            cache,
            output_final_state,
            self.activation,
            cu_seqlens=cu_seqlens,
            **kwargs,
        )

    def step(self, x, residual, cache, output_final_state=False, cu_seqlens=None):
        """One step: x (B, 1, D), or (1, N, D) with cu_seqlens. The cache changes in place.

        Returns (y, cache); the cache is None unless output_final_state.
        """
        _checks.require_named(x=x)
        weight = self.weight.squeeze(1)
        if cache is None:
            cache = x.new_zeros(x.shape[0] * x.shape[1], *weight.shape)
        y, cache = causal_conv1d_update(x, cache, residual, weight, self.bias, self.activation)
        return y, cache if output_final_state else None


def _refuse(kwargs):
    for name in kwargs:
        raise TypeError(f"{name}: not an argument that can be honoured here")


def _steps(name, tensor, weight):
    """(B, T, ...) as (B, T, D)."""
    _checks.require_named(**{name: tensor})
    dim = weight.shape[0]
    if tensor.dim() < 3 or tensor.shape[2:].numel() != dim:
        raise ValueError(f"{name}: expected (B, T, D) with D = {dim}, got {tuple(tensor.shape)}")
    return tensor.flatten(2)


def _check_state(name, state, *expected):
    """A wrong one would be refused as the part of it that the kernels read."""
    _checks.require_named(**{name: state})
    if state.shape != expected:
        raise ValueError(f"{name}: expected (N, D, W) = {expected}, got {tuple(state.shape)}")


def _final_state(rows, size, before, cu_seqlens, seq_idx):
    """The last `size` steps of every sequence of rows (B, D, T), differentiable."""
    if cu_seqlens is not None:
        return _composite.packed_final_states(rows, size + 1, cu_seqlens, before)
    if before is None:
        before = rows.new_zeros(rows.shape[0], rows.shape[1], size)
    if seq_idx is not None:
        return _composite.masked_final_states(rows, before, seq_idx)
    kept = torch.cat([before, rows[..., max(rows.shape[2] - size, 0) :]], dim=2)
    return kept[..., kept.shape[2] - size :]


def _padding(mask, x):
    """The mask as a seq_idx: 0 at real steps, -1 at padding."""
    _checks.require_named(x=x, mask=mask)
    if mask.shape != x.shape[:2]:
        raise ValueError(f"mask: expected (B, T) = {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
    return (mask != 0).to(torch.int32) - 1


def _one_step_each(x, cu_seqlens):
    """As fla decides it; packed sequences cost a look at cu_seqlens, and only if they may be."""
    steps = x.shape[0] * x.shape[1]
    if cu_seqlens is None:
        return steps == x.shape[0]
    return steps == cu_seqlens.shape[0] - 1 and bool((cu_seqlens.diff() == 1).all())
