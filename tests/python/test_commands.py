"""The commands that a newcomer types, run as they are typed; and the benchmark's own check."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import causal_conv1d_mps as ccmps

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench import candidates  # noqa: E402
from bench.shapes import SMALL, Case  # noqa: E402
from bench.verify import verify  # noqa: E402


def run(*arguments, cwd=ROOT):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_info():
    lines = dict(
        line.split(maxsplit=1)
        for line in run("-m", "causal_conv1d_mps", "info").splitlines()
        if " " in line
    )
    assert lines["version"].strip() == ccmps.__version__
    assert lines["cpu"].startswith("yes")


def test_short_table():
    text = run("bench.py", "--dtype", "fp32", "--device", "cpu", "--seconds", "0.001")
    header, *rows = text.splitlines()[1:]
    assert header.split() == [
        "Config",
        "ours(us)",
        "PyTorch(us)",
        "Speedup",
        "StdDev(%)",
        "Correct",
    ]
    assert len(rows) == 2 * len(SMALL)
    for row in rows:
        *_, ours, pytorch, speedup, _deviation, correct = row.split()
        assert correct == "yes"
        assert all(
            float(text.replace(",", "").rstrip("x")) > 0 for text in (ours, pytorch, speedup)
        )


def test_bench_writes_json_and_chart(tmp_path):
    options = ["--device=cpu", "--groups=small", "--dtypes=fp32", "--layouts=BTD", "--threads=1"]
    options.append("--seconds=0.001")
    run("-m", "bench", *options, "--out", str(tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["machine"]["causal_conv1d_mps"] == ccmps.__version__
    assert [row["correct"] for row in results["rows"]] == [True] * 2 * len(SMALL)
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "op", ["forward", "backward", "update", "prefill", "ragged", "lfm2-forward", "lfm2-backward"]
)
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_bench_rejects_a_wrong_result(op, dtype, monkeypatch):
    rows, steps = {"update": (2, 1), "prefill": (3, 33), "ragged": (5, 3)}.get(op, (2, 33))
    case = Case("test", op, rows, 64, steps, dtype=dtype)
    assert verify(case, "cpu")
    right = candidates.ours

    def nearly(case, inputs):
        """Ours, with one element of the last result one part in 64 off."""

        def call():
            result = right(case, inputs)()
            last = result[-1] if isinstance(result, tuple) else result
            last[torch.unravel_index(last.abs().argmax(), last.shape)] *= 1 + 1 / 64
            return result

        return call

    monkeypatch.setattr("bench.verify.ours", nearly)
    assert not verify(case, "cpu")


def test_demo(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a causal convolution looks back, never ahead. " * 60)
    curve = tmp_path / "loss.png"
    arguments = ("--device", "cpu", "--steps", "3", "--text", str(text), "--out", str(curve))
    output = run("-m", "causal_conv1d_mps", "demo", *arguments, cwd=tmp_path)
    assert "after 3 steps" in output
    assert curve.read_bytes().startswith(b"\x89PNG")


def test_demo_model_decodes_as_it_trains():
    from causal_conv1d_mps.demo import CharacterModel

    torch.manual_seed(0)
    model = CharacterModel(11).eval()
    tokens = torch.randint(11, (2, 20))
    with torch.no_grad():
        whole = model(tokens)
        states = model.states(2, "cpu")
        steps = [model.step(tokens[:, t], states) for t in range(tokens.shape[1])]
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, rtol=1e-4, atol=1e-5)
