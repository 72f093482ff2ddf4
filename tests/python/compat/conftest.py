"""Tests in this folder import what they share as `peer`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
