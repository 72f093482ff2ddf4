#!/usr/bin/env python3
"""One hash of all results' bits over the operation table, for every backend here.

    python tools/hash_bits.py [--site DIR] [BACKEND...]

To see whether a change changed a bit: run it in both checkouts. --site takes the package from
another folder (pip install --target). "metal" is the harness, which takes minutes.
"""

import argparse
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", help="the folder that the package is taken from")
    parser.add_argument("--every", type=int, default=1, help="take every n-th case only")
    parser.add_argument("backends", nargs="*", help="default: all that can run here, but for metal")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT / "tests" / "python")]
    if options.site:
        sys.path.insert(0, options.site)
    import backends

    known = dict(backends.BACKENDS)
    if "metal" in options.backends:
        sys.path.insert(0, str(ROOT / "tests" / "metal"))
        import backend

        known["metal"] = backend.METAL
    names = options.backends or [name for name, b in known.items() if b.missing is None]
    for name in names:
        with known[name].enter():
            print(name, *_hashes(known[name], options.every), flush=True)


def _hashes(backend, every):
    import cases
    import torch
    from test_backward import gradients

    import causal_conv1d_mps as ccmps

    def forward(case):
        arguments = case.arguments(backend.device)
        if case.out or case.final == "final_states_out":
            case = cases.replace(case, out=False, final=case.final and "returned")
        result = ccmps.causal_conv1d_fn(**arguments, return_final_states=case.final is not None)
        return result if isinstance(result, tuple) else (result,)

    def backward(case):
        return tuple(gradients(case, backend.device)[2].values())

    def update(case):
        arguments = case.arguments(backend.device)
        return ccmps.causal_conv1d_update(**arguments), arguments["conv_state"]

    def varlen_states(case):
        return (ccmps.causal_conv1d_varlen_states(**case.arguments(backend.device)),)

    table = (
        (forward, cases.FORWARD),
        (backward, cases.BACKWARD),
        (update, cases.UPDATE),
        (varlen_states, cases.VARLEN),
    )
    for run, rows in table:
        hashed, count = hashlib.sha256(), 0
        for case in rows[::every]:
            if not backend.supports(*case.dtypes):
                continue
            count += 1
            for result in run(case):
                data = result.detach().contiguous().cpu().flatten()
                hashed.update(torch.nan_to_num(data).view(torch.uint8).numpy().tobytes())
        yield f"{run.__name__} {count} {hashed.hexdigest()[:12]}"


if __name__ == "__main__":
    main()
