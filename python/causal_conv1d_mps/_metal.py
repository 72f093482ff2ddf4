"""The library's Metal kernels, compiled by PyTorch (torch.mps.compile_shader) for its MPS stream.

The C code plans a call and launches the kernels (launch.c); each is compiled once, here.
CAUSAL_CONV1D_METAL_PATH names a file that replaces the text of the kernels;
`python -m causal_conv1d_mps metal-source` writes that text. Another package had a variable of that
name, for other kernels: its file is passed over.
"""

import contextlib
import logging
import os
import platform
import sys
import threading
import time
import warnings

import torch

from . import _C

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_warned = set()
_watchers = []  # lists that get (name, seconds) of what is compiled

kernels = {}  # what is ready, by what the C code calls it

OVERRIDE = "CAUSAL_CONV1D_METAL_PATH"


def missing():
    """Why tensors on 'mps' cannot be computed here, and what to do; None where they can."""
    if sys.platform == "darwin" and platform.machine() != "arm64":
        # Even with compile_shader: the kernels need SIMD-groups of 32; AMD's GPUs have others.
        if "ARM64" in platform.version():  # the kernel's own, translated or not
            return (
                "expected a Python for arm64, got one for Intel Macs, which macOS translates; "
                "install Python and PyTorch for arm64"
            )
        return "expected a Mac with Apple Silicon, got one with an Intel processor; use 'cpu' there"
    if not torch.backends.mps.is_built():
        return f"this PyTorch ({torch.__version__}) was built without MPS"
    if not torch.backends.mps.is_available():
        return f"PyTorch {torch.__version__} finds no MPS device on macOS {platform.mac_ver()[0]}"
    if not hasattr(torch.mps, "compile_shader"):
        return (
            "expected PyTorch 2.7 or newer, which has torch.mps.compile_shader, got "
            f"{torch.__version__}; upgrade PyTorch, or use 'cpu'"
        )
    return None


def bfloat16_missing():
    """The same of bfloat16 on 'mps': PyTorch makes no such tensor before macOS 14."""
    version = platform.mac_ver()[0]
    if version and int(version.split(".")[0]) < 14:
        return f"expected macOS 14 or newer for bfloat16 on 'mps', got macOS {version}; use float16"
    return None


def _unavailable(_source):
    raise NotImplementedError(f"x: a tensor on 'mps': {missing()}")


# Replaced by tests, to run the same source and the same call elsewhere.
compile_shader = _unavailable if missing() else torch.mps.compile_shader


def metal_source():
    """The text of all kernels, self-contained; the defines of a launch go before it."""
    return _C.metal_text()


def compile_kernel(place, name, key):
    """The kernel of that name, specialised by key; it is then found in `kernels` at `place`."""
    with _lock:
        if place not in kernels:
            source, start = _source(name, key), time.perf_counter()
            kernels[place] = _compiled(source, name)
            for watcher in _watchers:
                watcher.append((name, time.perf_counter() - start))
        return kernels[place]


def _compiled(source, name):
    try:
        return getattr(compile_shader(source), name)
    except NotImplementedError:
        raise
    except (SyntaxError, RuntimeError) as error:  # which of them depends on PyTorch's version
        kind = SyntaxError if isinstance(error, SyntaxError) else RuntimeError
        raise kind(
            f"x: the system's Metal compiler refused the kernel {name} (please report this, with "
            f"the output of python -m causal_conv1d_mps info): {error}"
        ) from error


@contextlib.contextmanager
def watch_compilation():
    """A list of (name, seconds) of the kernels that are compiled in this block, by any thread: the
    backward pass of autograd runs on its own."""
    found = []
    with _lock:
        _watchers.append(found)
    try:
        yield found
    finally:
        with _lock:
            _watchers[:] = (w for w in _watchers if w is not found)


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
