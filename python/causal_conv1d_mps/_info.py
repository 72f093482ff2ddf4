"""What this installation can do, and why not where it cannot."""

import os
import platform

import torch

from . import _C, _metal

__version__ = _C.version()


def backends():
    """A list of {"name", "available", "detail"}: cpu, cuda and mps on this machine."""
    native = [dict(backend) for backend in _C.backends() if backend["name"] != "mps"]
    return [*native, _mps()]


def _mps():
    """MPS tensors run through PyTorch's Metal entry points, so PyTorch knows."""
    why = _metal.missing()
    detail = why or f"Metal through PyTorch {torch.__version__}"
    if not why and _metal.bfloat16_missing():
        detail += f"; {_metal.bfloat16_missing()}"
    return {"name": "mps", "available": why is None, "detail": detail}


class Info(dict):
    """A dict that prints as one line per entry."""

    def __str__(self):
        width = max(len(key) for key in self)
        return "\n".join(f"{key:<{width}}  {_line(value)}" for key, value in self.items())


def _line(value):
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none set"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return str(value)


def info():
    """Versions, CPU implementation, threads, and the state of every backend."""
    implementations = _C.implementations()
    details = Info(
        version=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        cpu_implementations=implementations,
        threads=torch.get_num_threads(),
    )
    for backend in backends():
        state = "yes" if backend["available"] else "no"
        details[backend["name"]] = f"{state}: {backend['detail']}"
    details["environment"] = {
        key: value for key, value in sorted(os.environ.items()) if key.startswith("CAUSAL_CONV1D_")
    }
    return details
