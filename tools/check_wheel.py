#!/usr/bin/env python3
"""Check a built wheel: size, contents, and what its extension links.

tools/check_wheel.py FILE.whl
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "causal_conv1d_mps"
MAX_BYTES = 1_000_000


def linked_libraries(extension):
    command = ["otool", "-L"] if sys.platform == "darwin" else ["ldd"]
    return subprocess.run([*command, extension], capture_output=True, text=True, check=True).stdout


def problems(wheel):
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size:,} bytes")
    if size >= MAX_BYTES:
        yield f"the wheel has {size} bytes; the limit is {MAX_BYTES}"
    if "-cp310-abi3-" not in wheel.name:
        yield "the wheel is not tagged cp310-abi3"
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        foreign = [name for name in names if not name.startswith((f"{PACKAGE}/", f"{PACKAGE}-"))]
        if foreign:
            yield f"files outside the package: {foreign}"
        sources = [name for name in names if name.endswith((".c", ".h", ".o", ".a"))]
        if sources:
            yield f"sources or build products: {sources}"
        extensions = [name for name in names if name.endswith(".so")]
        if len(extensions) != 1:
            yield f"expected one extension module, found {extensions}"
        for name in extensions:
            libraries = linked_libraries(archive.extract(name, Path(folder)))
            if "torch" in libraries or "c10" in libraries:
                yield f"{name} links a PyTorch library:\n{libraries}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = list(problems(Path(sys.argv[1])))
    for problem in found:
        print(problem, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
