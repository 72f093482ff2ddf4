"""Verify, then time: forward, backward, decode and host time, against a copy of the same bytes.

Lives in bench/ of the repository and is installed as causal_conv1d_mps.bench.
"""
