"""What the texts of these tests have in common."""

import struct

from harness import compile_shader

PREFIX = "#include <metal_stdlib>\nusing namespace metal;\n"


def build(body):
    """The library of a text without its first two lines."""
    return compile_shader(PREFIX + body)


def bits(value):
    """A float as the integer that has its bits."""
    return struct.unpack("<i", struct.pack("<f", value))[0]
