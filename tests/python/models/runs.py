"""What the tests with real models run."""

import contextlib
from itertools import pairwise

import torch

NAMES = ("causal_conv1d_fn", "causal_conv1d_update")


@contextlib.contextmanager
def pytorch_path(model):
    """The model file's own functions instead of the drop-in's."""
    modeling = model.modeling
    ours = {name: getattr(modeling, name) for name in NAMES}
    try:
        for name, function in ours.items():
            setattr(modeling, name, function.__wrapped__)
        yield
    finally:
        for name, function in ours.items():
            setattr(modeling, name, function)


def prompt(batch=2, length=9):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 97, (batch, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0  # left padding
    return {"input_ids": ids, "attention_mask": mask}


def train_step(network, inputs):
    network.train().zero_grad()
    output = network(**inputs, labels=inputs["input_ids"], use_cache=False)
    output.loss.backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    return output.logits.detach(), {name: grad.clone() for name, grad in gradients.items()}


def blockwise(network, ids, bounds):
    """The logits of `ids`, fed in blocks with a cache."""
    logits, state = [], {}
    with torch.no_grad():
        for start, end in pairwise(bounds):
            output = network(input_ids=ids[:, start:end], use_cache=True, **state)
            logits.append(output.logits)
            held = "past_key_values" if "past_key_values" in output else "cache_params"
            state = {held: output[held]}
    return torch.cat(logits, dim=1)
