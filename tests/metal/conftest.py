"""Makes `import harness` work in the tests of this directory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def pytest_configure(config):
    # Those of tests/python, whose tests run here on the Metal kernels as well.
    config.addinivalue_line("markers", "cases(list): the cases that the test's `case` walks over")
