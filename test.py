#!/usr/bin/env python3
"""Run the Python tests; arguments go to pytest (python test.py -k update)."""

import subprocess
import sys
from pathlib import Path

sys.exit(
    subprocess.call(
        [sys.executable, "-m", "pytest", *sys.argv[1:]], cwd=Path(__file__).resolve().parent
    )
)
