"""Damaged and hostile variants of a file, drawn from a seed."""

import json
import random
from typing import Any

VALUES: list[Any] = [
    None, True, -1, 0, 10**30, 1e308, float("nan"), "", "x" * 5000, "\x00",
    "../../etc", "${SGG_FUZZ_NOT_SET}", "=1+1", "*", [], {}, [[]], {"a": {}}, [1, "a", None], {"": ""}, "1e5", "~",
]  # fmt: skip


def of_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut off, repeated, put in or taken out."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        place = draw.randrange(len(found) + 1)
        kind = draw.randrange(6)
        if kind == 0 and found:
            found[min(place, len(found) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            found = found[:place]
        elif kind == 2:
            found[place:place] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
        elif kind == 3:
            del found[place : place + draw.randrange(1, 30)]
        elif kind == 4:
            found[place:place] = found[: draw.randrange(200)] * draw.randrange(1, 4)
        else:
            found[place:place] = draw.choice(
                (
                    b"\x00",
                    b"\r",
                    b'"',
                    b"{",
                    b"[",
                    b"\n\n",
                    b"\xff\xfe",
                    b"&a [*a]",
                    b"!!python/object:os.system",
                    b"\t",
                )
            )
    return bytes(found)


def of_values(document: Any, draw: random.Random) -> Any:
    """A document of dicts, lists and values in which one of them is something else."""
    document = json.loads(json.dumps(document))
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            visit(node[key])

    visit(document)
    if not places or draw.random() < 0.02:
        return draw.choice(VALUES)
    for _ in range(draw.choice((1, 1, 1, 3))):
        node, key = draw.choice(places)
        kind = draw.random()
        if isinstance(node, dict) and kind < 0.1:
            node.pop(key, None)
        elif isinstance(node, dict) and kind < 0.2:
            node[draw.choice(("evil", "", "a.b", "name", "x" * 300))] = draw.choice(VALUES)
        elif not isinstance(node, list) or key < len(node):
            node[key] = draw.choice(VALUES)
    return document
