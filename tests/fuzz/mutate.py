"""Inputs like those of the corpus, but wrong: trees of JSON with a strange value somewhere, bytes with a strange byte.

An input is records with `MARK` between them. Everything is drawn from a seeded `random.Random`.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

MARK = b"\x1e"
"""Between two records, as in JSON text sequences (RFC 7464); what is in none of our inputs otherwise."""

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -0.0, 1e308, -1e-308, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**400,
    float("nan"), float("inf"), "", " ", "0", "01", "1.0", "1e5", "NaN", "true", "null", "a\0b", "\ud800", "\U0001f600",
    "\u2028", "\x1b[2J", "x" * 300, "x" * 3_000, [], [[]], {}, {"": ""}, {"a": {"b": {}}}, [1, "a", None],
    "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2024-02-30T00:00:00Z", "2024-06-30T23:59:60Z",
    "2024-01-01T00:00:00+24:00", "2024-01-01", "-1", 1_704_067_200_000, 1_704_067_200_000_000,
)  # fmt: skip
WORDS = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u0000", b"\\ud800", b"\n", b"\r\n", b"\0", b"\xff",
    b"\xfe\xff", b"\xef\xbb\xbf", b"NaN", b"Infinity", b"-Infinity", b"-0", b"1e999", b"0" * 400, b"9" * 5_000,
    b"[" * 2_000, b'{"a":' * 600, b"null", b"true", b"%", b"'", b"---\n", b"&a ", b"*a", b"<<: ", b"!!set ",
    b"!!python/name:os.system", b"DRIFTLINE__", b"Content-Length: ", b"\r\n\r\n", b"chunked", b" ",
)  # fmt: skip
LEVELS_MAX = 40

Change = Callable[[random.Random, bytes, bytes], bytes]
"""Makes one record of a record and of another one."""


def mutated(chance: random.Random, record: bytes, other: bytes) -> bytes:
    """Change a record in one to four ways; `other` is one to take pieces of."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        record = chance.choice(CHANGES)(chance, record, other)
    return record


def mutated_input(chance: random.Random, given: bytes, others: Sequence[bytes], records: int) -> bytes:
    """Make an input of that many records, most of them as they were: like a topic in trouble."""
    head, *sound = given.split(MARK)
    pool = [record for other in others for record in other.split(MARK)[1:]] or [b""]
    sound = sound or pool
    trouble = chance.choice((0.1, 0.5, 1.0))
    made = [
        mutated(chance, record, chance.choice(pool)) if chance.random() < trouble else record
        for record in (chance.choice(sound) for _ in range(records))
    ]
    return MARK.join([head, *(record.replace(MARK, b"") for record in made)])


def _value(chance: random.Random, record: bytes, other: bytes) -> bytes:
    """Put a strange value, or one from elsewhere in the tree, in the place of a value."""

    def change(holder: Any, key: Any, nodes: Sequence[tuple[Any, Any]]) -> None:
        from_holder, from_key = chance.choice(nodes)
        holder[key] = chance.choice(STRANGE) if chance.random() < 0.7 else from_holder[from_key]

    return _in_tree(chance, record, change)


def _key(chance: random.Random, record: bytes, other: bytes) -> bytes:
    """Take a field away, or give it the name of another one, or a strange one."""

    def change(holder: Any, key: Any, nodes: Sequence[tuple[Any, Any]]) -> None:
        value = holder.pop(key)
        if isinstance(holder, dict) and chance.random() < 0.6:
            names = [str(name) for _, name in nodes]
            holder[chance.choice([*names, "", "a\0", "\ud800", "data", "specversion", "a.b"])] = value

    return _in_tree(chance, record, change)


def _deeper(chance: random.Random, record: bytes, other: bytes) -> bytes:
    """Put a value some levels deeper."""

    def change(holder: Any, key: Any, nodes: Sequence[tuple[Any, Any]]) -> None:
        for _ in range(chance.randint(1, LEVELS_MAX)):
            holder[key] = [holder[key]] if chance.random() < 0.5 else {str(key): holder[key]}

    return _in_tree(chance, record, change)


def _in_tree(chance: random.Random, record: bytes, change: Callable[[Any, Any, Any], None]) -> bytes:
    at = 1 if record[:1].isdigit() else 0  # the headers of a message stand in front
    try:
        tree = [json.loads(record[at:])]
    except (ValueError, RecursionError):
        return _bytes(chance, record, record)
    nodes = _nodes(tree)
    change(*chance.choice(nodes), nodes)
    try:
        text = json.dumps(tree[0] if tree else None, ensure_ascii=chance.random() < 0.5)
    except (ValueError, RecursionError):
        return record
    return record[:at] + text.encode("utf-8", "surrogatepass")


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """List every place of a value, as who holds it and under which key."""
    found: list[tuple[Any, Any]] = []
    left = [tree]
    while left and len(found) < 1_000:
        holder = left.pop()
        places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        found += [(holder, place) for place in places]
        left += [holder[place] for place in places if isinstance(holder[place], dict | list)]
    return found


def _wrapped(chance: random.Random, record: bytes, other: bytes) -> bytes:
    """Put a message into an envelope or an array."""
    head, body = (record[:1], record[1:]) if record[:1].isdigit() else (b"", record)
    return head + chance.choice(
        (
            b'{"specversion":"1.0","data":' + body + b"}",
            b'{"specversion":"1.0","data_base64":"' + base64.b64encode(body) + b'"}',
            b"[" + body + b"," + other.lstrip(b"0123456789") + b"]",
            b"[" + b",".join([body] * chance.randint(1, 9)) + b"]",
            b'{"specversion":1,"data":' + body + b"}",
        )
    )


def _bytes(chance: random.Random, record: bytes, other: bytes) -> bytes:
    """Flip, drop, double or insert bytes."""
    at = chance.randint(0, len(record))
    end = min(len(record), at + chance.choice((0, 1, 1, 2, 8, 64)))
    piece = chance.choice((b"", chance.randbytes(1), chance.randbytes(4), record[at:end] * 2, chance.choice(WORDS)))
    return record[:at] + piece + record[end:]


def _spliced(chance: random.Random, record: bytes, other: bytes) -> bytes:
    """Begin as one record and end as another."""
    return record[: chance.randint(0, len(record))] + other[chance.randint(0, len(other)) :]


def _headers(chance: random.Random, record: bytes, other: bytes) -> bytes:
    """Send a message under other headers."""
    return b"%d" % chance.randrange(10) + record[1:]


CHANGES: Sequence[Change] = (_value, _value, _value, _key, _key, _deeper, _wrapped, _bytes, _bytes, _spliced, _headers)
