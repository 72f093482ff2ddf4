"""A listing of Mesa's compiler for G13: its blocks, its main loop, and what usually runs of it."""

import re

# Issue slots on G13, after Mesa's model (agx_performance.c, from published measurements).
SLOTS = {"rcp": 3, "rsqrt": 4, "simd_prefix": 18, "simd_reduce": 24}
SLOTS |= dict.fromkeys(["imad", "bfi", "bfeil", "extr", "asr", "floor", "log2", "exp2"], 2)
SLOTS |= dict.fromkeys(["get_sr", "shuffle"], 2)
SLOTS |= dict.fromkeys(["wait", "pop_exec", "else_fcmp", "else_icmp"], 0)  # beside others

HEAD = re.compile(r"^block(\d+) \{$")
TAIL = re.compile(r"^\}(?: -> (.*?))?\s*(?:from .*)?$")


class Block:
    def __init__(self):
        self.operations, self.next = [], []

    def has(self, *operations):
        return any(operation in self.operations for operation in operations)


def operations(blocks):
    return sum(len(block.operations) for block in blocks)


def read_blocks(text):
    """{number: Block} of one printed shader."""
    blocks, current = {}, None
    for line in text.splitlines():
        if match := HEAD.match(line):
            current = blocks.setdefault(int(match[1]), Block())
        elif match := TAIL.match(line):
            if current and match[1]:
                current.next = [int(n) for n in re.findall(r"block(\d+)", match[1])]
            current = None
        elif current and line.strip():
            current.operations.append(line.split(" = ")[-1].split()[0])
    return blocks


class Listing:
    def __init__(self, text, log):
        line = next((x for x in log.splitlines() if "inst," in x), "")
        self.facts = {name: int(n) for n, name in re.findall(r"(\d+) (\w+)", line)}
        if not self.facts:
            raise ValueError(f"no machine code: {log}")
        self.facts["spills"] = re.search(r"(\S+) spills:fills", line)[1]
        # A shader is printed several times, the last time as it is; a preamble follows it.
        printed = map(read_blocks, re.split(r"(?=^block0 \{)", text, flags=re.M)[1:])
        self.blocks = next(b for b in printed if operations(b.values()) == self.facts["inst"])
        self.loop, self.start = self._main_loop()

    def size(self):
        return operations(self.blocks.values())

    def loop_size(self):
        return operations(self.blocks[n] for n in self.loop) if self.loop else "-"

    def _reach(self, start, inside, stop=()):
        """Blocks after `start` (included) through blocks of `inside`, no further than `stop`."""
        found, left = set(), [start]
        while left:
            n = left.pop()
            if n in found or n not in inside or n in stop:
                continue
            found.add(n)
            left += self.blocks[n].next
        return found

    def _main_loop(self):
        """The largest loop's blocks and the first of them."""
        best, start = set(), None
        for n, block in self.blocks.items():
            for head in block.next:
                if head > n:
                    continue  # not a branch back
                after = {b for b in self._reach(head, self.blocks) if head <= b <= n}
                loop = {b for b in after if n in self._reach(b, self.blocks)}
                if operations(map(self.blocks.get, loop)) > operations(map(self.blocks.get, best)):
                    best, start = loop, head
        return best, start

    def _usual_path(self, start, inside):
        """The blocks that run when no pack is partial, no step is outside and no run ends.

        Of two sides the one that touches device memory, of two such the shorter; not the one that
        stores a group's sums.
        """
        path, n = [], start
        while n is not None and n in inside and n not in path:
            path.append(n)
            sides = [s for s in self.blocks[n].next if s in inside and s not in path]
            if len(sides) == 2:
                one, other = (self._reach(s, inside, set(path)) for s in sides)
                n = sides[self._rank(one - other) > self._rank(other - one)]
            else:
                n = sides[0] if sides else None
        return path

    def _rank(self, side):
        blocks = [self.blocks[n] for n in side]
        size = sum(len(block.operations) for block in blocks)
        if any(block.has("local_store") for block in blocks):
            return (2, size)
        if any(block.has("device_load", "device_store") for block in blocks):
            return (0, size)
        return (1, -size)

    def _split(self, weigh):
        weight = {n: sum(map(weigh, b.operations)) for n, b in self.blocks.items()}
        loop = sum(weight[n] for n in self._usual_path(self.start, self.loop)) if self.loop else 0
        # Outside: a turn of the loop is passed through on the way, and is not counted twice.
        whole = self._usual_path(0, set(self.blocks))
        return loop, sum(weight[n] for n in whole if n not in self.loop)

    def usual(self):
        """Instructions of a turn of the main loop, and of a thread outside it."""
        return self._split(lambda operation: 1)

    def usual_cost(self):
        """The same in issue slots."""
        return self._split(lambda operation: SLOTS.get(operation, 1))
