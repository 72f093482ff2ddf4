"""What tools/apple_gpu needs of the library, as far as one can tell without Mesa's compiler."""

import os
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "apple_gpu"


def test_the_launches_that_are_counted_are_written(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(TOOL))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    import table

    names = [name for name, *_ in table.build_launches(tmp_path)]
    assert {"forward_time_bf16", "backward_channel_f32", "update_256_f16"} <= set(names)
    for name in names:
        text = table.to_opencl((tmp_path / f"{name}.metal").read_text())
        assert "__kernel" in text and "metal_stdlib" not in text
