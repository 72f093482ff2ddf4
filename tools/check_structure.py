#!/usr/bin/env python3
"""Whether dependencies in the C sources point one way.

    tools/check_structure.py OBJECT...    object files of the library, as a compiler made them

Fails where headers include each other in a cycle, where object files need each other's symbols in a
cycle, or where two files below src have one name; prints them.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def includes():
    """{source file: the files of this project that it includes}."""
    files = [p for folder in ("include", "src", "python") for p in (ROOT / folder).rglob("*.[ch]")]
    graph = {}
    for path in files:
        named = INCLUDE.findall(path.read_text())
        places = [
            [base / name for base in (path.parent, ROOT / "src", ROOT / "include")]
            for name in named
        ]
        found = [next((p.resolve() for p in options if p.is_file()), None) for options in places]
        graph[path.resolve()] = [p for p in found if p is not None]
    return {
        str(p.relative_to(ROOT)): [str(q.relative_to(ROOT)) for q in to] for p, to in graph.items()
    }


def needs(objects):
    """{object file: the object files whose symbols it needs}."""
    defined, undefined = {}, {}
    for path in objects:
        table = subprocess.run(
            ["nm", "-g", path], check=True, capture_output=True, text=True
        ).stdout
        for kind, symbol in re.findall(r"([A-Za-z]) (\w+)$", table, re.MULTILINE):
            if kind == "U":
                undefined.setdefault(path, set()).add(symbol)
            else:
                defined[symbol] = path
    return {
        path: sorted({defined[s] for s in undefined.get(path, ()) if s in defined} - {path})
        for path in objects
    }


def cycle(graph):
    """The nodes of one cycle, the first one again at its end; None where there is none."""
    state, trail = {}, []

    def visit(node):
        state[node] = "open"
        trail.append(node)
        for other in graph.get(node, ()):
            if state.get(other) == "open":
                return [*trail[trail.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        state[node] = "done"
        trail.pop()
        return None

    return next((found for node in graph if node not in state and (found := visit(node))), None)


def shared_names():
    """File names below src that several folders have."""
    names = [path.name for path in (ROOT / "src").rglob("*.[ch]")]
    return sorted({name for name in names if names.count(name) > 1})


def main():
    if names := shared_names():
        sys.exit(f"several files named {', '.join(names)}")
    graphs = {"includes": includes(), "symbols": needs(sys.argv[1:])}
    if not graphs["symbols"] or not any(graphs["symbols"].values()):
        sys.exit("no object files, or none that needs another: nothing was checked")
    for what, graph in graphs.items():
        found = cycle(graph)
        if found:
            sys.exit(f"a cycle of {what}:\n    " + "\n -> ".join(found))


if __name__ == "__main__":
    main()
