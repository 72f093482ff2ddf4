"""Modules around the functions; parameters are named, shaped and initialised as in nn.Conv1d."""

import math

import torch

from . import _checks, _composite, _states, _tables
from ._compat import any_autocast
from ._convolution import autocast
from ._projection import convolve_projection, parts_of
from ._watch import any_requires_grad
from .functional import causal_conv1d_fn, causal_conv1d_update

__all__ = ["CausalConv1d", "GatedShortConvolution", "ShortConvolution"]


class _Depthwise(torch.nn.Module):
    """The parameters of nn.Conv1d(dim, dim, width, groups=dim), and its initialisation."""

    def __init__(self, dim, width, bias, activation, device, dtype):
        super().__init__()
        if dim < 1 or width < 1:
            raise ValueError(f"dim, width: expected positive numbers, got {dim} and {width}")
        _checks.activation_code(activation)
        self.dim = dim
        self.width = width
        self.activation = activation
        self.weight = torch.nn.Parameter(torch.empty(dim, 1, width, device=device, dtype=dtype))
        if bias:
            self.bias = torch.nn.Parameter(torch.empty(dim, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        """The same numbers from the same random state as nn.Conv1d."""
        torch.nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.width)
            torch.nn.init.uniform_(self.bias, -bound, bound)

    def _load_from_state_dict(self, state_dict, prefix, *arguments):
        # A (D, W) weight, as the functions take it, loads as well.
        key = prefix + "weight"
        if key in state_dict and state_dict[key].dim() == 2:
            state_dict[key] = state_dict[key].unsqueeze(1)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def _check_x(self, x, channels, letters, parts=1):
        """x (B, D, T) for (B, T, D) and the other way round: a wrong weight would be reported."""
        if isinstance(x, torch.Tensor) and not x.is_nested and x.dim() == 3:
            if x.shape[channels] == parts * self.dim:
                return
            transposed = x.shape[3 - channels] == parts * self.dim
            hint = "; x.transpose(1, 2) has it" if transposed else ""
            raise ValueError(
                f"x: expected shape {letters} with D = {self.dim}, got {tuple(x.shape)}{hint}"
            )
        _checks.require_named(x=x)
        if isinstance(x, torch.Tensor):
            raise ValueError(f"x: expected shape {letters}, got {tuple(x.shape)}")

    def extra_repr(self):
        text = f"{self.dim}, width={self.width}"
        if self.bias is None:
            text += ", bias=False"
        if self.activation is not None:
            text += f", activation={self.activation!r}"
        return text


class CausalConv1d(_Depthwise):
    """Depthwise causal convolution of (B, D, T) tensors, with fused bias and activation.

    state_dict and initialisation are those of nn.Conv1d(dim, dim, width, groups=dim).
    """

    def __init__(self, dim, width=4, bias=True, activation=None, *, device=None, dtype=None):
        super().__init__(dim, width, bias, activation, device, dtype)

    def forward(
        self,
        x,
        seq_idx=None,
        initial_states=None,
        return_final_states=False,
        *,
        cu_seqlens=None,
        residual=None,
        lengths=None,
    ):
        """x: (B, D, T). The other arguments are those of causal_conv1d_fn."""
        self._check_x(x, 1, "(B, D, T)")
        return causal_conv1d_fn(
            x,
            self.weight,
            self.bias,
            seq_idx,
            initial_states,
            return_final_states,
            activation=self.activation,
            cu_seqlens=cu_seqlens,
            residual=residual,
            lengths=lengths,
        )

    def step(self, x, conv_state, **options):
        """Decode x (B, D) or (B, D, T); conv_state (B, D, S) changes in place.

        The options are those of causal_conv1d_update.
        """
        return causal_conv1d_update(
            x, conv_state, self.weight, self.bias, self.activation, **options
        )


class ShortConvolution(_Depthwise):
    """The same for (B, T, D) tensors, called as flash-linear-attention's module of this name.

    The cache is a tensor (N, D, S) of the last steps, S >= W-1; the module makes them with S = W.
    """

    def __init__(
        self,
        hidden_size,
        kernel_size=4,
        bias=False,
        activation="silu",
        *,
        device=None,
        dtype=None,
    ):
        super().__init__(hidden_size, kernel_size, bias, activation, device, dtype)

    @property
    def state_size(self):
        """The number of elements that the cache of one sequence holds."""
        return self.dim * self.width

    def forward(
        self,
        x,
        residual=None,
        mask=None,
        cache=None,
        output_final_state=False,
        cu_seqlens=None,
        *,
        lengths=None,
    ):
        """x: (B, T, D). Returns (y, cache); cache is None unless given or asked for.

        residual: (B, T, D), added after the activation.
        mask: (B, T), zero or False at padding: there y is 0, and nothing enters a later step or the
            cache, whatever x holds. The cache belongs to the first step, so it is not seen where
            that is padding. Not together with cu_seqlens.
        cache: (N, D, S), the steps before x. It is changed in place, except while gradients are
            recorded: then the returned cache is a new tensor. With a mask it becomes the steps up
            to the last real one; a row without a real step keeps it.
        output_final_state: return a cache even if none was given.
        cu_seqlens: (N+1,), the boundaries of packed sequences (B = 1).
        lengths: (B,) int32 or int64, from 0 to T: the steps of a row from its length on are
            padding, as with a mask that is zero there. Not together with mask or cu_seqlens.
        """
        self._check_x(x, 2, "(B, T, D)")
        packing = dict(mask=mask, cu_seqlens=cu_seqlens, lengths=lengths)
        return self._run(x, None, residual, cache, output_final_state, **packing)

    def _run(self, x, projected, residual, cache, output_final_state, **packing):
        """forward(); projected: of a gated convolution, the tensor that x is the last third of."""
        if any_autocast():
            x, residual = self._autocast(x, residual)
        given = [name for name, value in packing.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]}: cannot be combined with {given[1]}")
        mask, cu_seqlens = packing.pop("mask"), packing["cu_seqlens"]
        if mask is not None:
            packing["seq_idx"] = self._padding(mask, x)
        if cache is not None:
            self._check_cache(cache, x, x.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1)
        self._check_residual(residual, x)
        recorded = torch.is_grad_enabled() and any_requires_grad(
            x, self.weight, self.bias, cache, residual
        )
        if cache is not None and not recorded:
            _checks.writable_state("cache", cache)
        one_step = x.shape[1] == 1 and not given
        if one_step and cache is not None and residual is None and not recorded:
            return self._update(x.squeeze(1), projected, cache).unsqueeze(1), cache
        wanted = output_final_state, recorded
        return self._convolve(x, projected, residual, cache, *wanted, **packing)

    def _autocast(self, x, residual):
        names = [argument.name for argument in _tables.INPUTS["forward"]]
        given = {"x": x, "residual": residual}
        cast = autocast("forward", tuple(map(given.get, names)))
        return cast[0], cast[names.index("residual")]

    def _convolve(
        self,
        x,
        projected,
        residual,
        cache,
        output_final_state,
        recorded,
        cu_seqlens=None,
        seq_idx=None,
        lengths=None,
    ):
        rows = x.transpose(1, 2)
        before = None
        if cache is not None:
            before = cache[..., cache.shape[-1] - (self.width - 1) :]
        options = dict(
            seq_idx=seq_idx,
            initial_states=before,
            activation=self.activation,
            cu_seqlens=cu_seqlens,
            residual=None if residual is None else residual.transpose(1, 2),
            lengths=lengths,
        )
        if projected is None:
            y = causal_conv1d_fn(rows, self.weight, self.bias, **options).transpose(1, 2)
        else:
            y = convolve_projection(projected, self.weight, self.bias, **options)
        if cache is not None or output_final_state:
            if lengths is not None:
                seq_idx = _composite.step_ids(rows, None, lengths)
            carried = self._carry(rows, cache, cu_seqlens, seq_idx)
            if projected is not None:  # apart: nothing is multiplied with what lies at padding
                gate = parts_of(projected)["pre_gate"]
                kept = None if cache is None else torch.ones_like(cache)
                carried = carried * self._carry(gate, kept, cu_seqlens, seq_idx)
            cache = carried if cache is None or recorded else cache.copy_(carried)
        return y, cache

    def _padding(self, mask, x):
        """The mask as a seq_idx: 0 at real steps, -1 at padding."""
        if not isinstance(mask, torch.Tensor):
            raise TypeError(f"mask: expected a torch.Tensor, got {type(mask).__name__}")
        if mask.shape != x.shape[:2]:
            raise ValueError(
                f"mask: expected shape (B, T) = {tuple(x.shape[:2])}, got {tuple(mask.shape)}"
            )
        _checks.require_device("mask", mask, x.device, "x")
        return (mask != 0).to(torch.int32) - 1

    def _carry(self, x, cache, cu_seqlens, seq_idx):
        """The last S steps of every sequence, reaching back into its old cache."""
        if cu_seqlens is not None:
            size = self.width if cache is None else cache.shape[-1]
            return _composite.packed_final_states(x, size + 1, cu_seqlens, cache)
        if cache is None:
            cache = x.new_zeros(x.shape[0], x.shape[1], self.width)
        if seq_idx is not None:
            return _composite.masked_final_states(x, cache, seq_idx)
        size, length = cache.shape[-1], x.shape[-1]
        kept = torch.cat([cache, x[..., max(length - size, 0) :]], dim=-1)
        return kept[..., kept.shape[-1] - size :]

    def _update(self, rows, projected, cache):
        gates = {}
        if projected is not None:
            gates = parts_of(projected.reshape(-1, 1, 3 * self.dim))
            gates = {name: gate[..., 0] for name, gate in gates.items() if name != "x"}
        y = causal_conv1d_update(rows, cache, self.weight, self.bias, self.activation, **gates)
        return y.to(rows.dtype)  # under autocast the cache may have another dtype

    def _check_cache(self, cache, x, sequences):
        """A wrong cache would be refused as the argument that it is passed on as."""
        if not isinstance(cache, torch.Tensor):
            raise TypeError(f"cache: expected a torch.Tensor, got {type(cache).__name__}")
        shape = tuple(cache.shape)
        if len(shape) != 3 or shape[:2] != (sequences, self.dim) or shape[2] < self.width - 1:
            raise ValueError(
                f"cache: expected shape ({sequences}, {self.dim}, S) with S >= W-1 = "
                f"{self.width - 1}, got {shape}"
            )
        if cache.dtype != x.dtype and not any_autocast():
            raise TypeError(f"cache: expected {x.dtype} like x, got {cache.dtype}")
        if cache.device != x.device:
            raise ValueError(
                f"cache: expected a tensor on {x.device}, where x is, got one on {cache.device}"
            )

    def _check_residual(self, residual, x):
        """A wrong one would be refused in the kernels' layout, or reshaped into a right one."""
        if residual is None:
            return
        if not isinstance(residual, torch.Tensor):
            raise TypeError(f"residual: expected a torch.Tensor, got {type(residual).__name__}")
        if residual.shape != x.shape:
            raise ValueError(
                f"residual: expected shape {tuple(x.shape)} like x, got {tuple(residual.shape)}"
            )
        _checks.require_device("residual", residual, x.device, "x")

    def step(self, x, residual=None, cache=None, output_final_state=False, cu_seqlens=None):
        """Decode one step of every sequence: x (B, 1, D), or (1, N, D) with cu_seqlens.

        The cache changes in place; a missing one is all zeros. Returns (y, cache). Not
        differentiable.
        """
        self._check_step(x, cu_seqlens)
        return self._step(x, None, residual, cache, output_final_state)

    def _check_step(self, x, cu_seqlens, parts=1):
        batch, length = ("B", 1) if cu_seqlens is None else (1, len(cu_seqlens) - 1)
        letters = f"({batch}, {length}, {'D' if parts == 1 else f'{parts} D'})"
        self._check_x(x, 2, letters, parts)
        if x.shape[1] != length or batch not in ("B", x.shape[0]):
            raise ValueError(f"x: expected shape {letters}, got {tuple(x.shape)}")

    def _step(self, x, projected, residual, cache, output_final_state):
        if any_autocast():
            x, residual = self._autocast(x, residual)
        self._check_residual(residual, x)
        rows = x.reshape(-1, x.shape[-1])
        if cache is None:
            fresh = x.new_zeros(rows.shape[0], self.dim, self.width)
        else:
            self._check_cache(cache, x, rows.shape[0])
            _checks.refuse_recorded("cache", cache)
            _checks.writable_state("cache", cache)
            fresh = cache
        if residual is None:
            y = self._update(rows, projected, fresh)
        else:
            # The residual is added before the one rounding, as in forward().
            with torch.no_grad():
                if projected is not None:
                    projected = projected.reshape(-1, 1, 3 * self.dim)
                added = residual.reshape(rows.shape).unsqueeze(1)
                y, _ = self._convolve(rows.unsqueeze(1), projected, added, fresh, True, False)
            y = _states.without_derivative(y, x, self.weight, self.bias, residual)
        return y.reshape(x.shape), fresh if cache is not None or output_final_state else None


class GatedShortConvolution(ShortConvolution):
    """post_gate * act(conv(pre_gate * x)), as LFM2's block between its two projections.

    The input is the projection itself, (B, T, 3 D): pre_gate, post_gate and x (there B, C, x) lie
    beside each other and are read where they lie. The cache is that of ShortConvolution, (N, D, S);
    it holds pre_gate * x.
    """

    def __init__(self, dim, width=3, bias=False, activation=None, *, device=None, dtype=None):
        super().__init__(dim, width, bias, activation, device=device, dtype=dtype)

    def forward(
        self,
        x,
        residual=None,
        mask=None,
        cache=None,
        output_final_state=False,
        cu_seqlens=None,
        *,
        lengths=None,
        seq_idx=None,
    ):
        """x: (B, T, 3 D). Returns (y, cache), y (B, T, D); cache is None unless given or asked for.

        residual: (B, T, D), added last.
        seq_idx: (B, T) int32 or int64. A step sees only steps of its own index; negative: padding.
        The other arguments are those of ShortConvolution. At most one of mask, seq_idx, cu_seqlens
        and lengths.
        """
        self._check_x(x, 2, "(B, T, 3 D)", 3)
        projected, residual = self._cast(x, residual)
        packing = dict(mask=mask, cu_seqlens=cu_seqlens, lengths=lengths, seq_idx=seq_idx)
        options = residual, cache, output_final_state
        return self._run(projected[..., -self.dim :], projected, *options, **packing)

    def step(self, x, residual=None, cache=None, output_final_state=False, cu_seqlens=None):
        """Decode one step of every sequence: x (B, 1, 3 D), or (1, N, 3 D) with cu_seqlens.

        As ShortConvolution.step.
        """
        self._check_step(x, cu_seqlens, 3)
        projected, residual = self._cast(x, residual)
        return self._step(
            projected[..., -self.dim :], projected, residual, cache, output_final_state
        )

    def _cast(self, projected, residual):
        """As autocast wants it; once, instead of for each part."""
        return self._autocast(projected, residual) if any_autocast() else (projected, residual)
