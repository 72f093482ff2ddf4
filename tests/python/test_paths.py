"""Where files are looked for: nothing relative is ever opened."""

import os
import sys

from causal_conv1d_mps import _cuda


def test_nvrtc_is_looked_for_at_absolute_paths_only(monkeypatch, tmp_path):
    """'' on sys.path, as in an interactive session, is not the current directory for us."""
    for parent in (tmp_path, tmp_path / "site"):
        folder = parent / "nvidia" / "x" / "lib"
        folder.mkdir(parents=True)
        (folder / "libnvrtc.so.12").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", "site", str(tmp_path / "site"), *sys.path])
    found = _cuda.nvrtc_paths()
    assert all(os.path.isabs(path) for path in found)
    ours = [path for path in found if path.startswith(str(tmp_path))]
    assert ours == [str(tmp_path / "site/nvidia/x/lib/libnvrtc.so.12")]
