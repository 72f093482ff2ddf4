"""python -m causal_conv1d_mps models: every variant runs in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from bench import model_child, models


def test_models(tmp_path):
    command = [sys.executable, "-m", "causal_conv1d_mps", "models", "--size=tiny", "--models=LFM2"]
    command += ["--phases", "forward", "decode", "--rounds=1", "--threads=1"]
    command += ["--device=cpu", "--seconds=0.01", "--profile", f"--out={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    (lfm2,) = json.loads((tmp_path / "models.json").read_text())["results"]
    assert lfm2["ms"].keys() == {"without", "install", "fuse"} and lfm2["blocks_fused"] == 3
    assert all(ms > 0 for times in lfm2["ms"].values() for ms in times.values())
    names = {variant: [row["name"] for row in rows] for variant, rows in lfm2["profile"].items()}
    assert not any("causal_conv1d_mps" in name for name in names["without"])
    assert "causal_conv1d_mps::forward" in names["fuse"]
    header, *rows = done.stdout.splitlines()[3:]
    assert header.split()[:2] == ["model", "phase"]
    assert [row.split()[:2] for row in rows[:2]] == [["LFM2", "forward"], ["LFM2", "decode"]]
    assert (tmp_path / "models.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", model_child.MODELS)
def test_each_model_runs(name, monkeypatch):
    """In this process; what fuse() does not know is said, and its table has a dash."""
    chosen = dict(model=name, size="tiny", device="cpu", dtype="fp32", seconds=0, profile=False)
    chosen.update(threads=1, rounds=1, phases=["training", "prefill"])

    def child(model, variant, options, with_profile):
        return model_child.measure(SimpleNamespace(**{**chosen, "variant": variant}))

    monkeypatch.setattr(models, "run_child", child)
    options = SimpleNamespace(**chosen)
    result = models.measure(name, options)
    assert result["blocks_fused"] == (3 if name == "LFM2" else 0)
    assert ("not known" in result["refused"].get("fuse", "")) == (name != "LFM2")
    assert all(ms > 0 for times in result["ms"].values() for ms in times.values())
    assert len(models.table([result], options).splitlines()) == 3
