"""Where CUDA's run-time compiler may be: the library looks there before the loader's own path."""

import os
import re
import sys

import torch

_NVRTC = re.compile(r"libnvrtc(-[0-9a-f]+)?\.so(\.\d+)+$")  # neither builtins nor the .alt variant


def nvrtc_paths():
    """The libnvrtc.so files of PyTorch and of the nvidia-* wheels, best first.

    PyTorch's own is best, then those of its CUDA major version: they fit the driver that PyTorch
    runs on. All are absolute: '' and other relative entries of sys.path name the current
    directory, where nothing is looked for.
    """
    torch_folder = os.path.dirname(os.path.abspath(torch.__file__))
    folders = [os.path.join(torch_folder, "lib")]
    for site in dict.fromkeys([os.path.dirname(torch_folder), *filter(os.path.isabs, sys.path)]):
        nvidia = os.path.join(site, "nvidia")
        folders += [os.path.join(nvidia, name, "lib") for name in _listed(nvidia)]
    found = [
        os.path.join(folder, name)
        for folder in folders
        for name in _listed(folder)
        if _NVRTC.match(name)
    ]
    major = (torch.version.cuda or "").split(".")[0]
    return sorted(dict.fromkeys(found), key=lambda path: _rank(path, torch_folder, major))


def _listed(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _rank(path, torch_folder, major):
    version = re.search(r"\.so\.([\d.]+)$", path)[1].split(".")
    return (not path.startswith(torch_folder), version[0] != major, [-int(v) for v in version])
