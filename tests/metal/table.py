"""The operation table on the harness: the cases of a test, with kernels that are compiled ahead.

Nearly every case has a kernel text of its own, and compiling it costs far more than running it. So
before the first case of a block runs, the texts of all of its cases are compiled together.

A case runs on one of the two devices of backend.py, about half of the cases on each: a hash of its
name decides. With CAUSAL_CONV1D_ALL_CASES=1 every case runs on both.
"""

import contextlib
import os
import zlib
from unittest import mock

import backend
import oracle
import pytest
from backend import BOTH_METALS, METAL
from harness import together

# Where kernels do nothing, its results would not be met, and computing them takes most of the time.
REFERENCE_LEFT_OUT = mock.patch.multiple(
    oracle,
    forward=mock.DEFAULT,
    backward=mock.DEFAULT,
    update=mock.DEFAULT,
    prefill=mock.DEFAULT,
)
BLOCK = 24  # cases: more would save little, and a single case pays for its block
EVERYTHING = os.environ.get("CAUSAL_CONV1D_ALL_CASES") == "1"


class Table:
    """A test of tests/python and those of its cases that Metal computes.

    `edit` changes every kernel text before it is compiled.
    """

    def __init__(self, test, cases, edit=lambda source: source):
        self._test = test
        self._compile = lambda source: backend.compile_quickly(edit(source))
        self._edit = edit
        cases = [case for case in cases if METAL.supports(*case.dtypes)]
        self._blocks, self._compiled = [], set()
        for metal in BOTH_METALS:
            mine = [case for case in cases if EVERYTHING or _device_of(case) is metal]
            self._blocks += [(metal, mine[i : i + BLOCK]) for i in range(0, len(mine), BLOCK)]

    @property
    def each(self):
        """Decorates a test: it runs once for every case and device."""
        places = [
            pytest.param((block, case), id=f"{metal}-{case.id}")
            for block, (metal, cases) in enumerate(self._blocks)
            for case in cases
        ]
        return pytest.mark.parametrize("place", places)

    def run(self, place):
        block, case = place
        metal, cases = self._blocks[block]
        with self._on(metal):
            if block not in self._compiled:
                self._compiled.add(block)
                compile_ahead(lambda: self._try(metal, cases), self._edit)
            self._test(metal, case)

    def _on(self, metal):
        device = backend.DEVICES[metal.name]
        return backend.on_harness(self._compile, **device)

    def _try(self, metal, cases):
        with REFERENCE_LEFT_OUT:
            for case in cases:
                with contextlib.suppress(AssertionError):
                    self._test(metal, case)


def _device_of(case):
    return BOTH_METALS[zlib.crc32(case.id.encode()) % 2]


def compile_ahead(run, edit=lambda source: source):
    """Compiles together what `run()` asks for, which it runs with kernels that do nothing."""
    texts = []

    def compile_shader(source):
        texts.append(edit(source))
        return mock.MagicMock()

    with backend.on_harness(compile_shader, marked=False):
        run()
    together.compile_together(texts)
