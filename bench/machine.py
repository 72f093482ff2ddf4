"""What a figure was measured on: hardware, versions, command, commit."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import torch

import causal_conv1d_mps as ccmps


def best_device():
    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if torch.cuda.is_available() else "cpu"


def _output(*command, cwd=None):
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def cpu_name():
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    match = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return match.group(1) if match else platform.machine()


def device_name(device):
    if device == "cuda":
        return torch.cuda.get_device_name()
    return cpu_name()


def commit():
    """Commit of the checkout that this file lies in, with -dirty if changed; None outside one."""
    here = Path(__file__).resolve().parent
    root = _output("git", "rev-parse", "--show-toplevel", cwd=here)
    if root is None or Path(root) != here.parent:
        return None
    return _output("git", "describe", "--always", "--dirty", "--abbrev=12", cwd=here)


def describe(device):
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "commit": commit(),
        "device": device,
        "device_name": device_name(device),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "causal_conv1d_mps": ccmps.__version__,
        "backends": ccmps.backends(),
    }
