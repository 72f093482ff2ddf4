"""The device that is modelled: the version of its language, and what it does with subnormals."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

VERSIONS = {"3.0": 300, "3.1": 310, "3.2": 320, "4.0": 400}
VERSION_VARIABLE = "CAUSAL_CONV1D_HARNESS_MSL"
FLUSH_VARIABLE = "CAUSAL_CONV1D_HARNESS_FLUSH"

BFLOAT_SINCE = VERSIONS["3.1"]
# First version whose compiler knows the pragma; others are known to all.
PRAGMAS = {
    "METAL fp math_mode": VERSIONS["3.2"],
    "METAL fp contract": VERSIONS["3.2"],
    "clang fp contract": 0,
    "unroll": 0,
    "nounroll": 0,
    "clang loop": 0,
    "clang diagnostic": 0,
    "once": 0,
    "mark": 0,
}
PRAGMA_ARGUMENTS = {
    "METAL fp math_mode": ("relaxed", "safe", "fast"),
    "METAL fp contract": ("fast", "on", "off"),
    "clang fp contract": ("fast", "on", "off"),
}


@dataclass(frozen=True)
class Device:
    version: int  # as __METAL_VERSION__ has it
    flushes_subnormals: bool


def of_environment() -> Device:
    version = os.environ.get(VERSION_VARIABLE, "3.1")
    if version not in VERSIONS:
        raise ValueError(f"{VERSION_VARIABLE}: expected {', '.join(VERSIONS)}, got {version!r}")
    flush = os.environ.get(FLUSH_VARIABLE, "0")
    if flush not in ("0", "1"):
        raise ValueError(f"{FLUSH_VARIABLE}: expected 0 or 1, got {flush!r}")
    return Device(VERSIONS[version], flush == "1")


_current = of_environment()


def current() -> Device:
    return _current


@contextlib.contextmanager
def device(version: str | None = None, flushes_subnormals: bool | None = None) -> Iterator[Device]:
    """Within the block texts are compiled and kernels run as on such a device."""
    global _current
    before = _current
    if version is not None:
        if version not in VERSIONS:
            raise ValueError(f"version: expected {', '.join(VERSIONS)}, got {version!r}")
        _current = replace(_current, version=VERSIONS[version])
    if flushes_subnormals is not None:
        _current = replace(_current, flushes_subnormals=flushes_subnormals)
    try:
        yield _current
    finally:
        _current = before
