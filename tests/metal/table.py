"""The operation table on the harness: the cases of a test, with kernels that are compiled ahead.

Nearly every case has a kernel text of its own, and compiling it costs far more than running it. So
before the first case of a block runs, the texts of all of its cases are compiled together.
"""

import contextlib
from unittest import mock

import backend
import oracle
import pytest
from backend import METAL
from harness import together

from causal_conv1d_mps import _metal

# Where kernels do nothing, its results would not be met, and computing them takes most of the time.
REFERENCE_LEFT_OUT = mock.patch.multiple(
    oracle, forward=mock.DEFAULT, backward=mock.DEFAULT, update=mock.DEFAULT
)
BLOCK = 24  # cases: more would save little, and a single case pays for its block


class Table:
    """A test of tests/python and those of its cases that Metal computes.

    `edit` changes every kernel text before it is compiled.
    """

    def __init__(self, test, cases, edit=lambda source: source):
        self._test = test
        self._cases = [case for case in cases if METAL.supports(*case.dtypes)]
        self._compile = lambda source: backend.compile_quickly(edit(source))
        self._edit = edit
        self._compiled = set()

    @property
    def each(self):
        """Decorates a test: it runs once for every case."""
        return pytest.mark.parametrize("case", self._cases, ids=lambda case: case.id)

    def run(self, case):
        block = self._cases.index(case) // BLOCK
        if block not in self._compiled:
            self._compiled.add(block)
            compile_ahead(lambda: self._try(block), self._edit)
        with backend.on_harness(self._compile):
            self._test(METAL, case)

    def _try(self, block):
        with REFERENCE_LEFT_OUT:
            for case in self._cases[block * BLOCK : (block + 1) * BLOCK]:
                with contextlib.suppress(AssertionError):
                    self._test(METAL, case)


def compile_ahead(run, edit=lambda source: source):
    """Compiles together what `run()` asks for, which it runs with kernels that do nothing."""
    texts = []

    def compile_shader(source):
        texts.append(edit(source))
        return mock.MagicMock()

    with backend.on_harness(compile_shader, _metal), mock.patch.dict(_metal._kernels):
        run()
    together.compile_together(texts)
