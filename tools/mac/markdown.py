"""Tables and blocks of the report, and what makes a part of it a sentence."""

MOST_LINES = 10
MOST_COLUMNS = 160  # an issue holds 65536 characters


class Missing(RuntimeError):
    """There is no Apple GPU to run on."""


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell(c) for c in line)} |\n" for line in lines)


def cell(value):
    return str(value).replace("|", "\\|").replace("\n", " ")


def block(text, most=MOST_LINES):
    lines = text.rstrip().splitlines()
    cut = [] if len(lines) <= most else [f"... and {len(lines) - most} more lines"]
    shown = [line[:MOST_COLUMNS].replace("```", 3 * "'") for line in lines[:most]]
    return "```text\n" + "\n".join([*shown, *cut]) + "\n```\n"


def first_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else "no message"
