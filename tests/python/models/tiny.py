"""Tiny, randomly initialised configurations of the models that use a short convolution.

All causal language models of transformers 5.23 that call causal_conv1d_fn are here. Not here:
glm5_next, whose only language model comes with a vision tower (its convolution is kimi_linear's);
recurrent_gemma and zaya, whose convolutions are nn.Conv1d within other code; the speech models',
which are not causal or carry their own caches.
"""

import functools
import importlib
from dataclasses import dataclass, field

VOCABULARY = 97

COMMON = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=2,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
ATTENTION = dict(num_attention_heads=4, num_key_value_heads=2, intermediate_size=48)
MAMBA2 = dict(
    mamba_n_heads=4,
    mamba_d_head=16,
    mamba_n_groups=1,
    mamba_d_state=8,
    mamba_d_conv=4,
    mamba_expand=2,
    mamba_chunk_size=8,
)
MLA = dict(kv_lora_rank=8, qk_rope_head_dim=8, v_head_dim=8, qk_nope_head_dim=8)
MOE = dict(num_experts_per_tok=1, moe_intermediate_size=16)
RELATIVE = dict(  # attention of the inkling models
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    swa_num_attention_heads=4,
    swa_num_key_value_heads=2,
    swa_head_dim=8,
    sliding_window_size=8,
    d_rel=4,
    rel_extent=16,
    layer_types=["hybrid_sliding", "hybrid"],
)
DELTA_NET = dict(
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    linear_key_head_dim=8,
    linear_value_head_dim=8,
)


@dataclass(frozen=True)
class Model:
    """A transformers model: its folder, the prefix of its class names, and a configuration."""

    folder: str
    prefix: str
    options: dict = field(default_factory=dict)
    config_class: str | None = None
    own_functions: bool = False  # the file does not ask for causal_conv1d's

    def __str__(self):
        return self.folder

    @property
    def modeling(self):
        return importlib.import_module(f"transformers.models.{self.folder}.modeling_{self.folder}")

    def build(self):
        """The causal language model, with the same weights every time."""
        import torch
        import transformers

        config_class = getattr(transformers, self.config_class or f"{self.prefix}Config")
        config = config_class(**{**COMMON, **self.options})
        torch.manual_seed(0)
        if self.own_functions:
            replace_own_functions(self.modeling)
        model = getattr(self.modeling, f"{self.prefix}ForCausalLM")(config)
        # Biases and convolutions start at or near zero; a test needs them to matter.
        for name, parameter in model.named_parameters():
            if "conv" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        return model


def replace_own_functions(modeling):
    """Where a modeling file keeps to functions of its own, what install() does for the others."""
    from causal_conv1d import causal_conv1d_fn, causal_conv1d_update

    def convolve(hidden_states, weight, bias=None, activation=None, seq_idx=None, **kwargs):
        return causal_conv1d_fn(hidden_states, weight, bias, seq_idx, activation=activation)

    for name, function in (
        ("causal_conv1d_fn", convolve),
        ("causal_conv1d_update", causal_conv1d_update),
    ):
        original = getattr(modeling, name)
        if not hasattr(original, "__wrapped__"):
            # __wrapped__, as where transformers itself has taken the functions.
            ours = functools.partial(function)
            ours.__wrapped__ = original
            setattr(modeling, name, ours)


MODELS = (
    Model("mamba", "Mamba", dict(state_size=8, time_step_rank=4)),
    Model(
        "mamba2",
        "Mamba2",
        dict(state_size=8, num_heads=4, head_dim=16, n_groups=1, chunk_size=8),
    ),
    Model("falcon_mamba", "FalconMamba", dict(state_size=8, time_step_rank=4)),
    Model("falcon_h1", "FalconH1", {**ATTENTION, **MAMBA2, "mamba_d_ssm": 64}),
    Model(
        "jamba",
        "Jamba",
        dict(
            **ATTENTION,
            num_experts=2,
            attn_layer_period=2,
            attn_layer_offset=1,
            expert_layer_period=2,
            expert_layer_offset=1,
            mamba_d_state=8,
            mamba_dt_rank=4,
        ),
    ),
    Model(
        "zamba2",
        "Zamba2",
        dict(
            **ATTENTION,
            mamba_d_state=8,
            n_mamba_heads=4,
            mamba_headdim=16,
            mamba_ngroups=1,
            chunk_size=8,
            num_mem_blocks=1,
            layers_block_type=["mamba", "hybrid"],
        ),
    ),
    Model("bamba", "Bamba", {**ATTENTION, **MAMBA2, "attn_layer_indices": [1]}),
    Model("lfm2", "Lfm2", dict(**ATTENTION, layer_types=["conv", "full_attention"])),
    Model(
        "qwen3_next",
        "Qwen3Next",
        dict(
            **ATTENTION,
            **DELTA_NET,
            head_dim=8,
            num_experts=2,
            num_experts_per_tok=1,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
            layer_types=["linear_attention", "full_attention"],
        ),
    ),
    Model(
        "qwen3_5",
        "Qwen3_5",
        dict(
            **ATTENTION,
            **DELTA_NET,
            head_dim=8,
            layer_types=["linear_attention", "full_attention"],
        ),
        config_class="Qwen3_5TextConfig",
    ),
    Model(
        "olmo_hybrid",
        "OlmoHybrid",
        dict(
            **{**ATTENTION, "num_key_value_heads": 4},
            **DELTA_NET,
            layer_types=["linear_attention", "full_attention"],
        ),
    ),
    Model(
        "nemotron_h",
        "NemotronH",
        dict(
            **ATTENTION,
            head_dim=8,
            mamba_num_heads=4,
            mamba_head_dim=16,
            ssm_state_size=8,
            n_groups=1,
            chunk_size=8,
        ),
    ),
    Model(
        "granitemoehybrid",
        "GraniteMoeHybrid",
        dict(
            **ATTENTION,
            **MAMBA2,
            num_local_experts=2,
            num_experts_per_tok=1,
            shared_intermediate_size=16,
            layer_types=["linear_attention", "full_attention"],
        ),
    ),
    Model(
        "lfm2_moe",
        "Lfm2Moe",
        dict(
            **ATTENTION,
            **MOE,
            num_experts=2,
            num_dense_layers=1,
            layer_types=["conv", "full_attention"],
        ),
    ),
    Model(
        "lfm3",
        "Lfm3",
        dict(**ATTENTION, head_dim=8, sliding_window=8, layer_types=["conv", "full_attention"]),
        own_functions=True,
    ),
    Model(
        "qwen3_5_moe",
        "Qwen3_5Moe",
        dict(
            **ATTENTION,
            **DELTA_NET,
            **MOE,
            head_dim=8,
            num_experts=2,
            shared_expert_intermediate_size=16,
            layer_types=["linear_attention", "full_attention"],
        ),
        config_class="Qwen3_5MoeTextConfig",
    ),
    Model(
        "qwen4_exp",
        "Qwen4Exp",
        dict(
            num_attention_heads=4,
            num_key_value_heads=2,
            **DELTA_NET,
            **MOE,
            head_dim=8,
            num_experts=2,
            shared_expert_intermediate_size=16,
            hc_count=2,
            hc_lowrank=8,
            indexer_n_heads=2,
            indexer_kv_heads=1,
            indexer_head_dim=8,
            indexer_budget=16,
            indexer_compress_ratio=4,
            layer_types=["linear_attention", "indexed_attention"],
        ),
        config_class="Qwen4ExpTextConfig",
    ),
    Model(
        "zamba",
        "Zamba",
        dict(
            **{**ATTENTION, "num_key_value_heads": 4},
            mamba_d_state=8,
            mamba_dt_rank=4,
            n_mamba_heads=2,
            num_hidden_layers=3,
            layers_block_type=["linear_attention", "hybrid", "hybrid"],
        ),
    ),
    Model(
        "kimi_linear",
        "KimiLinear",
        dict(
            **{**ATTENTION, "num_key_value_heads": 4},
            **MLA,
            **MOE,
            num_local_experts=2,
            linear_head_dim=8,
            linear_num_heads=4,
            layer_types=["linear_attention", "full_attention"],
            mlp_layer_types=["dense", "sparse"],
        ),
    ),
    Model(
        "bailing_hybrid",
        "BailingHybrid",
        dict(
            **{**ATTENTION, "num_key_value_heads": 4},
            **MLA,
            **MOE,
            head_dim=8,
            num_local_experts=2,
            n_group=1,
            topk_group=1,
            num_mtp_layers=0,
            layer_types=["linear_attention", "full_attention"],
            mlp_layer_types=["dense", "sparse"],
        ),
    ),
    Model(
        "inkling",
        "Inkling",
        dict(
            **RELATIVE,
            **MOE,
            intermediate_size=48,
            n_routed_experts=2,
            n_shared_experts=1,
            mlp_layer_types=["dense", "sparse"],
        ),
        config_class="InklingTextConfig",
    ),
    Model(
        "inkling2",
        "Inkling2",
        dict(**RELATIVE, **MOE, n_routed_experts=2, unpadded_vocab_size=VOCABULARY),
        config_class="Inkling2TextConfig",
    ),
)
