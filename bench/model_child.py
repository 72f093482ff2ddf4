"""One transformers model in one variant, in a process of its own: JSON on standard output.

A modeling file takes its convolution when it is imported, so each variant needs a fresh process.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time

import torch

import causal_conv1d_mps as ccmps

from .timing import synchronize

# hidden size, layers, vocabulary; batch and tokens of forward, training and prefill; decoded tokens
SIZES = {
    "tiny": (64, 4, 256, 1, 32, 4),
    "small": (256, 4, 2048, 2, 512, 32),
    "medium": (1024, 8, 16384, 2, 1024, 32),
    "large": (2048, 16, 65536, 4, 2048, 64),
}
VARIANTS = ("without", "install", "fuse")
PHASES = ("forward", "training", "prefill", "decode")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def _attention(hidden):
    heads = max(2, hidden // 64)
    return dict(num_attention_heads=heads, num_key_value_heads=heads // 2)


def _lfm2(hidden, layers):
    """Two convolution layers of three, as in LFM2-1.2B."""
    kinds = ["full_attention" if n % 3 == 2 else "conv" for n in range(layers)]
    return dict(intermediate_size=4 * hidden, layer_types=kinds, **_attention(hidden))


def _mamba2(hidden, _layers):
    return dict(num_heads=2 * hidden // 32, head_dim=32, state_size=64, n_groups=1, chunk_size=64)


def _qwen3_next(hidden, layers):
    kinds = ["full_attention" if n % 4 == 3 else "linear_attention" for n in range(layers)]
    return dict(
        **_attention(hidden),
        head_dim=32,
        intermediate_size=2 * hidden,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
        linear_num_key_heads=hidden // 32,
        linear_num_value_heads=hidden // 32,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=hidden // 2,
        shared_expert_intermediate_size=hidden // 2,
        layer_types=kinds,
    )


def _falcon_h1(hidden, _layers):
    return dict(
        **_attention(hidden),
        intermediate_size=2 * hidden,
        mamba_d_ssm=2 * hidden,
        mamba_n_heads=2 * hidden // 32,
        mamba_d_head=32,
        mamba_d_state=64,
        mamba_chunk_size=64,
    )


MODELS = {
    "LFM2": ("Lfm2", _lfm2),
    "Mamba-2": ("Mamba2", _mamba2),
    "Qwen3-Next": ("Qwen3Next", _qwen3_next),
    "Falcon-H1": ("FalconH1", _falcon_h1),
}


def build(name, size, device, dtype):
    import transformers

    prefix, options = MODELS[name]
    hidden, layers, vocabulary, *_ = SIZES[size]
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **options(hidden, layers),
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{prefix}ForCausalLM")(config)
    return model.to(device, DTYPES[dtype]).eval()


def phases(model, size, device):
    """{phase: a function that runs it once, and one that makes its arguments}."""
    _, _, vocabulary, batch, tokens, steps = SIZES[size]
    ids = torch.randint(3, vocabulary, (batch, tokens)).to(device)

    @torch.no_grad()
    def forward():
        return model(input_ids=ids, use_cache=False).logits

    def training():
        model.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    @torch.no_grad()
    def prefill():
        return model(input_ids=ids[:1], use_cache=True, logits_to_keep=1)

    output = prefill()
    held = "past_key_values" if "past_key_values" in output else "cache_params"
    cache, one = {held: output[held]}, ids[:1, :1]

    @torch.no_grad()
    def decode(cache):
        for _ in range(steps):
            model(input_ids=one, use_cache=True, **cache)

    def nothing():
        return ()

    def copied():  # decoding always starts from the same cache
        return (copy.deepcopy(cache),)

    run = {"forward": forward, "training": training, "prefill": prefill}
    return {**{name: (call, nothing) for name, call in run.items()}, "decode": (decode, copied)}


def seconds(function, arguments, device, budget):
    """Median of at least three runs, and of as many as fit the budget."""
    samples = []
    function(*arguments())
    synchronize(device)
    end = time.perf_counter() + budget
    while len(samples) < 3 or (time.perf_counter() < end and len(samples) < 50):
        given = arguments()
        synchronize(device)
        start = time.perf_counter()
        function(*given)
        synchronize(device)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def profile(model, size, device, rows=10):
    """Where the time of one short-convolution block goes, forward and backward.

    Operators by their own time, [{name, us, calls}] per run of the block.
    """
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    block = next((m for m in model.modules() if type(m).__name__.endswith("ShortConv")), None)
    if block is None:
        return []
    hidden, _, _, batch, tokens, _ = SIZES[size]
    like = next(model.parameters())
    x = torch.randn(batch, tokens, hidden).to(like).requires_grad_()
    dy = torch.randn(batch, tokens, hidden).to(like)

    def run():
        block(x).backward(dy)

    run()
    repeats = 5
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    with profiler(activities=kinds) as recorded:
        for _ in range(repeats):
            run()
        synchronize(device)
    where = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    found = [
        dict(name=row.key, us=getattr(row, where) / repeats, calls=row.count / repeats)
        for row in recorded.key_averages()
    ]
    return sorted((row for row in found if row["us"] > 0), key=lambda row: -row["us"])[:rows]


def measure(options):
    if options.variant == "install":
        ccmps.install(force=True)
    model = build(options.model, options.size, options.device, options.dtype)
    found = {"variant": options.variant, "model": options.model, "fused": 0}
    if options.variant == "fuse":
        try:
            found["fused"] = len(ccmps.fuse(model))
        except ValueError as error:
            return {**found, "refused": str(error)}
    run = phases(model, options.size, options.device)
    found["ms"] = {
        name: 1e3 * seconds(*run[name], options.device, options.seconds) for name in options.phases
    }
    if "decode" in found["ms"]:
        found["ms"]["decode"] /= SIZES[options.size][-1]
    if options.profile:
        found["profile"] = profile(model, options.size, options.device)
    return found


def main():
    options = argparse.ArgumentParser(prog="bench.model_child", description=__doc__)
    options.add_argument("--model", choices=MODELS, required=True)
    options.add_argument("--variant", choices=VARIANTS, required=True)
    options.add_argument("--size", choices=SIZES, required=True)
    options.add_argument("--device", required=True)
    options.add_argument("--dtype", choices=DTYPES, required=True)
    options.add_argument("--threads", type=int, default=0)
    options.add_argument("--seconds", type=float, required=True)
    options.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    options.add_argument("--profile", action="store_true")
    options = options.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
