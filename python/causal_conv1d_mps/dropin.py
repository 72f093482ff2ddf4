"""install() and uninstall(): whether `import causal_conv1d` finds this package.

Nothing is imported or patched: a finder on sys.meta_path answers for the names `causal_conv1d` and
`causal_conv1d_cuda`, with the files in `compat/dao/`, and for the distribution's metadata.
"""

import importlib.abc
import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from ._info import __version__

__all__ = ["install", "uninstall"]

NAME = "causal_conv1d"
# The interface that is provided, then what provides it (a PEP 440 local version).
PROVIDED_VERSION = f"1.7.0+causal.conv1d.mps.{__version__}"

_SOURCE = Path(__file__).parent / "compat" / "dao"
_FILES = {NAME: "__init__.py", f"{NAME}_cuda": "causal_conv1d_cuda.py"}


_METADATA = {
    "METADATA": f"Metadata-Version: 2.1\nName: causal-conv1d\nVersion: {PROVIDED_VERSION}\n",
    "top_level.txt": "".join(f"{name}\n" for name in _FILES),
}


class _Distribution(importlib.metadata.Distribution):
    """What importlib.metadata.version("causal-conv1d") reads."""

    def read_text(self, filename):
        return _METADATA.get(filename)

    def locate_file(self, path):
        return _SOURCE.parent / path


class _Finder(importlib.abc.MetaPathFinder):
    """Finds causal_conv1d; its submodules are then found through the package's path."""

    def __init__(self):
        self.evicted = {}

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _FILES:
            return None
        return importlib.util.spec_from_file_location(
            fullname,
            _SOURCE / _FILES[fullname],
            submodule_search_locations=[str(_SOURCE)] if fullname == NAME else None,
        )

    def find_distributions(self, context=None):
        wanted = None if context is None else context.name
        if wanted is None or wanted.lower().replace("-", "_") == NAME:
            yield _Distribution()


_installed = None


def install(force=False):
    """Make `import causal_conv1d` find this package, in this process, from now on.

    Call it before importing the code that imports causal_conv1d: a module that has already taken
    functions from another causal_conv1d (or found none) keeps what it has.
    Raises ImportError where another causal_conv1d is installed, unless force is true.
    Calling it again changes nothing.
    """
    global _installed
    if _installed is not None:
        return
    other = _find_other()
    if other is not None and not force:
        raise ImportError(
            f"causal_conv1d is already installed ({other}); install(force=True) uses "
            "causal_conv1d_mps instead of it in this process"
        )
    finder = _Finder()
    finder.evicted = _take_modules()
    sys.meta_path.insert(0, finder)
    importlib.invalidate_caches()
    _installed = finder


def uninstall():
    """Undo install(); modules that have taken functions from it keep them."""
    global _installed
    if _installed is None:
        return
    finder, _installed = _installed, None
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)
    _take_modules()
    sys.modules.update(finder.evicted)
    importlib.invalidate_caches()


def _find_other():
    """Where another causal_conv1d comes from, or None."""
    if sys.modules.get(NAME) is not None:  # None there says that the import is to fail
        return getattr(sys.modules[NAME], "__file__", None) or "a module without a file"
    spec = importlib.util.find_spec(NAME)
    return None if spec is None else spec.origin or "a namespace package"


def _take_modules():
    """Remove causal_conv1d and its submodules from sys.modules, and return them."""
    names = [name for name in sys.modules if name.split(".")[0] in _FILES]
    return {name: sys.modules.pop(name) for name in names}
