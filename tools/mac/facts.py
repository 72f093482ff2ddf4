"""What the report was made on."""

import platform
import re

import torch

import causal_conv1d_mps as ccmps

from .gpu import ROOT, command, missing
from .markdown import table


def part(options):
    return table(("", ""), facts(options).items()), True


def facts(options):
    system = f"macOS {platform.mac_ver()[0]}" if platform.mac_ver()[0] else platform.platform()
    found = {
        "Backend": options.backend,
        "Chip": command("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine(),
        "Memory": memory(),
        **displays(command("system_profiler", "SPDisplaysDataType")),
        "System": f"{system}, {platform.machine()}",
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "Package": f"{ccmps.__version__} ({revision()})",
    }
    if command("sysctl", "-n", "sysctl.proc_translated") == "1":
        found["Rosetta"] = "this Python is for Intel, translated: install one for arm64"
    found["mps"] = missing(options) or "can be used"
    return found


def memory():
    size = command("sysctl", "-n", "hw.memsize")
    return f"{int(size) / 2**30:.0f} GiB" if size.isdigit() else "unknown"


def displays(text):
    """Of what system_profiler says: the GPU's cores and Metal's family."""
    cores = re.search(r"Total Number of Cores: *(\S+)", text)
    metal = re.search(r"Metal(?: Support| Family)?: *(.+)", text)
    found = {"GPU cores": cores, "Metal": metal}
    return {name: match[1].strip() for name, match in found.items() if match}


def revision():
    return command("git", "-C", str(ROOT), "describe", "--always", "--dirty") or "no git"
