"""Texts that are compiled together: each behaves as if it had been compiled alone."""

import harness
import pytest
import torch
from harness import strict, together, toolchain
from metal_text import PREFIX

ADD = """
#define BY 1
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    threadgroup float tile[4];
    tile[i % 4] = x[i];
    x[i + REACH] = tile[i % 4] + BY;
}
"""
MULTIPLY = """
#ifdef BY
#error "the macro of another text"
#endif
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] *= 3; }
"""
WRONG = "kernel void f(device float* x [[buffer(0)]]) { thread float* q = x; q[0] = 1; }"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    for path in toolchain.cache_directory().iterdir():
        if path.name.startswith(("include", "libmh", "prelude", "strict")):
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr(toolchain, "cache_directory", lambda: tmp_path)
    return tmp_path


def text(body, reach=0):
    return PREFIX + body.replace("REACH", str(reach))


def built(path):
    return sorted(p.suffix for p in path.iterdir() if len(p.stem) >= 32 and p.suffix != ".lock")


def run(source):
    strict.check(source)
    x = torch.arange(4.0)
    harness.compile_shader(source, optimise=False).f(x, threads=4, group_size=4)
    return x.tolist()


def test_each_is_known_and_runs(empty_cache):
    sources = [text(ADD), text(MULTIPLY)]
    together.compile_together([*sources, sources[0]])
    found = built(empty_cache)
    assert found == [".json", ".json", ".so", ".strict", ".strict"]
    assert [run(source) for source in sources] == [[1, 2, 3, 4], [0, 3, 6, 9]]
    together.compile_together(sources)
    assert built(empty_cache) == found  # there was nothing left to compile


def test_a_fault_is_found_at_its_line():
    sources = [text(MULTIPLY + "\n"), text("\n" + ADD, reach=4)]
    together.compile_together(sources)
    with pytest.raises(harness.OutOfBoundsError, match=r"write of 4 bytes at byte 16 .* line 9"):
        run(sources[1])


def test_a_wrong_text_is_refused_alone(empty_cache):
    sources = [text(MULTIPLY + " "), text(WRONG)]
    together.compile_together(sources)
    assert built(empty_cache) == []
    assert run(sources[0]) == [0, 3, 6, 9]
    with pytest.raises(SyntaxError, match="cannot initialize"):
        run(sources[1])
