"""Which JSON messages may be read together as one table?

Invariants: a block that passes `is_block` and that Arrow reads with as many rows as it has messages has exactly one
JSON object in each message, and `streams.decode.messages.parse_json` accepts every one of them. What the two parsers
would judge differently is kept out of blocks: invalid UTF-8, NUL bytes, deep nesting, and spellings of NaN that only
Arrow knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import json as arrow_json

DEPTH_MAX = 1000
SHORT_BYTES = 2 * DEPTH_MAX - 1
"""A message of so many bytes or fewer is nested too deeply, whatever it holds."""

PIECE_BYTES = 1024 * 1024
"""How much Arrow parses at a time: what the processor keeps at hand. A whole fetch at once takes half as long again."""

LOOK_BYTES = 256 * 1024
"""How much is looked through at a time: for a whole fetch, the system has to give pages anew each time."""

_OPENING, _CLOSING = b"{}"
_LITERAL = re.compile(rb"[\s:,\[-](?:NaN|Inf)")


def is_line(message: bytes) -> bool:
    """Tell cheaply whether a message that is not empty looks like one JSON object that is not nested too deeply.

    Examples
    --------
    >>> is_line(b'{"a": 1}'), is_line(b'[{"a": 1}]'), is_line(b'{"a":' * 1000 + b"1" + b"}" * 1000)
    (True, False, False)
    """
    if message[0] != _OPENING or message[-1] != _CLOSING:
        return False
    return len(message) <= SHORT_BYTES or message.count(b"{") + message.count(b"[") < DEPTH_MAX


def short_lines(values: Sequence[bytes | None], indices: Iterable[int], bytes_max: int) -> list[int]:
    """Return which of some messages are lines, so short that they are certainly not nested too deeply.

    Examples
    --------
    >>> short_lines([b'{"a": 1}', None, b"", b'["a"]', b'{"a": 10}'], range(5), 8)
    [0]
    """
    bytes_max = min(bytes_max, SHORT_BYTES)
    return [
        index
        for index in indices
        if (value := values[index]) and len(value) <= bytes_max and value[0] == _OPENING and value[-1] == _CLOSING
    ]


def is_block(block: bytes, messages: int) -> bool:
    r"""Tell whether messages, joined by newlines, may be read together.

    Examples
    --------
    >>> is_block(b'{"a": 1}', 1), is_block(b'{"a":\n1}', 1), is_block(b'{"a": NaN}', 1), is_block(b'{"a": "\xff"}', 1)
    (True, False, False, False)
    """
    if block.count(b"\n") != messages - 1 or b"\0" in block:
        return False
    if any(_holds(block, word) for word in (b"NaN", b"Inf")) and _LITERAL.search(block):
        return False
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError:
            return False
    return True


def _holds(block: bytes, word: bytes) -> bool:
    """Tell whether a block holds a word: one letter is looked for many times faster than three at once."""
    for start in range(0, len(block), LOOK_BYTES):
        n_bytes = min(LOOK_BYTES + len(word) - 1, len(block) - start)  # a word may begin in one stretch and end behind
        letters = np.frombuffer(block, np.uint8, n_bytes, start)
        first = np.flatnonzero(letters[: 1 - len(word)] == word[0])
        if np.logical_and.reduce([letters[first + place] == letter for place, letter in enumerate(word)]).any():
            return True
    return False


def read_block(block: bytes, schema: pa.Schema, longest: int) -> pa.Table | None:
    """Read a block with a schema, leaving out all other fields; None if Arrow refuses any message of it.

    Parameters
    ----------
    longest
        Bytes of the longest message: Arrow refuses one that is larger than the pieces it reads.
    """
    piece_bytes = max(PIECE_BYTES, longest) + 1
    try:
        return arrow_json.read_json(
            pa.BufferReader(block),
            read_options=arrow_json.ReadOptions(block_size=piece_bytes, use_threads=False),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowException:
        return None
