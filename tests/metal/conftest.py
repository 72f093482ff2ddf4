"""Makes `import harness` work in the tests of this directory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

# The harness knows the object files and memory maps of Linux. On a Mac the operation table runs on
# the GPU.
ON_LINUX = sys.platform == "linux"
collect_ignore_glob = [] if ON_LINUX else ["test_*.py"]


def pytest_report_header():
    return None if ON_LINUX else "tests/metal: left out, the Metal harness runs on Linux only"


def pytest_configure(config):
    # Those of tests/python, whose tests run here on the Metal kernels as well.
    config.addinivalue_line("markers", "cases(list): the cases that the test's `case` walks over")
