"""Convolves in worker processes: python worker_processes.py {fork,forkserver,spawn,loader}.

A file of its own, because processes that are spawned import it.
"""

import multiprocessing
import sys

import torch

import causal_conv1d_mps as ccmps


def result(threads):
    """Bytes of a call large enough for several threads."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 64, 3000, generator=generator)
    weight = torch.randn(64, 4, generator=generator)
    return ccmps.causal_conv1d(x, weight, None, "silu").numpy().tobytes()


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index, result(2)


def several(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        return pool.map_async(result, [2, 2]).get(timeout=60)


def loaded():
    loader = torch.utils.data.DataLoader(
        Samples(), batch_size=None, num_workers=2, timeout=60, multiprocessing_context="fork"
    )
    return [value for _, value in loader]


def main(method):
    torch.set_num_threads(2)
    torch.randn(1_000_000).mul_(2)  # PyTorch has made its threads; this package ran nothing yet
    found = loaded() if method == "loader" else several(method)
    assert found and all(value == result(1) for value in found)


if __name__ == "__main__":
    main(sys.argv[1])
