"""What torch.utils.flop_counter counts for the operators: two for each tap, the activation none."""

import importlib.abc
import importlib.util
import sys
from math import prod

from ._ops import backward, forward, prefill, update

_COUNTER = "torch.utils.flop_counter"


def _forward(x, weight, *others, **options):
    return 2 * weight[-1] * prod(x)


def _backward(dout, x, weight, *others, **options):
    """One convolution each for the gradients of x and of weight; those of states come with x's."""
    needs = others[-1]
    return (needs[0] + needs[1]) * 2 * weight[-1] * prod(x)


def _update(x, conv_state, weight, *others, **options):
    return 2 * weight[-1] * prod(x)


def _add_to(counter):
    formulas = (
        (forward, _forward),
        (prefill, _forward),
        (backward, _backward),
        (update, _update),
    )
    for operator, formula in formulas:
        counter.register_flop_formula(operator.overloadpacket)(formula)


class _Finder(importlib.abc.MetaPathFinder):
    """Adds the formulas when the counter is imported: with CUDA that brings triton along."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != _COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_add(module):
                execute(module)
                _add_to(module)

            spec.loader.exec_module = execute_and_add
        return spec


def register():
    if _COUNTER in sys.modules:
        _add_to(sys.modules[_COUNTER])
    else:
        sys.meta_path.insert(0, _Finder())
