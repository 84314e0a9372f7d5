"""The doors through which bytes of strangers come in, and the laws that hold for whatever comes.

A door takes an input and raises `Broken` when a law does not hold; anything else that it raises is a broken law as
well. The first record of an input says for which setting it is meant, the others are what is sent.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from alerts.post import judge
from driftline.demo.receiver import Receiver, _handler
from driftline.errors import ConfigurationError, InputError
from driftline.events import Coded, DeadLetter, Decoded
from driftline.settings import load_settings
from driftline.settings.services import LimitSettings
from retraining.inbox import Unusable, environment, file_name, read_request
from streams.committing.statuses import read_statuses
from streams.decode.decoder import DEAD_LETTERS_A_MESSAGE_MAX, Decoder
from streams.decode.files import FileDecoder, read_table
from streams.decode.messages import ARROW_STREAM, Records
from streams.decode.shapes import TopicRoute
from streams.decode.values import TEXT_BYTES_MAX
from streams.replay_files import ReplayTimes, read_replay
from streams.sending.dead_letters import printable, readable
from tests.fuzz.mutate import MARK
from tests.support.events import ROW_BY_ROW, Message, decoder, everything, records, shape

Door = Callable[[bytes], None]

LIMITS = LimitSettings(message_bytes_max=64 * 1024, array_events_max=50, dead_letter_payload_bytes_max=256)
DETAIL_CHARACTERS_MAX = 400
TEXT_ALL_AT_ONCE_BYTES_MAX = 65_536
NOW_S = 1_704_067_200.0

HEADERS: Sequence[tuple[tuple[str, bytes], ...]] = (
    (),
    (("driftline-model", b"m"),),
    (("driftline-model", b"n"), ("driftline-kind", b"label")),
    (("driftline-kind", b"prediction"),),
    (("content-type", ARROW_STREAM.encode()),),
    (("Driftline-Model", b"\xff"),),
    (("driftline-kind", b"rumour"), ("trace", b"")),
    (("driftline-model", b"m"), ("content-type", ARROW_STREAM.encode() + b"; charset=binary")),
    (("ce_specversion", b"1.0"), ("content-type", b"application/json")),
    (("driftline-kind", b"feature"), ("driftline-model", b"m")),
)


class Broken(AssertionError):  # noqa: N818 - a law is broken
    """A law does not hold."""


def hold(law: bool, what: object) -> None:
    """Raise unless a law holds."""
    if not law:
        raise Broken(str(what))


def decode(given: bytes) -> None:
    """Look at messages of the topics of predictions, labels and features."""
    setting, *sent = given.split(MARK)
    topic = _topics().get(setting[:1].decode("latin-1"), _topics()["a"])
    fetched = records(*map(_message, range(1, len(sent) + 1), sent))
    fast = topic.decode("t", 0, fetched)
    slow = replace(topic, fast_rows_min=ROW_BY_ROW).decode("t", 0, fetched)
    hold(everything(fast) == everything(slow), "the fast path gives something else than the row-by-row path")
    _each_ends_once(fast, fetched)
    _can_be_stored(fast)
    _are_bounded(fast.dead, topic.payloads == "keep")


def _message(offset: int, record: bytes) -> Message:
    """Make the first character of a record its headers."""
    head, body = (int(record[:1]), record[1:]) if record[:1].isdigit() else (0, record)
    return Message(None if record == b"0" else body, HEADERS[head], offset)


@cache
def _topics() -> Mapping[str, Decoder]:
    """Give the topics that inputs are meant for, by the letter that they begin with."""
    features = {"age": "numeric", "city": "categorical", "a.b": "numeric"}
    plain, other = shape("m", "binary", features, ["plan"]), shape("n", "multiclass")
    mapped = shape(
        "m", "binary", features, ["city"], {"a.b": "extra.b"},
        {"id": "request.id", "time": "ts", "score": "p", "features": "input", "label": "truth", "version": "v"},
    )  # fmt: skip
    regression = shape("m", "regression", {"age": "numeric", "score": "categorical"}, ["score"])
    alike = replace(decoder(plain, replace(plain, model="n")), routes={
        "t": TopicRoute("t", {"prediction": ("m", "n"), "label": ("n",)})
    })  # fmt: skip
    made = {
        "a": decoder(plain, kinds=["prediction"]),
        "b": decoder(plain, other, kinds=["prediction", "label", "feature"]),
        "c": decoder(mapped, kinds=["prediction", "label"]),
        "d": decoder(regression, kinds=["prediction", "label", "feature"]),
        "e": replace(decoder(replace(plain, features=None)), payloads="redact"),
        "f": alike,
        "g": decoder(other, kinds=["label"]),
        "h": replace(decoder(plain, kinds=["feature"]), payloads="drop"),
    }
    return {letter: replace(each, limits=LIMITS) for letter, each in made.items()}


def _each_ends_once(decoded: Decoded, fetched: Records) -> None:
    """Hold that each event ends as a row, as a dead letter or in a counter, and no message ends as nothing."""
    batches = [
        batch for of in (decoded.predictions, decoded.labels, decoded.features) for batch in dict(of).values()
    ]  # fmt: skip
    orders = [order for batch in batches for order in batch.order.tolist()]
    counted = Counter[str]()
    for (_, reason), n in decoded.counts.items():
        counted[reason] += n
    events = len(orders) + len(decoded.dead) + counted["dead_letters_left_out"] + counted["offline_features"]
    empty = len(fetched) - len(np.unique(decoded.record_of))
    hold(events == len(decoded.record_of), f"{len(decoded.record_of)} events came, {events} ended somewhere")
    hold(len(set(orders)) == len(orders), "an event is two rows")
    hold(empty == counted["empty"] + counted["tombstone"], f"{empty} messages hold nothing, {counted} were counted")


def _can_be_stored(decoded: Decoded) -> None:
    """Hold that Postgres can take each text, and each number and time."""
    for of in (decoded.predictions, decoded.labels, decoded.features):
        for batch in dict(of).values():
            for column in _columns(batch):
                if isinstance(column, Coded):
                    hold(all(map(_is_storable, column.values)), f"a text that can't be stored: {column.values}")
                    hold(bool((column.codes < len(column.values)).all()), "a code of nothing")
            hold(len(batch.key) == len(batch.order) == len(batch.time_ms), "columns of different lengths")


def _columns(batch: Any) -> list[Any]:
    found: list[Any] = []
    for item in fields(batch):
        value = getattr(batch, item.name)
        if isinstance(value, dict):
            found += value.values()
        elif isinstance(value, tuple):
            found += [column for column in value if isinstance(column, Coded)]
        else:
            found.append(value)
    return found


def _is_storable(text: str, bytes_max: int = TEXT_BYTES_MAX) -> bool:
    try:
        return "\0" not in text and len(text.encode()) <= bytes_max
    except UnicodeEncodeError:
        return False


def _are_bounded(dead: Sequence[DeadLetter], keeps_payloads: bool) -> None:
    """Hold that dead letters are short, few for each message, can be stored, and are safe on a terminal."""
    of_message = Counter(letter.offset for letter in dead)
    hold(max(of_message.values(), default=0) <= DEAD_LETTERS_A_MESSAGE_MAX, "too many dead letters of one message")
    for letter in dead:
        hold(_is_storable(letter.detail, 4 * DETAIL_CHARACTERS_MAX), f"detail: {letter.detail!r}")
        hold(len(letter.detail) <= DETAIL_CHARACTERS_MAX, f"detail: {letter.detail!r}")
        hold(len(letter.payload) <= LIMITS.dead_letter_payload_bytes_max, "a payload larger than allowed")
        hold(bool(letter.reason) and letter.reason.isidentifier(), f"reason: {letter.reason}")
        shown = printable(letter.detail) + (readable(letter.payload) if keeps_payloads else "")
        hold(all(c == "\n" or c.isprintable() for c in shown), "a terminal would act on what is shown")


def statuses(given: bytes) -> None:
    """Look at messages of the topic of statuses, which others may write too."""
    _, *sent = given.split(MARK)
    fetched = records(*(Message(value or None, (), offset) for offset, value in enumerate(sent)))

    def letter(index: int, element: int, model: str | None, reason: str, detail: str) -> DeadLetter:
        return DeadLetter(reason, detail, model, "t", 0, index, element, b"")

    read = read_statuses(fetched, LIMITS, letter)
    ended = len(read.dead) + sum(read.counts.values())
    hold(ended == len(sent), f"{len(sent)} messages came, {ended} ended somewhere")
    _are_bounded(read.dead, keeps_payloads=False)
    for status in read.latest:
        texts = (status.request_id, status.model, status.version, status.outcome, status.new_version or "")
        hold(all(_is_storable(text, TEXT_ALL_AT_ONCE_BYTES_MAX) for text in texts), f"{status}")


def requests(given: bytes) -> None:
    """Look at messages of the topic of retraining requests, on which a command is run."""
    for value in given.split(MARK)[1:]:
        try:
            request = read_request(value or None)
        except Unusable as why:
            hold(bool(str(why)), "no reason")
            continue
        if request is None:
            continue
        name = file_name(request.request_id)
        hold(Path(name).name == name and name not in ("", ".", "..") and len(name) < 128, name)
        hold("\0" not in name and name.isprintable(), name)
        for variable, text in environment(request, 1, "/tmp/request.json").items():
            hold("\0" not in text and len(os.fsencode(text)) <= 4 * 4_000, f"{variable}: {text!r}")


def settings(given: bytes) -> None:
    """Look at a configuration, and at variables that override it."""
    _, text, *overrides = [*given.split(MARK), b""]
    path = _folder() / "monitor.yaml"
    path.write_bytes(text)
    pairs = (override.decode("utf-8", "surrogateescape").partition("=") for override in overrides)
    environ = {"DRIFTLINE__" + name.replace("\0", ""): value.replace("\0", "") for name, _, value in pairs}
    environ["DRIFTLINE__POSTGRES__URL"] = f"postgresql://me:{SECRET}@db/ml"
    try:
        loaded = load_settings(path, environ)
    except ConfigurationError as error:
        _is_told(error.problems)
    else:
        hold(SECRET not in repr(loaded), "a secret is shown")


SECRET = "hidden-from-all-who-look"


def _is_told(problems: Sequence[str]) -> None:
    for line in problems:
        hold(line.strip() != "" and SECRET not in line, f"problem: {line!r}")


def files(given: bytes) -> None:
    """Look at the files of a replay: CSV, JSON lines, Parquet."""
    kind, *contents = given.split(MARK)
    suffix = {b"p": ".parquet", b"j": ".jsonl"}.get(kind[:1], ".csv")
    path = _folder() / f"data{suffix}"
    path.write_bytes(b"\n".join(contents) if suffix != ".parquet" else MARK.join(contents))
    made = shape("m", "binary", {"age": "numeric", "city": "categorical"}, ["city"])
    readers = FileDecoder(made, LIMITS, b"secret")
    try:
        table = read_table(path)
        read = read_replay([(path, table)], [], readers, ReplayTimes(0, 1_000, 1_000))
    except InputError as error:
        hold(all(line.strip() for line in error.problems), "no reason")
        return
    orders = read.predictions.order.tolist()
    hold(len(set(orders)) == len(orders) <= table.num_rows, "a row is two predictions")
    hold(read.labels is None or len(read.labels) <= table.num_rows, "a row is two labels")


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="driftline-fuzz-"))


def receiver(given: bytes) -> None:
    """Look at requests to the webhook that the demo listens with."""
    takes = Receiver()
    handler = _handler(takes.take)
    for request in given.split(MARK)[1:]:
        handler(_Socket(request), ("127.0.0.1", 1), None)  # type: ignore[arg-type]
    hold(not any(message.is_signed for message in takes.received()), "a signature out of nothing")


class _Socket:
    """A connection on which a request has come, and nothing more will."""

    def __init__(self, request: bytes) -> None:
        self._request = request

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._request)

    def sendall(self, _: bytes) -> None:
        """Take the answer."""

    def settimeout(self, _: float) -> None:
        """Wait for nothing."""


def answers(given: bytes) -> None:
    """Look at what receivers of webhooks answer: a status and when to come again."""
    for record in given.split(MARK)[1:]:
        status, _, retry_after = record.decode("latin-1").partition(" ")
        known = len(status) == 3 and status.isascii() and status.isdigit()
        answer = judge(int(status) if known else 503, retry_after, NOW_S)
        hold(0 <= answer.retry_after_ms < 2**63, f"wait {answer.retry_after_ms} ms")
        hold(answer.delivered or bool(answer.remedy), "no remedy")


DOORS: Mapping[str, Door] = {
    "decode": decode,
    "statuses": statuses,
    "requests": requests,
    "settings": settings,
    "files": files,
    "receiver": receiver,
    "answers": answers,
}
"""By the name of their folder in the corpus."""
