"""The swizzle members of vec<T, 2..4>, for mh_vector.h."""

from itertools import product


def text() -> str:
    lines = []
    for width in (2, 3, 4):
        members = [f"#define MH_SWIZZLES_{width}"]
        for length in (2, 3, 4):
            for picked in product(range(width), repeat=length):
                name = "".join("xyzw"[i] for i in picked)
                values = ", ".join(f"e[{i}]" for i in picked)
                members.append(f"MH_GETTER({length}, {name}, {values})")
                writable = len(set(picked)) == length
                if writable:
                    stores = ", ".join(f"e[{i}] = s.e[{k}]" for k, i in enumerate(picked))
                    members.append(f"MH_SETTER({length}, {name}, {stores})")
                mode = "WRITABLE" if writable else "READABLE"
                for alphabet in ("xyzw", "rgba"):
                    alias = "".join(alphabet[i] for i in picked)
                    members.append(f"MH_{mode}({length}, {alias}, {name})")
        lines.append(" ".join(members) + "\n")
    return "".join(lines)
