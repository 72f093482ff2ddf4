"""Child processes: whatever the parent had run before, and where no thread can be started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_threads import run_in_child_process

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

HERE = Path(__file__).parent


@pytest.mark.parametrize("before", ["nothing", "a small call", "a large call"])
def test_the_first_large_call_of_a_child(before):
    """PyTorch's threads exist in the parent, and are not there in the child."""
    run_in_child_process(
        f"""
        import os, signal
        import torch, causal_conv1d_mps as ccmps

        torch.set_num_threads(2)
        x, weight = torch.randn(2, 64, 4096), torch.randn(64, 4)
        torch.randn(1_000_000).mul_(2)
        before = {before!r}
        if before == "a small call":
            ccmps.causal_conv1d(x[:, :2, :4], weight[:2])
        if before == "a large call":
            ccmps.causal_conv1d(x, weight)
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            ccmps.causal_conv1d(x, weight, None, "silu")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_a_child_that_imports_after_the_fork():
    run_in_child_process(
        """
        import os, signal
        import torch

        torch.set_num_threads(2)
        x, weight = torch.randn(2, 64, 4096), torch.randn(64, 4)
        torch.randn(1_000_000).mul_(2)
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            import causal_conv1d_mps as ccmps

            ccmps.causal_conv1d(x, weight, None, "silu")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn", "loader"])
def test_workers(method):
    """Two workers, which take two threads each, and the bits of one thread."""
    command = [sys.executable, str(HERE / "worker_processes.py"), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=HERE)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit counts threads on Linux only")
def test_where_no_thread_can_be_started():
    """GNU's OpenMP would end the process; the call goes on with the threads that there are."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become a user whose processes can be counted")
    run_in_child_process(
        """
        import os, resource
        import torch, causal_conv1d_mps as ccmps

        x, weight = torch.randn(2, 64, 4096), torch.randn(64, 4)
        torch.set_num_threads(1)
        want = ccmps.causal_conv1d(x, weight, None, "silu").numpy().tobytes()
        os.setgid(65534)
        os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        torch.set_num_threads(4)
        for _ in range(3):
            assert ccmps.causal_conv1d(x, weight, None, "silu").numpy().tobytes() == want
        """
    )
