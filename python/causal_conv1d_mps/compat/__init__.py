"""Other packages' interfaces to this operation: same names, argument order and defaults.

dao: Dao-AILab's causal_conv1d, what install() offers under its name. fla: flash-linear-attention's.
vllm, sglang: the two engines'. Each says which version; what cannot be honoured is refused by name.
"""
