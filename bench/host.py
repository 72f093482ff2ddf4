"""Host time per call: what a call costs besides the work, at a shape with next to no work."""

from __future__ import annotations

from dataclasses import replace

import torch

from . import candidates, timing
from .shapes import Case

TINY = Case("host", "forward", 1, 64, 8, dtype="fp32")


def _forward_and_backward(candidate):
    """A candidate that runs both passes, as a training step does."""

    def prepare(case, inputs):
        leaves = [inputs.x, inputs.weight, inputs.bias]
        for leaf in leaves:
            leaf.requires_grad_()
        forward, dout = candidate(case, inputs), torch.ones_like(inputs.x)

        def run():
            return torch.autograd.grad(forward(), leaves, dout)

        return run

    return prepare


def measure_host(device):
    """{operation: {candidate: microseconds}} at (1, 64, 8)."""
    found = {"ours": candidates.ours, "pytorch": candidates.pytorch}
    found.update(candidates.peers(TINY, device))
    results = {}
    for operation in ("forward", "update", "forward + backward"):
        case = replace(TINY, op="update", T=1) if operation == "update" else TINY
        results[operation] = {}
        for name, candidate in found.items():
            inputs = candidates.make_inputs(case, device)
            if operation == "forward + backward":
                seconds = timing.host_time(_forward_and_backward(candidate)(case, inputs), device)
            else:
                with torch.inference_mode():
                    seconds = timing.host_time(candidate(case, inputs), device)
            results[operation][name] = seconds.us
    return results
