"""Many Python threads, changing thread counts, fork after use, and the GIL."""

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cases
import pytest
import torch
from inputs import same_bits, values, weights
from test_invariance import EVERYTHING, everything, threads

import causal_conv1d_mps as ccmps

F32, BF16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize("case", EVERYTHING[::3], ids=lambda case: case.id)
def test_concurrent_calls_give_the_bits_of_serial_ones(case):
    serial = everything(case, "cpu")
    start = threading.Barrier(8)

    def work(_):
        start.wait()
        return [everything(case, "cpu") for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(8)):
            for result in results:
                assert all(same_bits(serial[name], result[name]) for name in serial)


def test_concurrent_updates_of_their_own_states():
    case = cases.UpdateCase(4, 64, 3, 4, 2, BF16)

    def work(_):
        arguments = case.arguments()
        steps = [ccmps.causal_conv1d_update(**arguments) for _ in range(20)]
        return torch.stack([*steps]), arguments["conv_state"]

    y, state = work(0)
    with ThreadPoolExecutor(8) as pool:
        for other_y, other_state in pool.map(work, range(16)):
            assert same_bits(y, other_y) and same_bits(state, other_state)


def test_thread_count_may_change_at_any_time():
    """While another thread is inside calls."""
    x, weight = values((2, 64, 2000), F32, 1), weights((64, 4), F32, 2)
    want = ccmps.causal_conv1d(x, weight, None, "silu")
    stop = threading.Event()

    def work():
        rounds = 0
        while not stop.is_set():
            assert same_bits(ccmps.causal_conv1d(x, weight, None, "silu"), want)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(work)
        for count in (1, 4, 2, 8, 3, 1, 2) * 3:
            with threads(count):
                assert same_bits(ccmps.causal_conv1d(x, weight, None, "silu"), want)
        stop.set()
        assert other.result() > 0


def run_in_child_process(program):
    """Its own interpreter, because pytest's process has threads that do not survive a fork."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    here = Path(__file__).parent
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=here)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_after_use():
    """Parent, child and grandchild all compute with several threads, and the same bits."""
    run_in_child_process(
        """
        import os, signal
        import torch, causal_conv1d_mps as ccmps

        signal.alarm(100)
        torch.set_num_threads(4)
        x, weight = torch.randn(4, 64, 3000), torch.randn(64, 4)

        def computed():  # as bytes: PyTorch's own OpenMP threads do not survive a fork
            return ccmps.causal_conv1d(x, weight, None, "silu").numpy().tobytes()

        want = computed()

        def same():
            return computed() == want

        def forked(work):
            pid = os.fork()
            if pid == 0:
                signal.alarm(50)
                os._exit(0 if work() else 1)
            return os.waitpid(pid, 0)[1] == 0

        assert forked(lambda: same() and forked(same)), "after a fork"
        assert same(), "in the parent after the fork"
        """
    )


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_pytorchs_threads_do_the_work():
    """No second set of threads beside the OpenMP runtime's, which spin between its regions."""
    if not hasattr(ctypes.CDLL(None), "GOMP_parallel"):
        pytest.skip("this PyTorch runs on another runtime than OpenMP")
    run_in_child_process(
        """
        import os
        import torch, causal_conv1d_mps as ccmps

        torch.set_num_threads(4)
        x, weight = torch.randn(4, 64, 3000), torch.randn(64, 4)
        torch.nn.functional.silu(x)
        before = set(os.listdir("/proc/self/task"))
        assert len(before) >= 4

        def ran(thread):
            with open(f"/proc/self/task/{thread}/stat") as file:
                return int(file.read().rsplit(")", 1)[1].split()[11])  # ticks in user mode

        ticks = {thread: ran(thread) for thread in before}
        for _ in range(2000):
            ccmps.causal_conv1d(x, weight, None, "silu")
        assert set(os.listdir("/proc/self/task")) == before
        assert sum(ran(thread) > ticks[thread] for thread in before) >= 4
        """
    )


def test_exit_while_the_pool_sleeps():
    """The interpreter ends promptly and cleanly after calls with several threads."""
    run_in_child_process(
        """
        import threading
        import torch, causal_conv1d_mps as ccmps

        torch.set_num_threads(4)
        call = lambda: ccmps.causal_conv1d(torch.randn(4, 64, 3000), torch.randn(64, 4))
        call()
        others = [threading.Thread(target=call) for _ in range(4)]
        [t.start() for t in others]
        [t.join() for t in others]
        """
    )


def test_the_gil_is_released():
    """Another Python thread goes on counting during one long call."""
    x, weight = torch.zeros(1, 64, 400_000), torch.ones(64, 17)
    inside, counts = threading.Event(), []

    def count():
        inside.wait()
        while inside.is_set():
            counts.append(time.perf_counter())
            time.sleep(0.0005)

    counter = threading.Thread(target=count)
    counter.start()
    with threads(1):
        begin = time.perf_counter()
        inside.set()
        ccmps.causal_conv1d(x, weight, None, "silu")
        end = time.perf_counter()
    inside.clear()
    counter.join()
    during = [t for t in counts if begin + 0.2 * (end - begin) < t < begin + 0.8 * (end - begin)]
    assert len(during) >= 3, f"{len(during)} steps of another thread in {end - begin:.3f} s"
