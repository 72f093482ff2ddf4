"""The text that is embedded into the library: what the files hold, and errors that name them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import compile_shader

from causal_conv1d_mps import _C

GPU = Path(__file__).parents[2] / "src" / "gpu" / "text"
TEXT = _C.metal_text()


def files_of(text):
    """{file: its part} of an embedded text."""
    parts = re.split(r'^#line 1 "src/gpu/text/(\w+\.h)"\n', text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_embedded_text_is_what_the_files_hold():
    parts = files_of(TEXT)
    host_only = {"prelude_cuda.h"}
    assert set(parts) == {path.name for path in GPU.glob("*.h")} - host_only
    for name, part in parts.items():
        assert part == (GPU / name).read_text(), name


@pytest.mark.parametrize(
    "prelude", ["src/gpu/text/prelude_cuda.h", "tools/apple_gpu/prelude_opencl.h"]
)
def test_every_language_has_the_words_of_metal(prelude):
    """The counter of Apple's instructions has a prelude of its own, which no build compiles."""

    def words(path):
        return set(re.findall(r"^#\s*define (\w+)", path.read_text(), flags=re.MULTILINE))

    assert words(GPU / "prelude_metal.h") - words(GPU.parents[2] / prelude) <= {"PRELUDE"}


@pytest.mark.parametrize("name", ["common.h", "rows.h"])
def test_a_compile_error_names_the_file_and_the_line(name):
    lines = files_of(TEXT)[name].splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines, 1) if line.startswith("FN "))
    wrong = "".join([*lines[: number - 1], "no_such_type wrong;\n", *lines[number - 1 :]])
    with pytest.raises(SyntaxError, match=rf"src/gpu/text/{name}:{number}"):
        compile_shader(TEXT.replace("".join(lines), wrong))


@pytest.mark.parametrize("odd", [b"caf\xc3\xa9", b"a\x01b", b"\x7f"])
def test_text_that_is_not_printable_ascii_is_not_embedded(tmp_path, odd):
    root = GPU.parents[2]
    shutil.copytree(root / "cmake", tmp_path / "cmake")
    shutil.copytree(root / "src" / "gpu", tmp_path / "src" / "gpu")
    cmake = Path(sys.executable).with_name("cmake")
    command = [cmake, "-D", f"OUTPUT={tmp_path / 'out.c'}", "-P", "cmake/embed_kernels.cmake"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with open(tmp_path / "src" / "gpu" / "text" / "update.h", "ab") as file:
        file.write(b"/* " + odd + b" */\n")
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode != 0 and "printable ASCII" in result.stderr
