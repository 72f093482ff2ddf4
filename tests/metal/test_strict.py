"""The strict compile: real address spaces, so that what Metal refuses is refused here."""

import harness
import pytest
import test_harness
import test_harness_calls
import test_harness_language
from harness import strict
from metal_text import PREFIX

GOOD = {
    name: value
    for module in (test_harness, test_harness_calls, test_harness_language)
    for name, value in vars(module).items()
    if name.isupper() and name != "PREFIX"
}


@pytest.mark.parametrize("name", GOOD)
def test_right_text_passes(name):
    strict.check(PREFIX + GOOD[name])


BODY = """
constant float table[2] = {1, 2};
struct Params { uint n; float scale; float4 v; };
inline float read(device const float* p) { return *p; }
inline void add(thread float& a, float b) { a += b; }
inline float shared(threadgroup const float* p) { return p[0]; }
kernel void f(device float* x [[buffer(0)]], constant Params& p [[buffer(1)]],
              uint i [[thread_position_in_grid]]) {
    threadgroup float tile[4];
    float local[4] = {0, 1, 2, 3};
    thread const float* q = local;
    device const uint4* wide = (device const uint4*)x;
    uint4 w = wide[0];
    float4 v = p.v;
    tile[i & 3] = table[i & 1];
    float sum = read(x) + shared(tile) + q[1] + p.scale + v.x + p.v.zw.x + as_type<float>(w.y);
    add(sum, p.v.y);
    STATEMENT
    x[i] = sum;
}
"""


def test_the_template_of_the_faults_passes():
    strict.check(PREFIX + BODY.replace("STATEMENT", ""))
    strict.check(PREFIX + BODY.replace("STATEMENT", ""))  # and when it is known to pass


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("sum += read(local);", "no matching function for call to 'read'"),
        ("sum += read(tile);", "no matching function for call to 'read'"),
        ("sum += read(table);", "no matching function for call to 'read'"),
        ("sum += shared(x);", "no matching function for call to 'shared'"),
        ("add(x[0], 1.0f);", "no matching function for call to 'add'"),
        ("thread float* r = x;", "cannot initialize"),
        ("device float* r = local;", "cannot initialize"),
        ("q = x;", "assigning"),
        ("q = (thread const float*)x;", "mismatching address spaces"),
        ("wide = (device const uint4*)tile;", "mismatching address spaces"),
        ("p.n = 1;", "read-only|not assignable"),
        ("table[0] = 1;", "read-only|not assignable"),
        ("float* r = local;", "20: error: 'float.* r': a pointer or reference needs an address"),
        ("const float& r = local[0];", "needs an address space"),
    ],
)
def test_wrong_address_space(statement, message):
    with pytest.raises(SyntaxError, match=message):
        strict.check(PREFIX + BODY.replace("STATEMENT", statement))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inline float g(const float* p) { return *p; }", "3: error: 'const float. p'"),
        ("inline void g(float4& p) { p = 0; }", "needs an address space"),
        ("struct S { float get(const float* p) { return *p; } };", "needs an address space"),
        ("struct S { float* p; };", "needs an address space"),
        ("template <typename T> T g(T* p) { return *p; }", "needs an address space"),
        ("float table[2] = {1, 2};", "program-scope variable .* needs the address space constant"),
        ("constexpr float pi = 3.0;", "needs the address space constant"),
        ("inline void g() { threadgroup float t[2]; }", "non-kernel function variable"),
        ("template <typename T> void g(device T* p) { thread T* q = p; }\n"
         "kernel void k(device int* x) { g(x); }", "cannot initialize"),
    ],
)  # fmt: skip
def test_wrong_declarations(text, message):
    with pytest.raises(SyntaxError, match=message):
        strict.check(PREFIX + text)


def test_messages_use_metals_words():
    with pytest.raises(SyntaxError) as caught:
        strict.check(PREFIX + BODY.replace("STATEMENT", "thread float* r = x;"))
    assert "device float *" in str(caught.value) and "__global" not in str(caught.value)


def test_what_runs_is_what_is_checked():
    """The executing compile drops address spaces, so the strict one must see the same text."""
    wrong = PREFIX + "kernel void f(device float* x) { thread float* q = x; q[0] = 1; }"
    harness.compile_shader(wrong)
    with pytest.raises(SyntaxError, match=r"cannot initialize"):
        strict.check(wrong)
