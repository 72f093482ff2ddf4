"""Runs the library's Metal kernels on PyTorch's own MPS stream, without synchronisation.

`_C.launches` validates and plans a call and returns ready arguments; this module compiles each
kernel once (torch.mps.compile_shader) and encodes it. CAUSAL_CONV1D_METAL_PATH names a file that
replaces the text of the kernels; `python -m causal_conv1d_mps metal-source` writes that text.
Another package had a variable of that name, for other kernels: its file is passed over.
"""

import logging
import os
import threading
import warnings

import torch

from . import _C

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_kernels = {}
_warned = set()

OVERRIDE = "CAUSAL_CONV1D_METAL_PATH"


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
    text = _override(os.environ.get(OVERRIDE), name)
    return _C.launch_defines(name, key) + (metal_source() if text is None else text)


def _override(path, name):
    """The text of the file at `path` if it holds the kernel, else None."""
    if not path:
        return None
    data = b""
    if not os.path.isabs(path):
        why = "it is not an absolute path"
    elif not os.path.isfile(path):
        why = "it is no file"
    else:
        with open(path, "rb") as file:
            data = file.read()
        why = f"it does not hold the kernel {name}"
    if name.encode() not in data:
        _warn_once(f"{OVERRIDE}: {path!r} is not used, because {why}")
        return None
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{OVERRIDE}: expected ASCII text, got byte {data[error.start]:#x} "
            f"at offset {error.start} of {path!r}"
        ) from error
    _log.warning("%s: compiling the kernels of %s instead of the library's", name, path)
    return text


def _warn_once(message):
    if not _warned:
        _warned.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=2)
