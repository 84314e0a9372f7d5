"""Which events does one Kafka message hold, and what do its headers say of them?

A message is a JSON object, an array of them, a CloudEvents 1.0 envelope around either, or an Arrow IPC stream.
Invariants: nothing here raises anything but `Refused` for any bytes; a refusal names the field, what was expected and
what was found.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson
import pyarrow as pa

from driftline.events import DeadReason, Ints
from streams.decode.arrow import plain_table

ARROW_STREAM = "application/vnd.apache.arrow.stream"
FOUND_CHARACTERS_MAX = 80
NOTHING = object()
"""Stands for "no value was found", which is not the value null."""

_NUMBER_CHARACTERS_MAX = 310


Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Kafka records of one partition as columns, in the order of the log: one object a value, none a record.

    Parameters
    ----------
    timestamps
        int64 [records]; milliseconds since 1970 UTC.
    offsets
        int64 [records]; rising.
    """

    values: Sequence[bytes | None]
    headers: Sequence[Headers]
    timestamps: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, end: int) -> Records:
        """Return the records at the places from `start` to `end`, half-open."""
        return Records(
            self.values[start:end], self.headers[start:end], self.timestamps[start:end], self.offsets[start:end]
        )


class CutMessage(bytes):
    """The beginning of a message that is too large to be used; `whole_bytes` is how long it was."""

    whole_bytes: int

    @classmethod
    def of(cls, value: bytes, bytes_max: int) -> CutMessage:
        """Keep so many bytes of a message.

        Examples
        --------
        >>> cut = CutMessage.of(b"abcdef", 2)
        >>> cut[:], cut.whole_bytes
        (b'ab', 6)
        """
        cut = cls(value[:bytes_max])
        cut.whole_bytes = len(value)
        return cut


def length_of(value: bytes) -> int:
    """Return how long a message was before it was cut, if it was."""
    return value.whole_bytes if isinstance(value, CutMessage) else len(value)


class Refused(Exception):  # noqa: N818 - it is a verdict on an event, not an error of the program
    """An event can't be used.

    Parameters
    ----------
    reason
        The stable word of the dead letter.
    what
        The field and what was expected of it.
    found
        The offending value, if there is one.
    """

    def __init__(self, reason: DeadReason, what: str, found: object = NOTHING) -> None:
        super().__init__(reason, what)
        self.reason, self.what, self.found = reason, what, found

    def detail(self, quote: bool = True) -> str:
        """Write one sentence; `quote` tells whether the value itself may be shown.

        Examples
        --------
        >>> Refused("wrong_type", "score: expected a number", "high").detail()
        'score: expected a number, found "high"'
        """
        if self.found is NOTHING:
            return self.what
        return f"{self.what}, found {shorten(self.found) if quote else f'a value of type {type(self.found).__name__}'}"


class Marks(NamedTuple):
    """What the headers of a message say."""

    model: str | None = None
    kind: str | None = None
    is_arrow: bool = False


NO_MARKS = Marks()


def marks_of(headers: Sequence[tuple[str, bytes]]) -> Marks:
    """Read the headers; names compare without regard to case, unreadable text counts as unknown text."""
    if not headers:
        return NO_MARKS
    model = kind = None
    is_arrow = False
    for name, value in headers:
        name = name.lower()
        if name == "driftline-model":
            model = _header_text(value)
        elif name == "driftline-kind":
            kind = _header_text(value)
        elif name == "content-type":
            is_arrow = _header_text(value).partition(";")[0].strip().lower() == ARROW_STREAM
    return Marks(model, kind, is_arrow)


def _header_text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def parse_json(value: bytes) -> object:
    """Parse one JSON document.

    Raises
    ------
    Refused
        `not_json` for anything else, also for nesting beyond a thousand levels.

    Notes
    -----
    orjson is strict; Python's own parser gets a second look at what it refuses, because Python producers write NaN and
    Infinity as such.
    """
    try:
        return orjson.loads(value)
    except ValueError as error:
        problem = str(error)
    try:
        return json.loads(value.decode("utf-8-sig"), parse_int=_parse_int)
    except (ValueError, RecursionError):
        raise Refused("not_json", f"the message is not JSON ({problem})", value[:FOUND_CHARACTERS_MAX]) from None


def _parse_int(digits: str) -> int | float:
    # Python refuses to convert integers of thousands of digits; as numbers they are infinite anyway.
    return int(digits) if len(digits) <= _NUMBER_CHARACTERS_MAX else float(digits)


def events_of(document: object) -> list[object]:
    """List the candidate events of a parsed message, each still to be checked by `event_of`.

    Examples
    --------
    >>> events_of({"specversion": "1.0", "data": [{"a": 1}, {"a": 2}]})
    [{'a': 1}, {'a': 2}]
    """
    if type(document) is dict and "specversion" in document and is_envelope(document):
        document = open_envelope(document)
    return document if type(document) is list else [document]


def event_of(element: object) -> dict[str, object]:
    """Return the event that an element of a message is, out of its envelope if it has one.

    Raises
    ------
    Refused
        `not_an_object`.
    """
    if type(element) is dict and "specversion" in element and is_envelope(element):
        element = open_envelope(element)
    if type(element) is not dict:
        raise Refused("not_an_object", "expected a JSON object", element)
    return element


def is_envelope(document: dict[str, object]) -> bool:
    """Tell whether an object is a CloudEvents envelope."""
    return type(document.get("specversion")) is str and (
        document.get("data") is not None or document.get("data_base64") is not None
    )


def open_envelope(envelope: dict[str, object]) -> object:
    """Return what a CloudEvents envelope holds.

    Raises
    ------
    Refused
        `not_json` if `data_base64` is neither base64 nor JSON inside.
    """
    data = envelope.get("data")
    if data is not None:
        return data
    encoded = envelope["data_base64"]
    try:
        return parse_json(base64.b64decode(encoded if type(encoded) is str else b"!", validate=True))
    except (binascii.Error, ValueError):
        raise Refused("not_json", "data_base64: expected JSON in base64", encoded) from None


def parse_arrow(value: bytes, rows_max: int) -> pa.Table:
    """Read an Arrow IPC stream of at most `rows_max` rows as a plain table.

    Raises
    ------
    Refused
        `not_arrow` if it can't be read, `too_many_events` if it holds more rows.
    """
    batches = []
    rows = 0
    try:
        with pa.ipc.open_stream(value) as reader:
            for batch in reader:
                batch.validate(full=True)
                rows += batch.num_rows
                if rows > rows_max:
                    raise Refused("too_many_events", f"expected at most {rows_max} events in a message", rows)
                batches.append(batch)
            return plain_table(batches, reader.schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Refused(
            "not_arrow", f"the message is not an Arrow IPC stream ({error!s:.{FOUND_CHARACTERS_MAX}})"
        ) from None


def shorten(value: object) -> str:
    r"""Write a value for people, in ASCII and at most about `FOUND_CHARACTERS_MAX` characters.

    Examples
    --------
    >>> shorten({"a": 1}), shorten([1, 2]), shorten("é")
    ('an object', 'an array of 2', '"\\u00e9"')
    """
    if type(value) is dict:
        return "an object"
    if type(value) is list:
        return f"an array of {len(value)}"
    if type(value) is str or value is None or type(value) is bool:
        text = json.dumps(value[: FOUND_CHARACTERS_MAX + 1] if type(value) is str else value)
    else:
        text = repr(value)
    return text if len(text) <= FOUND_CHARACTERS_MAX else text[:FOUND_CHARACTERS_MAX] + "..."
