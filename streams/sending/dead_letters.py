"""Which events could not be used, what did they say, and how do those that can be used by now come back?

A dead letter comes back as a new message on the topic it came from, with the id it had: what was counted meanwhile
counts once. Invariants: nothing is sent that would be a dead letter again by its form; whoever sends a letter has put
that down first, so that nobody sends it twice without meaning to, also if the first died on the way; all that is done
is in `audit`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from driftline.errors import ConfigurationError, ServiceUnavailableError
from driftline.events import DeadLetter
from driftline.store.connection import Connection, bounded, rows, run, timestamp
from retraining.by_hand import audit
from streams.decode.decoder import Decoder
from streams.decode.messages import ARROW_STREAM, Records, Refused, event_of, events_of, parse_json
from streams.sending.publish import Message, Send

LETTERS_SHOWN_MAX = 50
REPLAYED_AT_ONCE_MAX = 1_000

ARROW_BEGINS = b"\xff\xff\xff\xff"
"""No JSON begins so."""

_WHOLE_MESSAGE = ("refused_by_store", "too_many_events", "too_large", "not_json", "not_arrow")
"""Reasons that are about a message, not about one of its events."""


@dataclass(frozen=True, slots=True)
class Letter(DeadLetter):
    """A dead letter as it is stored: numbered, and with what became of it; times are milliseconds since 1970 UTC.

    Its payload is empty if nothing is kept of its message.

    Parameters
    ----------
    began_ms, replayed_ms
        When it was last begun to be sent again, and when that was done; None for what did not happen.
    """

    id: int
    at_ms: int
    published_ms: int | None
    began_ms: int | None
    replayed_ms: int | None
    replayed_by: str | None

    @property
    def place(self) -> str:
        """Where in the log its event lies, in one word."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.element}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are meant: all that fit what is not None.

    Parameters
    ----------
    fresh_only
        Only those that nobody has sent again.
    """

    model: str | None = None
    reason: str | None = None
    topic: str | None = None
    since_ms: int | None = None
    fresh_only: bool = False


class NotKeptError(Exception):
    """What is kept of a message is not enough to send its event again."""


async def find_letters(connection: Connection, wanted: Filter, letters_max: int) -> tuple[list[Letter], int]:
    """Find dead letters, the newest first, and how many there are."""
    found = await rows(
        connection,
        "find_dead_letters",
        model=wanted.model,
        reason=wanted.reason,
        topic=wanted.topic,
        since=None if wanted.since_ms is None else timestamp(wanted.since_ms),
        fresh_only=wanted.fresh_only,
        letters_max=letters_max,
    )
    return [_letter(item) for item in found], int(found[0].n) if found else 0


async def letters_of(connection: Connection, ids: Sequence[int]) -> list[Letter]:
    """Return dead letters by their numbers.

    Raises
    ------
    ConfigurationError
        If one is not there.
    """
    found = [_letter(item) for item in await rows(connection, "dead_letters_by_id", ids=list(ids))]
    there = {letter.id for letter in found}
    if missing := [number for number in ids if number not in there]:
        raise ConfigurationError(
            f"there is no dead letter {', '.join(map(str, missing))}", remedy="`driftline dead-letters list` shows them"
        )
    return found


def _letter(item: Any) -> Letter:
    return Letter(
        item.reason,
        item.detail,
        item.model,
        item.topic,
        item.partition,
        item.record_offset,
        item.element,
        bytes(item.payload or b""),
        id=item.dead_letter_id,
        at_ms=item.at,
        published_ms=item.published_at,
        began_ms=item.replay_began_at,
        replayed_ms=item.replayed_at,
        replayed_by=item.replayed_by,
    )


def message_again(letter: Letter) -> bytes:
    """Return what is to be sent again of a dead letter: its event alone where its message held several.

    Raises
    ------
    NotKeptError
        If what is kept of the message does not reach so far.
    """
    payload = letter.payload
    if not payload:
        raise NotKeptError("nothing is kept of its message")
    if letter.reason in _WHOLE_MESSAGE:
        return payload
    if payload.startswith(ARROW_BEGINS):
        return _row_of_arrow(payload, letter.element)
    try:
        events = events_of(parse_json(payload))
    except Refused:
        raise NotKeptError("its message is not kept whole") from None
    if len(events) == 1:
        return payload
    if letter.element >= len(events):
        raise NotKeptError("its message is not kept as far as its event")
    return json.dumps(events[letter.element]).encode()


def arrow_table(payload: bytes) -> pa.Table:
    """Read an Arrow stream that is kept of a message; whatever it says can be looked at without harm.

    Raises
    ------
    NotKeptError
        If it is not kept whole, or never was one.
    """
    try:
        with pa.ipc.open_stream(io.BytesIO(payload)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NotKeptError(f"its message is not kept whole ({type(error).__name__})") from None
    return table


def _row_of_arrow(payload: bytes, row: int) -> bytes:
    table = arrow_table(payload)
    written = io.BytesIO()
    with pa.ipc.new_stream(written, table.schema) as writer:
        writer.write_table(table.slice(row, 1))
    return written.getvalue()


def headers_again(letter: Letter, value: bytes) -> tuple[tuple[str, bytes], ...]:
    """Say in headers what the message's first ones may have said, and which dead letter it was."""
    headers = [("driftline-replayed", letter.place.encode())]
    if letter.model is not None:
        headers.append(("driftline-model", letter.model.encode("utf-8", "replace")))
    if value.startswith(ARROW_BEGINS):
        headers.append(("content-type", ARROW_STREAM.encode()))
    return tuple(headers)


def what_is_wrong(decoder: Decoder, topic: str, message: Message) -> str | None:
    """Say why a message would be a dead letter again, or held no event; None if it can be used.

    Its time is not judged: that depends on what is read before it.
    """
    record = Records([message.value], [message.headers], np.zeros(1, np.int64), np.ones(1, np.int64))
    decoded = decoder.decode(topic, 0, record)
    if decoded.dead:
        return f"it would be a dead letter again: {decoded.dead[0].reason}: {decoded.dead[0].detail}"
    return None if len(decoded.record_of) else "it holds no event"


def prepared_message(decoder: Decoder, letter: Letter, repaired: bytes | None) -> Message | str:
    """Make the message that brings a dead letter back, or say why there is none.

    Parameters
    ----------
    repaired
        What to send instead of what is kept of its message.
    """
    if letter.topic not in decoder.routes:
        return f"{letter.topic} is no input of this configuration"
    try:
        value = message_again(letter) if repaired is None else repaired
    except NotKeptError as error:
        return f"{error}; write the event into a file and give it with --file"
    message = Message(_key(decoder, letter, value), value, headers_again(letter, value))
    wrong = what_is_wrong(decoder, letter.topic, message)
    if wrong is None or repaired is not None:
        return wrong or message
    cut = len(letter.payload) >= decoder.limits.dead_letter_payload_bytes_max
    why = f" (only its first {len(letter.payload)} bytes are kept)" if cut else ""
    return f"{wrong}{why}; correct it in a file and give it with --file, or correct the configuration"


def _key(decoder: Decoder, letter: Letter, value: bytes) -> bytes:
    """Return the event's id, which is the key that producers are asked to use; nothing where it can't be told."""
    shape = decoder.shapes.get(letter.model or "")
    if shape is None:
        return b""
    try:
        found = shape.look["id"](event_of(events_of(parse_json(value))[0]))
    except (Refused, IndexError):
        return b""
    return b"" if found is None else str(found).encode("utf-8", "replace")


async def send_again(
    connection: Connection, letters: Sequence[tuple[Letter, Message]], send: Send, by: str, note: str, *, again: bool
) -> list[Letter]:
    """Send dead letters back to where they came from; return those that this call sent.

    Parameters
    ----------
    again
        Also those that somebody has sent already, or may have.

    Raises
    ------
    ServiceUnavailableError
        If the broker did not take all of them; those it did not take stay marked as begun, because it may have them.
    """
    ids = [letter.id for letter, _ in letters]
    async with bounded(connection):
        own = {item.dead_letter_id for item in await rows(connection, "begin_replay", ids=ids, by=by, again=again)}
        for letter, message in letters:
            if letter.id in own:
                what = {"reason": letter.reason, "topic": letter.topic, "bytes": len(message.value), "note": note}
                what |= {"dead_letter_id": letter.id, "again": letter.began_ms is not None}
                await audit(connection, by, "replay_dead_letter", letter.place, what)
    sent: list[Letter] = []
    problems: list[str] = []
    for topic in dict.fromkeys(letter.topic for letter, _ in letters):
        mine = [(letter, message) for letter, message in letters if letter.topic == topic and letter.id in own]
        failures = await send(topic, [message for _, message in mine]) if mine else []
        for (letter, _), failure in zip(mine, failures, strict=True):
            if failure is None:
                sent.append(letter)
            else:
                problems.append(f"dead letter {letter.id}: {failure}; --again sends it once more")
    await run(connection, "note_replayed", ids=[letter.id for letter in sent])
    if problems:
        raise ServiceUnavailableError.of(problems)
    return sent


def printable(text: str) -> str:
    r"""Write what a terminal would act on as escapes; line breaks stay.

    Examples
    --------
    >>> printable("a\x1b[2J\u202e b")
    'a\\x1b[2J\\u202e b'
    """
    shown = (c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def readable(payload: bytes) -> str:
    r"""Write a payload for people: JSON with its lines broken, other text as it is, what is no text as bytes.

    Examples
    --------
    >>> readable(b'{"a":1}'), readable(b"\xff\x00"), readable(b'{"a":')
    ('{\n  "a": 1\n}', "b'\\xff\\x00'", '{"a":')
    """
    try:
        return printable(json.dumps(parse_json(payload), indent=2, ensure_ascii=False))
    except (Refused, RecursionError):
        pass
    try:
        return printable(payload.decode("utf-8"))
    except UnicodeDecodeError:
        return repr(payload)
