"""Runs the library's Metal kernels on PyTorch's own MPS stream, without synchronisation.

`_C.launches` validates and plans a call and returns ready arguments; this module compiles each
kernel once (torch.mps.compile_shader) and encodes it. CAUSAL_CONV1D_METAL_PATH names a file that
replaces the text of the kernels; `python -m causal_conv1d_mps metal-source` writes that text.
"""

import logging
import os
import threading

import torch

from . import _C

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_kernels = {}


def _unavailable(_source):
    raise NotImplementedError(
        "x: tensors on 'mps' need torch.mps.compile_shader, which PyTorch 2.7 and later have; "
        f"this is PyTorch {torch.__version__}"
    )


# Replaced by tests, to run the same source and the same call elsewhere.
compile_shader = getattr(torch.mps, "compile_shader", _unavailable)


def forward(*arguments):
    _run(_C.launches("forward", *arguments))


def backward(*arguments):
    _run(_C.launches("backward", *arguments))


def update(*arguments):
    _run(_C.launches("update", *arguments))


def varlen_states(*arguments):
    _run(_C.launches("varlen_states", *arguments))


def metal_source():
    """The text of all kernels, self-contained; the defines of a launch go before it."""
    return _C.metal_text()


def _run(launches):
    # All kernels first: a text that does not compile must not leave half of the results written.
    ready = [(_kernel(launch[0], launch[1]), launch) for launch in launches]
    for kernel, (_, _, buffers, words, threads, group_size) in ready:
        kernel(*buffers, words, threads=threads, group_size=group_size, arg_casts="int32")


def _kernel(name, key):
    cached = (compile_shader, name, key)
    kernel = _kernels.get(cached)
    if kernel is None:
        with _lock:
            kernel = _kernels.get(cached)
            if kernel is None:
                library = compile_shader(_source(name, key))
                kernel = _kernels[cached] = getattr(library, name)
    return kernel


def _source(name, key):
    path = os.environ.get("CAUSAL_CONV1D_METAL_PATH")
    text = metal_source() if path is None else _read_override(path, name)
    return _C.launch_defines(name, key) + text


def _read_override(path, name):
    if not os.path.isabs(path):
        raise ValueError(f"CAUSAL_CONV1D_METAL_PATH: expected an absolute path, got {path!r}")
    if not os.path.isfile(path):
        raise ValueError(f"CAUSAL_CONV1D_METAL_PATH: expected a regular file, got {path!r}")
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"CAUSAL_CONV1D_METAL_PATH: expected ASCII text, got byte {data[error.start]:#x} "
            f"at offset {error.start} of {path!r}"
        ) from error
    _log.warning("%s: compiling the kernels of %s instead of the library's", name, path)
    return text
