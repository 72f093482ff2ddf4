"""What only CUDA has: streams, graphs, several devices, indices that nobody checks on the host.

The operation table runs on CUDA from the other files. Tests that need a GPU are skipped, and say
so, where there is none.
"""

import os
import subprocess
import sys
import threading

import cases
import oracle
import pytest
import torch
from backends import BACKENDS
from inputs import same_bits

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C, _cuda

MISSING = BACKENDS["cuda"].missing
gpu = pytest.mark.skipif(MISSING is not None, reason=f"cuda: {MISSING}")
several_gpus = pytest.mark.skipif(
    MISSING is not None or torch.cuda.device_count() < 2, reason="needs two CUDA devices"
)

SLEEP = 200_000_000  # cycles: about a tenth of a second


def detail():
    return next(backend["detail"] for backend in ccmps.backends() if backend["name"] == "cuda")


def operations(device="cuda", width=4, dtype=torch.float16):
    """name -> a call without arguments; inputs stay the same from call to call."""
    shape = dict(x_dtype=dtype, weight_dtype=dtype)
    conv = cases.ConvCase(2, 24, 70, width, bias_dtype=dtype, initial=True, **shape)
    forward = conv.arguments(device)
    update = cases.UpdateCase(3, 24, None, width, 1, dtype, dtype).arguments(device)
    state = update.pop("conv_state")
    packed = torch.randn(30, 24, device=device).to(dtype)
    bounds = torch.tensor([0, 7, 30], dtype=torch.int32, device=device)
    leaves = {k: v for k, v in forward.items() if isinstance(v, torch.Tensor)}

    def run_forward():
        return ccmps.causal_conv1d_fn(**forward, return_final_states=True)

    def run_backward():
        live = {k: v.detach().requires_grad_() for k, v in leaves.items()}
        y = ccmps.causal_conv1d_fn(**live, activation=conv.activation)
        return torch.autograd.grad(y, list(live.values()), torch.ones_like(y))

    def run_update():
        moved = state.clone()
        return ccmps.causal_conv1d_update(conv_state=moved, **update), moved

    def run_varlen_states():
        return (ccmps.causal_conv1d_varlen_states(packed, bounds, width),)

    runs = (run_forward, run_backward, run_update, run_varlen_states)
    return {run.__name__.removeprefix("run_"): run for run in runs}


OPERATIONS = ("forward", "backward", "update", "varlen_states")


def all_same_bits(a, b):
    return len(a) == len(b) and all(same_bits(x, y) for x, y in zip(a, b))


# ---- Without a GPU -------------------------------------------------------------------------------


def test_nvrtc_is_found_in_the_wheels_best_first(tmp_path, monkeypatch):
    site = tmp_path / "site"
    names = {
        "torch/lib": ["libtorch.so", "libnvrtc-672ee683.so.11.2", "libnvrtc-builtins.so.11.8"],
        "nvidia/cu13/lib": ["libnvrtc.so.13", "libnvrtc.alt.so.13", "libnvrtc-builtins.so.13.0"],
        "nvidia/cuda_nvrtc/lib": ["libnvrtc.so.12", "libnvrtc-builtins.so.12.8"],
        "nvidia/cudnn/lib": ["libcudnn.so.9"],
    }
    for folder, files in names.items():
        (site / folder).mkdir(parents=True)
        for name in files:
            (site / folder / name).touch()
    monkeypatch.setattr(torch, "__file__", str(site / "torch" / "__init__.py"))
    monkeypatch.setattr(sys, "path", [])
    own = str(site / "torch/lib/libnvrtc-672ee683.so.11.2")
    of_12 = str(site / "nvidia/cuda_nvrtc/lib/libnvrtc.so.12")
    of_13 = str(site / "nvidia/cu13/lib/libnvrtc.so.13")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert _cuda.nvrtc_paths() == [own, of_12, of_13]
    monkeypatch.setattr(torch.version, "cuda", None)
    assert _cuda.nvrtc_paths() == [own, of_13, of_12]


@pytest.mark.parametrize("paths", [None, 3, [3], ["a\0b"]])
def test_bad_nvrtc_paths_are_refused(paths):
    with pytest.raises((TypeError, ValueError)):
        _C.set_nvrtc_paths(paths)


def test_detail_says_what_is_there_or_why_not():
    text = detail()
    assert "NVRTC" in text or "CUDA" in text
    if MISSING is None:
        name = torch.cuda.get_device_name(0)
        major, minor = torch.cuda.get_device_capability(0)
        assert f"{name} (sm_{major}{minor})" in text and "NVRTC" in text


def run_python(code, **environment):
    """stdout, then stderr, of a fresh interpreter; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


FIRST_USE = """
import time, torch
import causal_conv1d_mps as ccmps
x, w = torch.ones(2, 64, 512, device="cuda", dtype=torch.bfloat16), torch.ones(64, 4, device="cuda")
torch.cuda.synchronize()
start = time.perf_counter()
for repeat in range(3):
    ccmps.causal_conv1d(x, w, activation="silu")
    torch.cuda.synchronize()
    if repeat == 0:
        print(1000 * (time.perf_counter() - start))
"""


@gpu
def test_a_kernel_is_compiled_once(record_property):
    milliseconds, *compiled = run_python(FIRST_USE, CAUSAL_CONV1D_LOG="1").splitlines()
    record_property("first_use_ms", float(milliseconds))
    print(f"first use: {milliseconds} ms; {compiled}")
    assert len(compiled) == 1 and "compiled cc1d_forward" in compiled[0]


# ---- Streams and synchronisation -----------------------------------------------------------------


@gpu
@pytest.mark.parametrize("name", OPERATIONS)
def test_calls_do_not_wait_for_the_gpu(name):
    run = operations()[name]
    run()
    torch.cuda.synchronize()
    torch.cuda._sleep(SLEEP)
    run()
    assert not torch.cuda.current_stream().query(), "the call waited for earlier work"
    torch.cuda.synchronize()


@gpu
def test_work_goes_to_the_current_stream():
    weight = torch.ones(8, 1, device="cuda")
    x = torch.zeros(1, 8, 64, device="cuda")
    ccmps.causal_conv1d(x, weight)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(SLEEP)
        x.fill_(3.0)
        y = ccmps.causal_conv1d(x, weight)
    stream.synchronize()
    assert bool((y == 3.0).all()), "ran before the work ahead of it on its stream"


@gpu
def test_streams_side_by_side():
    run = operations()["forward"]
    want = run()
    torch.cuda.synchronize()
    found = []
    for _ in range(4):
        with torch.cuda.stream(torch.cuda.Stream()):
            found += [run() for _ in range(20)]
    torch.cuda.synchronize()
    assert all(all_same_bits(got, want) for got in found)


@gpu
def test_threads_with_new_kernels_and_streams_of_their_own():
    """Many threads meet uncompiled kernels at once; each then gets what one thread gets."""
    keys = [(13, torch.float16), (13, torch.bfloat16), (14, torch.float32), (15, torch.float16)]
    found, errors = {}, []
    barrier = threading.Barrier(2 * len(keys))

    def work(index):
        try:
            width, dtype = keys[index % len(keys)]
            with torch.cuda.stream(torch.cuda.Stream()):
                run = operations(width=width, dtype=dtype)["forward"]
                torch.cuda.current_stream().synchronize()
                barrier.wait()
                found[index] = [run() for _ in range(20)]
                torch.cuda.current_stream().synchronize()
        except Exception as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2 * len(keys))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for index, results in found.items():
        width, dtype = keys[index % len(keys)]
        want = operations(width=width, dtype=dtype)["forward"]()
        assert all(all_same_bits(got, want) for got in results)


# ---- Graph capture -------------------------------------------------------------------------------


def captured(run):
    """A graph of run(), and the results that each replay writes."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        results = run()
    return graph, results


@gpu
@pytest.mark.parametrize("name", OPERATIONS)
def test_graph_capture(name):
    run = operations()[name]
    want = run()
    graph, results = captured(run)
    for result in results:
        result.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert all_same_bits(results, want)


@gpu
def test_graph_replays_read_new_inputs():
    x = torch.zeros(2, 16, 40, device="cuda")
    weight = torch.randn(16, 4, device="cuda")
    ccmps.causal_conv1d(x, weight, activation="silu")
    graph, (y,) = captured(lambda: (ccmps.causal_conv1d(x, weight, activation="silu"),))
    for seed in range(3):
        torch.manual_seed(seed)
        x.normal_()
        graph.replay()
        assert same_bits(y, ccmps.causal_conv1d(x, weight, activation="silu"))


@gpu
def test_first_use_of_a_kernel_inside_a_capture():
    """Compiling and loading touch no stream, so they may happen while a graph is captured."""
    run = operations(width=19, dtype=torch.bfloat16)["forward"]
    graph, results = captured(run)
    graph.replay()
    torch.cuda.synchronize()
    assert all_same_bits(results, run())


@gpu
def test_compile_reduce_overhead():
    """mode='reduce-overhead' puts forward and backward into CUDA graphs."""
    weight = torch.randn(16, 4, device="cuda", requires_grad=True)

    def convolve(x):
        return ccmps.causal_conv1d(x * 2, weight, activation="silu") + 1

    def step(function, x):
        return torch.autograd.grad(function(x).square().sum(), (x, weight))

    compiled = torch.compile(convolve, mode="reduce-overhead", fullgraph=True)
    for seed in range(4):  # the first runs warm up and record, the others replay
        torch.manual_seed(seed)
        x = torch.randn(2, 16, 40, device="cuda", requires_grad=True)
        torch.compiler.cudagraph_mark_step_begin()
        found = step(compiled, x)
        for got, want in zip(found, step(convolve, x)):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


# ---- Devices and processes -----------------------------------------------------------------------


@several_gpus
@pytest.mark.parametrize("name", OPERATIONS)
def test_tensors_of_another_device(name):
    """The tensors' device counts, not the current one, which stays as it was."""
    torch.manual_seed(0)
    want = operations("cuda:0")[name]()
    torch.manual_seed(0)
    got = operations("cuda:1")[name]()
    assert all(t.device == torch.device("cuda:1") for t in got)
    assert torch.cuda.current_device() == 0
    if name != "varlen_states":  # whose input comes from the device's own generator
        assert all_same_bits(got, want)


@several_gpus
def test_devices_must_agree():
    with pytest.raises(ValueError, match="weight"):
        ccmps.causal_conv1d(torch.ones(1, 4, 8, device="cuda:0"), torch.ones(4, 4, device="cuda:1"))


@gpu
def test_host_and_device_must_agree():
    with pytest.raises(ValueError, match="weight"):
        ccmps.causal_conv1d(torch.ones(1, 4, 8, device="cuda"), torch.ones(4, 4))


FORKED = """
import os, sys, torch
import causal_conv1d_mps as ccmps
x, w = torch.ones(1, 4, 8, device="cuda"), torch.ones(4, 4, device="cuda")
y = ccmps.causal_conv1d(x, w)
child = os.fork()
if child == 0:
    try:  # below PyTorch, which might refuse first
        ccmps._C.run("forward", ccmps._tables.arrange("forward", x=x, weight=w, out=y))
    except RuntimeError as error:
        os._exit(0 if "fork" in str(error) else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

NO_NVRTC = """
import torch
import causal_conv1d_mps as ccmps
try:
    ccmps.causal_conv1d(torch.ones(1, 4, 8, device="cuda"), torch.ones(4, 4, device="cuda"))
except RuntimeError as error:
    print(error)
print(ccmps.info()["cuda"])
"""


@gpu
def test_a_forked_child_gets_a_clear_error():
    run_python(FORKED)


@gpu
def test_no_nvrtc_gets_a_clear_error():
    said = run_python(NO_NVRTC, CAUSAL_CONV1D_NVRTC="/nowhere/libnvrtc.so")
    error, state = said.strip().splitlines()
    assert "NVRTC" in error and "/nowhere/libnvrtc.so" in error
    assert state.startswith("no:") and "/nowhere/libnvrtc.so" in state


# ---- Indices out of range: never checked on the host, never outside the tensors ------------------


def fenced(tensor, margin=4096):
    """The tensor inside a larger allocation of sevens; the whole comes back too."""
    whole = torch.full((tensor.numel() + 2 * margin,), 7, dtype=tensor.dtype, device="cuda")
    inside = whole[margin : margin + tensor.numel()].view(tensor.shape)
    inside.copy_(tensor)
    return inside, whole


def untouched(whole, margin=4096):
    return bool((whole[:margin] == 7).all() and (whole[-margin:] == 7).all())


WILD = (-(2**31), -100, 5, 6, 1000, 2**31 - 1)


@gpu
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_state_indices_out_of_range_are_padding(index_dtype):
    indices = torch.tensor([*WILD, 4, 0], dtype=index_dtype, device="cuda")
    rows = len(indices)
    pool, whole = fenced(torch.randn(5, 9, 4))
    before = pool.clone()
    x = torch.randn(rows, 9, device="cuda")
    weight = torch.randn(9, 4, device="cuda")
    y = ccmps.causal_conv1d_update(x, pool, weight, conv_state_indices=indices)
    torch.cuda.synchronize()
    assert untouched(whole)
    assert not y[: len(WILD)].any() and bool(y[-2:].any())
    changed = [not same_bits(pool[row], before[row]) for row in range(5)]
    assert changed == [True, False, False, False, True]


@gpu
@pytest.mark.parametrize("length", [1, 3])
def test_a_graph_of_a_pool_follows_its_indices(length):
    """Rows that are read, rows that are written and accepted counts change between replays."""
    generator = torch.Generator("cuda").manual_seed(1)
    pool, weight = (torch.randn(s, device="cuda", generator=generator) for s in ((8, 9, 7), (9, 4)))
    x = torch.randn(3, 9, length, device="cuda", generator=generator)
    starts = ([0, 1, 2], [0, 1, 2], [1, 1, 1])
    read, written, counts = (torch.tensor(start, device="cuda") for start in starts)

    def call(pool):
        return ccmps.causal_conv1d_update(
            x,
            pool,
            weight,
            conv_state_indices=read,
            conv_state_out_indices=written,
            num_accepted_tokens=counts if length > 1 else None,
        )

    call(pool.clone())
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = call(pool)
    for rows, targets, accepted in (
        ([5, 5, 5], [4, 6, 7], [1, 2, 3]),
        ([4, -1, 7], [4, 3, 7], [5, 1, 1]),
        ([6, 1, 0], [6, 99, -1], [2, 1, 1]),
    ):
        for tensor, values in ((read, rows), (written, targets), (counts, accepted)):
            tensor.copy_(torch.tensor(values))
        before = pool.clone()
        graph.replay()
        assert same_bits(y, call(before)) and same_bits(pool, before)


PROMPTS = (  # cu_seqlens, rows that are read, that are written, and whether they are read at all
    ([0, 7, 7, 20], [5, 2, 6], [5, 2, 6], [True, True, False]),
    ([0, 0, 33, 40], [5, 5, 5], [4, 6, 7], [True, True, True]),
    ([0, 1, 2, 3], [4, -1, 7], [4, 3, 99], [False, True, True]),
    ([0, 9, 300, 12], [2**31 - 1, 1, 0], [1, -7, 0], [True, True, True]),
)


@gpu
@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_a_graph_of_prefill_follows_its_indices(layout):
    """Bounds, rows and flags change between replays, also to ones that name no step or row."""
    generator = torch.Generator("cuda").manual_seed(1)
    weight = torch.randn(9, 4, device="cuda", generator=generator)
    x = torch.randn(1, 9, 64, device="cuda", generator=generator)
    x = x if layout == "BDT" else x.transpose(1, 2).contiguous().transpose(1, 2)
    pool, whole = fenced(torch.randn(8, 9, 5, generator=torch.Generator().manual_seed(2)))
    given = [torch.tensor(values, device="cuda") for values in PROMPTS[0]]

    def call(pool):
        names = ("cu_seqlens", "conv_state_indices", "conv_state_out_indices", "has_initial_state")
        return ccmps.causal_conv1d_fn(x, weight, conv_states=pool, **dict(zip(names, given)))

    call(pool.clone())
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = call(pool)
    for prompt in PROMPTS:
        for tensor, values in zip(given, prompt):
            tensor.copy_(torch.tensor(values))
        before = pool.clone()
        graph.replay()
        assert same_bits(y, call(before)) and same_bits(pool, before)
        assert untouched(whole)


@gpu
@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_prefill_of_far_rows(layout):
    """Rows more than 2^31 elements apart, of a pool that is touched only there."""
    if torch.cuda.mem_get_info()[0] < 10 * 2**30:
        pytest.skip("needs 9 GiB of GPU memory")
    far = 2**31 + 16
    kept = torch.randn(3, 5, 4).to("cuda", torch.bfloat16)
    pool = torch.empty(2 * far + 20, dtype=torch.bfloat16, device="cuda")
    pool = pool.as_strided((3, 5, 4), (far, 4, 1)).copy_(kept)
    x = torch.randn(2, 5, 70, device="cuda").to(torch.bfloat16)
    x = x if layout == "BDT" else x.transpose(1, 2).contiguous().transpose(1, 2)
    more = dict(
        conv_state_indices=torch.tensor([2, 1], device="cuda"),
        has_initial_state=torch.tensor([True, True], device="cuda"),
    )
    weight = torch.randn(5, 4, device="cuda")
    want = ccmps.causal_conv1d_fn(x, weight, conv_states=kept, **more)
    assert same_bits(ccmps.causal_conv1d_fn(x, weight, conv_states=pool, **more), want)
    assert same_bits(pool, kept) and same_bits(pool[[2, 1]], x[..., -4:])


@gpu
@pytest.mark.parametrize("values", [WILD[:4], (0, -1, 2**31 - 1, 4)])
def test_wild_lengths_stay_inside_the_state(values):
    state, whole = fenced(torch.randn(4, 9, 7))
    lengths = torch.tensor(values, dtype=torch.int32, device="cuda")
    x, weight = torch.randn(4, 9, 3, device="cuda"), torch.randn(9, 4, device="cuda")
    ccmps.causal_conv1d_update(x, state, weight, cache_seqlens=lengths)
    ccmps.causal_conv1d_update(x, state, weight, num_accepted_tokens=lengths)
    ccmps.causal_conv1d_update(x, state, weight, conv_state_out_indices=lengths)
    torch.cuda.synchronize()
    assert untouched(whole)


@gpu
@pytest.mark.parametrize(
    "bounds", [(0, 50, 20, 40), (-9, 10, 20, 40), (0, 10, 20, 10**6), (5, 10, 20, 30), WILD]
)
def test_wild_sequence_bounds_stay_inside_the_tensors(bounds):
    cu_seqlens = torch.tensor(bounds, dtype=torch.int64, device="cuda")
    x, whole_x = fenced(torch.randn(1, 9, 40))
    out, whole_out = fenced(torch.zeros(1, 9, 40))
    final_states, whole_final = fenced(torch.zeros(len(bounds) - 1, 9, 3))
    weight = torch.randn(9, 4, device="cuda")
    arguments = dict(cu_seqlens=cu_seqlens, activation="silu")
    ccmps.causal_conv1d_fn(x, weight, **arguments, out=out, final_states_out=final_states)
    live = x.detach().requires_grad_()
    y = ccmps.causal_conv1d_fn(live, weight, **arguments)
    torch.autograd.grad(y.sum(), live)
    states = ccmps.causal_conv1d_varlen_states(x[0].T, cu_seqlens, 3)
    torch.cuda.synchronize()
    assert untouched(whole_x) and untouched(whole_out) and untouched(whole_final)
    assert states.shape == (len(bounds) - 1, 9, 3)


@gpu
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
@pytest.mark.parametrize("width", [4, 9])
def test_indices_that_change_meanwhile_stay_inside_the_tensors(width, layout):
    """Another stream writes the indices while kernels read them, some of them more than once."""
    length, rounds = 4096, 200
    generator = torch.Generator("cuda").manual_seed(1)
    ids = torch.zeros(1, length, dtype=torch.int64, device="cuda")
    bounds = torch.zeros(9, dtype=torch.int64, device="cuda")
    x, whole_x = fenced(torch.randn(1, 64, length))
    out, whole_out = fenced(torch.zeros(1, 64, length))
    if layout == "channel_last":
        x, out = (t.view(1, length, 64).transpose(1, 2) for t in (x, out))
    weight = torch.randn(64, width, device="cuda")
    writer = torch.cuda.Stream()
    for given in (dict(seq_idx=ids), dict(cu_seqlens=bounds)):
        (index,) = given.values()
        rows = 1 if "seq_idx" in given else len(bounds) - 1
        states, whole_states = fenced(torch.randn(rows, 64, width - 1))
        final_states, whole_final = fenced(torch.zeros(rows, 64, width - 1))
        live = x.detach().requires_grad_(), states.detach().requires_grad_()
        for _ in range(rounds):
            with torch.cuda.stream(writer):
                index.random_(-(2**40), 2**40, generator=generator)
                index.random_(-9, length + 9, generator=generator)
            ccmps.causal_conv1d_fn(
                x,
                weight,
                initial_states=states,
                activation="silu",
                out=out,
                final_states_out=final_states,
                **given,
            )
            y, last = ccmps.causal_conv1d_fn(
                live[0], weight, initial_states=live[1], return_final_states=True, **given
            )
            torch.autograd.grad((y, last), live, (y.detach(), last.detach()))
        torch.cuda.synchronize()
        assert all(map(untouched, (whole_x, whole_out, whole_states, whole_final)))


# ---- Sizes and bits ------------------------------------------------------------------------------


@gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_packed_sequences_of_many_rows(layout, dtype):
    """Enough rows that a thread could be given several loads of one: every step is written."""
    x = torch.randn(2, 4096, 1536, dtype=dtype)
    if layout == "channel_last":
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    weight = torch.randn(4096, 4)
    seq_idx = (torch.arange(1536) // 500).expand(2, -1).to(torch.int32)
    want = ccmps.causal_conv1d_fn(x, weight, seq_idx=seq_idx)
    out = torch.full_like(x, float("nan"), device="cuda")
    ccmps.causal_conv1d_fn(x.cuda(), weight.cuda(), seq_idx=seq_idx.cuda(), out=out)
    assert torch.equal(out.cpu(), want)  # without activation: one fma chain on either device


@gpu
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
@pytest.mark.parametrize("shape", [(70_000, 2, 3), (1, 70_000, 3), (2, 3, 140_000)])
def test_more_blocks_than_one_grid_dimension_holds(shape, layout):
    case = cases.ConvCase(*shape, 4, torch.bfloat16, layout=layout)
    arguments = case.arguments("cuda")
    oracle.check(ccmps.causal_conv1d_fn(**arguments), oracle.forward(**arguments).y, "y")


@gpu
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_the_same_bits_fifty_times(layout):
    case = cases.ConvCase(4, 200, 3000, 4, torch.bfloat16, layout=layout)
    arguments = case.arguments("cuda")
    leaves = {k: v.requires_grad_() for k, v in arguments.items() if isinstance(v, torch.Tensor)}

    def step():
        y = ccmps.causal_conv1d_fn(**arguments)
        return (y, *torch.autograd.grad(y.float().square().sum(), list(leaves.values())))

    want = step()
    assert all(all_same_bits(step(), want) for _ in range(49))


@gpu
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_more_than_two_to_the_31_elements(layout):
    """The far end equals the same rows computed alone: no index has wrapped around."""
    batch, dim, length = 3, 4096, 180_000  # 2.2e9 elements, 4.4 GB a tensor
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip("needs 30 GB of free GPU memory")
    memory = (batch, length, dim) if layout == "channel_last" else (batch, dim, length)
    x = torch.empty(memory, dtype=torch.bfloat16, device="cuda").normal_()
    x = x.transpose(1, 2) if layout == "channel_last" else x
    weight, bias = torch.randn(dim, 4, device="cuda"), torch.randn(dim, device="cuda")
    x.requires_grad_()
    y = ccmps.causal_conv1d(x, weight, bias, activation="silu")
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    y, x = y.detach(), x.detach()
    for b, d in ((0, 0), (1, 2048), (batch - 1, dim - 32)):
        rows = slice(d, d + 32)
        part = x[b : b + 1, rows].clone().requires_grad_()
        alone = ccmps.causal_conv1d(part, weight[rows], bias[rows], activation="silu")
        (dpart,) = torch.autograd.grad(alone, part, torch.ones_like(alone))
        assert same_bits(y[b : b + 1, rows], alone)
        torch.testing.assert_close(dx[b : b + 1, rows], dpart, rtol=1e-2, atol=1e-2)
    tail = x[-1:, -2:, -2000:]
    want = oracle.forward(tail, weight[-2:], bias[-2:], activation="silu").y
    far = oracle.Bounded(want.value[..., 3:], want.error[..., 3:])
    oracle.check(y[-1:, -2:, -1997:], far, "y")
