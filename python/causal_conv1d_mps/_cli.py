"""python -m causal_conv1d_mps {info,demo,bench,models,warmup,metal-source}"""

import argparse
import os
import sys


def _info(_arguments):
    from . import info

    print(info())


def _demo(arguments):
    from .demo import main

    main(arguments)


def _bench(arguments):
    from .bench.main import main

    main(arguments)


def _models(arguments):
    from .bench.models import main

    main(arguments)


def _warmup(arguments):
    from ._warmup import main

    main(arguments)


def _metal_source(_arguments):
    from ._metal import metal_source

    sys.stdout.write(metal_source())


COMMANDS = {
    "info": (_info, "what this installation can do, and why not where it cannot"),
    "demo": (_demo, "quick start, speed table, and a small language model trained on the spot"),
    "bench": (_bench, "verify, then time every shape against a copy and against PyTorch"),
    "models": (_models, "what whole transformers models gain from install() and fuse() here"),
    "warmup": (_warmup, "compile what a model will call on a GPU, and say how long each took"),
    "metal-source": (_metal_source, "write the text of the Metal kernels to standard output"),
}


def main(argv=None):
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="python -m causal_conv1d_mps",
        epilog="\n".join(f"{name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
        + "\n\nCOMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = parser.parse_args(arguments[:1]).command
    rest = arguments[1:]
    if command in ("info", "metal-source") and rest:
        parser.error(f"{command} takes no arguments, got {' '.join(rest)}")
    try:
        COMMANDS[command][0](rest)
    except BrokenPipeError:
        # The reader (head, less) has enough; keep the interpreter's own flush quiet, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
