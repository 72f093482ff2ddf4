"""What tools/apple_gpu needs of the library, as far as one can tell without Mesa's compiler."""

import importlib.util
import os
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "apple_gpu"


def test_the_launches_that_are_counted_are_written(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(TOOL))  # its other module
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    spec = importlib.util.spec_from_file_location("apple_gpu_table", TOOL / "table.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    names = [name for name, *_ in tool.build_launches(tmp_path)]
    assert {"forward_time_bf16", "backward_channel_f32", "update_256_f16"} <= set(names)
    for name in names:
        text = tool.to_opencl((tmp_path / f"{name}.metal").read_text())
        assert "__kernel" in text and "metal_stdlib" not in text
