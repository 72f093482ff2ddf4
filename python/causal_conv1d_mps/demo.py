"""Quick start, speed table, and a small language model whose only token mixer is this operation."""

import argparse
import importlib.metadata
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from . import backends, causal_conv1d, causal_conv1d_update

# Best first.
DEVICES = {
    "mps": torch.backends.mps.is_available,
    "cuda": torch.cuda.is_available,
    "cpu": lambda: True,
}
WIDTHS = (4, 4, 6, 8, 8)
CHANNELS = 128
BATCH, WINDOW = 16, 256
LEARNING_RATE = 4e-3
DROPOUT = 0.1
HELD_OUT = 0.1
SAMPLE = 400
# A document of any size will do, but a model needs something to learn.
MIN_TEXT = 2_000


def best_device():
    return next(device for device, available in DEVICES.items() if available())


def quick_start(device):
    """The quick start of the README in bfloat16, against PyTorch; returns the worst difference."""
    B, D, T, W = 2, 128, 256, 4
    x = torch.randn(B, D, T, device=device, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(D, W, device=device, dtype=x.dtype, requires_grad=True)
    bias = torch.randn(D, device=device, dtype=x.dtype, requires_grad=True)
    leaves = [x, weight, bias]

    y = causal_conv1d(x, weight, bias, activation="silu")
    gradients = torch.autograd.grad(y.mean(), leaves)

    wide = [leaf.detach().float().requires_grad_() for leaf in leaves]
    expected = F.silu(F.conv1d(wide[0], wide[1].unsqueeze(1), wide[2], padding=W - 1, groups=D))
    expected = expected[..., :T]
    expected_gradients = torch.autograd.grad(expected.mean(), wide)

    worst = 0.0
    pairs = [(y.detach(), expected.detach()), *zip(gradients, expected_gradients, strict=True)]
    for got, want in pairs:
        worst = max(worst, float((got.float() - want).abs().max() / want.abs().max()))
    return worst


class Mixer(nn.Module):
    """Mixes tokens: a causal convolution over (B, T, D), or one step of it with a state."""

    def __init__(self, channels, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, width) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        # The transposed view is channel-last, which needs no copy.
        y = causal_conv1d(x.transpose(1, 2), self.weight, self.bias, activation="silu")
        return y.transpose(1, 2)

    def step(self, x, state):
        return causal_conv1d_update(x, state, self.weight, self.bias, activation="silu")


class Block(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.mixer_norm = nn.LayerNorm(channels)
        self.mixer = Mixer(channels, width)
        self.mlp_norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 4 * channels)
        self.down = nn.Linear(2 * channels, channels)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x, state=None):
        mixed = self.mixer_norm(x)
        x = x + (self.mixer(mixed) if state is None else self.mixer.step(mixed, state))
        gate, value = self.up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(self.dropout(F.silu(gate) * value))


class CharacterModel(nn.Module):
    """Characters in, logits of the next character out."""

    def __init__(self, vocabulary, channels=CHANNELS, widths=WIDTHS):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, channels)
        self.blocks = nn.ModuleList(Block(channels, width) for width in widths)
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, vocabulary)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def states(self, batch, device):
        """A fresh state for every block."""
        return [
            torch.zeros(batch, CHANNELS, width - 1, device=device)
            for width in (block.mixer.weight.shape[1] for block in self.blocks)
        ]

    def step(self, token, states):
        """Logits after one more character per row; the states are changed in place."""
        x = self.embed(token)
        for block, state in zip(self.blocks, states, strict=True):
            x = block(x, state)
        return self.head(self.norm(x))


def default_text():
    """The project's own documents: those of the checkout, or the ones inside the package."""
    here = Path(__file__).resolve().parent
    for root in (Path.cwd(), here.parent.parent):
        if (root / "include" / "causal_conv1d.h").is_file():
            patterns = ("*.md", "docs/*.md", "include/*.h", "src/*/*.h", "src/*/*/*.h")
            paths = [path for pattern in patterns for path in sorted(root.glob(pattern))]
            # One script: the model is small.
            paths = [path for path in paths if not path.stem.endswith("_CN")]
            return "\n".join(path.read_text(encoding="utf-8") for path in paths), f"{root}"
    text = importlib.metadata.metadata("causal-conv1d-mps").get_payload()
    text += "\n".join(path.read_text(encoding="utf-8") for path in sorted(here.glob("*.py")))
    return text, f"{here}"


def read_text(path):
    if path is None:
        return default_text()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"--text {path}: {error}")
    if len(text) < MIN_TEXT:
        sys.exit(f"--text {path}: expected at least {MIN_TEXT} characters, got {len(text)}")
    return text, str(path)


def batch_of(tokens, generator, device):
    starts = torch.randint(len(tokens) - WINDOW, (BATCH,), generator=generator).tolist()
    rows = torch.stack([tokens[start : start + WINDOW + 1] for start in starts]).to(device)
    return rows[:, :-1], rows[:, 1:]


def loss_of(model, inputs, targets):
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


@torch.inference_mode()
def held_out_loss(model, tokens, device):
    generator = torch.Generator().manual_seed(0)
    model.eval()
    losses = [loss_of(model, *batch_of(tokens, generator, device)) for _ in range(4)]
    return float(torch.stack(losses).mean())


def learning_rate(progress):
    """Up over the first tenth, then down along a cosine; progress runs from 0 to 1."""
    if progress < 0.1:
        return LEARNING_RATE * (0.1 + 9 * progress)
    return LEARNING_RATE * (0.01 + 0.5 * (1 + math.cos(math.pi * progress)))


def train(model, tokens, options, device, console):
    """Trains until the steps or the seconds are used up; returns the loss of every step."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    generator = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    losses = []
    model.train()
    start = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=1.0)
        progress = 0.0
        while progress < 1:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress)
            loss = loss_of(model, *batch_of(tokens, generator, device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            progress = len(losses) / options.steps
            if options.seconds > 0:
                progress = max(progress, (time.perf_counter() - start) / options.seconds)
            text = f"training, step {len(losses)}, loss {losses[-1]:.3f}"
            bar.update(task, completed=min(progress, 1.0), description=text)
    return losses


@torch.inference_mode()
def stream_sample(model, characters, prompt, count, seed, device):
    """Yields `count` characters after the prompt, one step of every state at a time."""
    generator = torch.Generator().manual_seed(seed)
    states = model.states(1, device)
    index = {character: number for number, character in enumerate(characters)}
    for character in prompt:
        logits = model.step(torch.tensor([index[character]], device=device), states)
    for _ in range(count):
        probabilities = torch.softmax(logits[0].float().cpu() / 0.7, dim=-1)
        token = torch.multinomial(probabilities, 1, generator=generator)
        yield characters[token.item()]
        logits = model.step(token.to(device), states)


def save_curve(path, losses, held_out, source):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axis.plot(range(1, len(losses) + 1), losses, linewidth=1, label="training")
    axis.plot([1, len(losses)], held_out, "o", color="tab:orange", label="held out")
    axis.set_xlabel("step")
    axis.set_ylabel("loss (nats per character)")
    axis.set_title(f"Character model, mixing by causal_conv1d only\n{source}", fontsize=10)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def parse(argv):
    parser = argparse.ArgumentParser(prog="causal_conv1d_mps demo", description=__doc__)
    parser.add_argument("--device", choices=DEVICES, help="default: the best here")
    parser.add_argument("--text", type=Path, help="UTF-8 file to learn (default: our documents)")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default 300)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=40,
        help="stop training after this long (default 40; 0: no limit)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path("causal_conv1d_demo_loss.png"), help="loss curve, PNG"
    )
    options = parser.parse_args(argv)
    if options.steps < 1:
        parser.error(f"--steps: expected 1 or more, got {options.steps}")
    return options


def show_speed(device, console):
    from .bench.small_table import print_table

    console.rule("Speed, forward", align="left")
    if not print_table(device, "bf16", seconds=0.05):
        sys.exit("a result of the speed table is wrong")


def language_model(text, source, options, device, console):
    console.rule("A language model whose only token mixer is this convolution", align="left")
    characters = sorted(set(text))
    index = {character: number for number, character in enumerate(characters)}
    tokens = torch.tensor([index[character] for character in text])
    split = len(tokens) - max(WINDOW + 2, int(HELD_OUT * len(tokens)))
    torch.manual_seed(options.seed)
    model = CharacterModel(len(characters)).to(device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    console.print(
        f"{len(text):,} characters ({len(characters)} different) from {source}; "
        f"{parameters:,} parameters",
        highlight=False,
    )
    before = held_out_loss(model, tokens[split:], device)
    start = time.perf_counter()
    losses = train(model, tokens[:split], options, device, console)
    seconds = time.perf_counter() - start
    after = held_out_loss(model, tokens[split:], device)
    rate = len(losses) * BATCH * WINDOW / seconds
    console.print(
        f"Held-out loss: {before:.3f} -> {after:.3f} nats per character after {len(losses)} steps "
        f"in {seconds:.0f} s ({rate:,.0f} characters per second)",
        highlight=False,
        soft_wrap=True,
    )

    prompt = text[:24]
    console.rule("A sample, character by character with causal_conv1d_update", align="left")
    start = time.perf_counter()
    print(prompt, end="", flush=True)
    for character in stream_sample(model, characters, prompt, SAMPLE, options.seed, device):
        print(character, end="", flush=True)
    seconds = time.perf_counter() - start
    print()
    console.print(f"{1e3 * seconds / (SAMPLE + len(prompt)):.2f} ms per character", highlight=False)
    save_curve(options.out, losses, (before, after), Path(source).name)
    console.print(f"Loss curve: {options.out.resolve()}", highlight=False, soft_wrap=True)
    if len(losses) > 10 and not losses[-1] < losses[0]:
        sys.exit("the loss did not fall")


def main(argv=None):
    options = parse(argv)
    try:
        from rich.console import Console
    except ImportError:
        sys.exit("The demo needs rich and matplotlib: pip install 'causal-conv1d-mps[demo]'")
    console = Console()
    text, source = read_text(options.text)
    device = options.device or best_device()
    if not DEVICES[device]():
        sys.exit(f"--device {device}: PyTorch {torch.__version__} finds no such device here")

    console.rule("causal-conv1d-mps", align="left")
    for backend in backends():
        state = "yes" if backend["available"] else "no"
        line = f"{backend['name']:<6} {state:<4} {backend['detail']}"
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"device {device}, PyTorch {torch.__version__}", highlight=False)

    console.rule("Quick start: forward and backward in bfloat16", align="left")
    torch.manual_seed(options.seed)
    worst = quick_start(device)
    console.print(f"largest difference from PyTorch in float32: {worst:.2e} of the largest value")
    if not worst < 2**-7:
        sys.exit("the quick start disagrees with PyTorch")

    show_speed(device, console)
    language_model(text, source, options, device, console)
