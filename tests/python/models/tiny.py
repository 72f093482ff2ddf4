"""Tiny, randomly initialised configurations of the models that use a short convolution."""

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
        model = getattr(self.modeling, f"{self.prefix}ForCausalLM")(config)
        # Biases and convolutions start at or near zero; a test needs them to matter.
        for name, parameter in model.named_parameters():
            if "conv" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        return model


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
)
