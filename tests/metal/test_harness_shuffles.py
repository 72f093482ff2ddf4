"""Metal's shuffles: what each moves, and the calls whose result Metal leaves undefined."""

import harness
import pytest
import torch
from harness import strict
from metal_text import PREFIX, build

RELATIVE = """
template <typename T>
kernel void relative(device const T* in [[buffer(0)]], device T* out [[buffer(1)]],
                     constant ushort& by [[buffer(2)]], uint i [[thread_position_in_grid]]) {
    const T v = in[i];
    out[7 * i] = simd_shuffle_up(v, by);
    out[7 * i + 1] = simd_shuffle_down(v, by);
    out[7 * i + 2] = simd_shuffle_xor(v, by);
    out[7 * i + 3] = simd_shuffle_rotate_up(v, by);
    out[7 * i + 4] = simd_shuffle_rotate_down(v, by);
    out[7 * i + 5] = quad_shuffle_rotate_up(v, by & 3);
    out[7 * i + 6] = quad_shuffle_down(v, by & 3);
}
#define OF(type) template [[host_name("relative_" #type)]] kernel void relative<type>( \\
    device const type*, device type*, constant ushort&, uint);
OF(float) OF(half) OF(int) OF(ushort) OF(float4) OF(ushort2) OF(uchar)
"""
TYPES = {
    "float": (torch.float32, ()),
    "half": (torch.float16, ()),
    "int": (torch.int32, ()),
    "ushort": (torch.int16, ()),
    "float4": (torch.float32, (4,)),
    "ushort2": (torch.int16, (2,)),
    "uchar": (torch.uint8, ()),
}


def moved(values, by):
    """What RELATIVE makes of the 32 values of a SIMD-group."""
    lanes = range(32)
    sources = [
        [i - by if i >= by else i for i in lanes],
        [i + by if i + by < 32 else i for i in lanes],
        [i ^ by for i in lanes],
        [(i - by) % 32 for i in lanes],
        [(i + by) % 32 for i in lanes],
        [i & ~3 | (i - by) & 3 for i in lanes],
        [i + (by & 3) if (i & 3) + (by & 3) < 4 else i for i in lanes],
    ]
    return torch.stack([values[torch.tensor(source)] for source in sources], 1)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("by", [0, 1, 2, 3, 5, 8, 16, 31])
def test_relative_shuffles(name, by):
    dtype, shape = TYPES[name]
    lib = build(RELATIVE)
    x = (torch.arange(64 * (shape[0] if shape else 1)) * 3 + 1).to(dtype).reshape(64, *shape)
    out = harness.empty(64, 7, *shape, dtype=dtype)
    kernel = getattr(lib, f"relative_{name}")
    kernel(x, out, by, threads=64, group_size=64, arg_casts={2: "int16"})
    for simd in (slice(0, 32), slice(32, 64)):
        assert torch.equal(out[simd], moved(x[simd], by))


def test_relative_shuffles_at_the_edge_of_the_grid():
    """What comes from a lane that does not exist is NaN; what does not, is right."""
    lib = build(RELATIVE)
    x, out = torch.arange(40.0), harness.empty(40, 7)
    lib.relative_float(x, out, 4, threads=40, group_size=64, arg_casts={2: "int16"})
    known = torch.full((32,), float("nan"))
    known[:8] = x[32:]
    torch.testing.assert_close(out[32:], moved(known, 4)[:8], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(out[:32], moved(x[:32], 4))


MOVES = [
    "simd_shuffle_up(v, 1)",
    "simd_shuffle_down(v, 1)",
    "simd_shuffle_xor(v, 1)",
    "simd_shuffle_rotate_up(v, 1)",
    "simd_shuffle_rotate_down(v, 1)",
    "simd_shuffle_and_fill_up(v, v, 1)",
    "simd_shuffle_and_fill_down(v, v, 1)",
    "simd_shuffle(v, 3)",
]


@pytest.mark.parametrize("move", MOVES)
def test_a_shuffle_that_some_lanes_do_not_reach(move):
    lib = build(f"""
    kernel void f(device float* y, uint i [[thread_index_in_threadgroup]]) {{
        float v = i;
        if (i != 7) v = {move};
        y[i] = v;
    }}
    """)
    y, name = torch.zeros(32), move.partition("(")[0]
    message = rf"divergent {name}: thread 0 .* \(line 6, .* but thread 7 .* has returned"
    with pytest.raises(harness.DivergenceError, match=message):
        lib.f(y)
    assert not y.any()


WRONG_ARGUMENTS = {
    "simd_shuffle_up(v, i == 5 ? 2 : 1)": r"different arguments in lanes 0 and 5",
    "simd_shuffle_down(v, i / 16)": r"different arguments in lanes 0 and 16",
    "simd_shuffle_xor(v, i & 1)": r"different arguments in lanes 0 and 1",
    "simd_shuffle_rotate_up(v, i)": r"different arguments in lanes 0 and 1",
    "simd_shuffle_rotate_down(v, i)": r"different arguments in lanes 0 and 1",
    "simd_shuffle_and_fill_up(v, v, i == 9)": r"different arguments in lanes 0 and 9",
    "simd_broadcast(v, i / 8)": r"different arguments in lanes 0 and 8",
    "simd_shuffle(v, i + 1)": r"reads lane 32, which does not exist",
    "simd_shuffle(v, ushort(i - 1))": r"reads lane 65535, which does not exist",
    "simd_shuffle_xor(v, 32)": r"reads lane 32, which does not exist",
    "quad_shuffle_xor(v, 4)": r"reads lane 4, which does not exist",
    "simd_broadcast(v, 40)": r"reads lane 40, which does not exist",
    "simd_shuffle_and_fill_up(v, v, 1, 12)": r"has the modulo 12, which is not 2, 4, 8, 16 or 32",
    "simd_shuffle_and_fill_down(v, v, 9, 8)": r"has the delta 9, above its modulo",
}


@pytest.mark.parametrize("call", WRONG_ARGUMENTS)
def test_arguments_with_an_undefined_result(call):
    """Metal's manual: lanes that exist, and a delta, mask or broadcast lane that is uniform."""
    lib = build(f"""
    kernel void f(device float* y, uint i [[thread_index_in_threadgroup]]) {{
        float v = i;
        y[i] = {call};
    }}
    """)
    message = rf"{call.partition('(')[0]} \(line 6, column \d+\) .*{WRONG_ARGUMENTS[call]}"
    with pytest.raises(harness.DivergenceError, match=message):
        lib.f(torch.zeros(32))


@pytest.mark.parametrize("kind", ["bfloat", "bfloat4"])
@pytest.mark.parametrize("call", ["simd_shuffle_up(x, 1)", "simd_sum(x)", "simd_broadcast(x, 0)"])
def test_simd_functions_have_no_bfloat(kind, call):
    """As in Metal's library; packages move the bits as ushort."""
    text = f"kernel void f(device {kind}* y) {{ {kind} x = y[0]; y[0] = {call}; }}"
    with pytest.raises(SyntaxError, match="take no bfloat"):
        build(text)


FILL = """
kernel void fill(device int* y) {
    y[0] = simd_shuffle_and_fill_up(y[0], 1, 1, 8) + simd_shuffle_and_fill_down(y[1], 1, 1);
}
"""


def test_the_strict_compile_takes_them_too():
    strict.check(PREFIX + RELATIVE + FILL)
