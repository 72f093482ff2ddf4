"""What users write, checked by `mypy --strict` in `make check`; nothing runs it."""

import torch
from torch import Tensor

import causal_conv1d_mps as ccmps
from causal_conv1d_mps.compat import dao, fla, sglang, vllm
from causal_conv1d_mps.compat.sglang import triton
from causal_conv1d_mps.compat.vllm import block_tables
from causal_conv1d_mps.nn import CausalConv1d, ShortConvolution

x = torch.randn(2, 8, 16)
weight = torch.randn(8, 4)
bias = torch.randn(8)
cu_seqlens = torch.tensor([0, 16], dtype=torch.int32)

y: Tensor = ccmps.causal_conv1d(x, weight, bias, activation="silu")
plain: Tensor = ccmps.causal_conv1d_fn(x, weight, bias, cu_seqlens=cu_seqlens, residual=x, out=y)
pair: tuple[Tensor, Tensor] = ccmps.causal_conv1d_fn(x, weight, return_final_states=True)
dao_style: tuple[Tensor, Tensor] = ccmps.causal_conv1d_fn(x, weight, bias, None, None, True)
forward_only: Tensor = ccmps.causal_conv1d_fwd(x, weight, silu_activation=True)
state: Tensor = torch.zeros(2, 8, 3)
prefilled: Tensor = ccmps.causal_conv1d_fn(
    x, weight, conv_states=state, has_initial_state=torch.tensor([True, False]), pad_slot_id=-1
)
step: Tensor = ccmps.causal_conv1d_update(
    x[..., 0], state, weight, bias, "silu", conv_state_indices=cu_seqlens, pad_slot_id=-1
)
states: Tensor = ccmps.causal_conv1d_varlen_states(x[0].t(), cu_seqlens, 3)

module = CausalConv1d(8, width=4, activation="silu", dtype=torch.bfloat16)
kernel: torch.nn.Parameter = module.weight
from_module: Tensor = module.forward(x)
with_states: tuple[Tensor, Tensor] = module.forward(x, return_final_states=True)
short = ShortConvolution(8, kernel_size=4)
out, cache = short.forward(x.transpose(1, 2), output_final_state=True)
elements: int = short.state_size
if cache is not None:
    cache.zero_()

layer: torch.nn.Conv1d = fla.ShortConvolution(8, 4)
hidden, kept = fla.causal_conv1d(x, weight, output_final_state=True)
served: Tensor = vllm.causal_conv1d_fn(x[0], weight, None, state, cu_seqlens)
blocks: Tensor = block_tables.causal_conv1d_update(x[..., 0], state, weight)
verified: Tensor = triton.causal_conv1d_update(x, state, weight, None, True)
decoded: Tensor = sglang.causal_conv1d_update(x[..., 0], state, weight, activation="silu")
dropped: Tensor = dao.CausalConv1dFn.apply(x, weight)

available: list[str] = [b["name"] for b in ccmps.backends() if b["available"]]
seconds: float = sum(one.seconds for one in ccmps.warmup(8, dtype=torch.float16))
ccmps.warmup(8, layouts="BTD", device="cpu", progress=lambda compiled: print(compiled.kernel))
version: str = ccmps.__version__
block = ccmps.nn.GatedShortConvolution(8, 3)
between, last_taps = block(torch.zeros(2, 5, 24), output_final_state=True)
between, last_taps = block.step(torch.zeros(2, 1, 24), cache=last_taps)
replaced: dict[str, str] = ccmps.fuse(torch.nn.ModuleList([torch.nn.Linear(2, 2)]))
replaced = ccmps.unfuse(block)

ccmps.install(force=True)
ccmps.uninstall()
print(ccmps.info())


def wrong() -> None:
    """Each line has to be an error: mypy reports an ignore that nothing needs."""
    ccmps.causal_conv1d(x, weight, bias, activation=3)  # type: ignore[arg-type]
    ccmps.causal_conv1d_fn(x, weight, cu_seqlens, residuals=x)  # type: ignore[call-overload]
    ccmps.causal_conv1d_update(x, state)  # type: ignore[call-arg]
    ccmps.warmup(8, layouts="TBD")  # type: ignore[arg-type]
    CausalConv1d("8")  # type: ignore[arg-type]
