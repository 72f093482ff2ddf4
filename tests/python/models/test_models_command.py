"""python -m causal_conv1d_mps models: every variant runs in a process of its own."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("transformers")


def test_models(tmp_path):
    command = [sys.executable, "-m", "causal_conv1d_mps", "models", "--size=tiny", "--models"]
    command += ["LFM2", "Mamba-2", "--phases", "forward", "decode", "--rounds=1", "--threads=1"]
    command += ["--device=cpu", "--seconds=0.01", "--profile", f"--out={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    lfm2, mamba2 = json.loads((tmp_path / "models.json").read_text())["results"]
    assert lfm2["ms"].keys() == {"without", "install", "fuse"} and lfm2["blocks_fused"] == 3
    assert all(ms > 0 for times in lfm2["ms"].values() for ms in times.values())
    assert mamba2["ms"].keys() == {"without", "install"}
    assert "Mamba2Mixer: not known" in mamba2["refused"]["fuse"]
    names = {variant: [row["name"] for row in rows] for variant, rows in lfm2["profile"].items()}
    assert not any("causal_conv1d_mps" in name for name in names["without"])
    assert "causal_conv1d_mps::forward" in names["fuse"]
    header, *rows = done.stdout.splitlines()[3:]
    assert header.split()[:2] == ["model", "phase"]
    assert [row.split()[:2] for row in rows[:2]] == [["LFM2", "forward"], ["LFM2", "decode"]]
    assert (tmp_path / "models.png").read_bytes().startswith(b"\x89PNG")
