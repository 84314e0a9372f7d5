"""What does a worker do with events that nobody should have sent, in the middle of good ones?"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Consumer

from tests.support.kafka import Broker
from tests.support.live import wait_for, workers
from tests.support.monitors import Monitor, Sent, as_json, create_topics, label, make_monitor, prediction, send_all
from tests.support.pipelines import START_MS, features

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
PAYLOAD_BYTES_MAX = 1000
LIMITS = {
    "array_events_max": 5,
    "dead_letter_payload_bytes_max": PAYLOAD_BYTES_MAX,
    "id_bytes_max": 512,
    "versions_max": 4,
    "segments_max": 6,
}
ARROW = (("content-type", b"application/vnd.apache.arrow.stream"),)
DAY_MS = 86_400_000

GOOD = 400
PACKED = 10
NEW_NAMES = 30
CODECS = ("gzip", "lz4", "snappy", "zstd")

SQL = "'; drop schema driftline cascade; --"

Letter = tuple[str, int, int, int, str, bytes]
"""Topic, partition, offset, element, reason and payload."""


@dataclass(frozen=True)
class Case:
    """One message, and what must become of it.

    Parameters
    ----------
    good
        How many usable events it holds.
    dead
        Reasons of its dead letters, by element.
    counted
        Reason of a counter that goes up by one instead.
    """

    what: str
    value: bytes | None
    good: int = 0
    dead: Mapping[int, str] | None = None
    counted: str | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class Ids:
    """Ids that nobody used before."""

    def __init__(self) -> None:
        self.used = 0

    def __call__(self) -> str:
        self.used += 1
        return f"case-{self.used}"


new_id = Ids()


def event(**rest: Any) -> dict[str, Any]:
    return prediction(new_id(), 5_000, **rest)


def without(name: str) -> bytes:
    return as_json({key: value for key, value in event().items() if key != name})


def refused(what: str, reason: str, value: bytes, **rest: Any) -> Case:
    return Case(what, value, dead={0: reason}, **rest)


def usable(what: str, value: bytes, good: int = 1, **rest: Any) -> Case:
    return Case(what, value, good, **rest)


def predictions() -> list[Case]:
    """Messages for the topic of predictions."""
    return [
        refused("cut off", "not_json", as_json(event())[:-1]),
        refused("a word", "not_json", b"hello"),
        refused("not UTF-8", "not_json", b'{"prediction_id": "\xff\xfe"}'),
        refused("a NUL", "not_json", b"\0"),
        refused("100,000 levels deep", "not_json", b"[" * 100_000),
        refused("a number", "not_an_object", b"1"),
        refused("a text", "not_an_object", b'"text"'),
        refused("null", "not_an_object", b"null"),
        Case("an array of numbers", b"[1, 2]", dead={0: "not_an_object", 1: "not_an_object"}),
        refused("a prediction that is an object", "wrong_type", as_json(event(prediction={}))),
        refused("a prediction of 300 characters", "wrong_type", as_json(event(prediction="p" * 300))),
        refused("no prediction", "missing_field", without("prediction")),
        refused("a prediction that is NaN", "not_finite", as_json(event(prediction=float("nan")))),
        refused("a prediction with half a surrogate pair", "wrong_type", as_json(event(prediction="\ud800"))),
        refused("a score that is a text", "wrong_type", as_json(event(score="high"))),
        refused("a score that is true", "wrong_type", as_json(event(score=True))),
        refused("a score above 1", "bad_score", as_json(event(score=1.5))),
        refused("a score that is NaN", "not_finite", as_json(event(score=float("nan")))),
        refused("a score that is infinite", "not_finite", as_json(event(score=float("-inf")))),
        refused("an id that is an object", "wrong_type", as_json(event(prediction_id={"a": 1}))),
        refused("no id", "missing_field", without("prediction_id")),
        refused("an empty id", "missing_field", as_json(event(prediction_id=""))),
        refused("an id of 10 kB", "id_too_long", as_json(event(prediction_id="i" * 10_240))),
        refused("no time", "missing_field", without("timestamp")),
        refused("a time in words", "bad_timestamp", as_json(event(timestamp="yesterday"))),
        refused("a time without an offset", "bad_timestamp", as_json(event(timestamp="2024-01-01T00:00:05"))),
        refused("a time that is true", "bad_timestamp", as_json(event(timestamp=True))),
        refused("the 31st of February", "bad_timestamp", as_json(event(timestamp="2024-02-31T00:00:00Z"))),
        refused("nanoseconds", "bad_timestamp", as_json(event(timestamp=START_MS * 1_000_000))),
        refused("1970", "too_old", as_json(event(timestamp=0))),
        refused("the year 1", "too_old", as_json(event(timestamp="0001-01-01T00:00:00Z"))),
        refused("2100", "in_the_future", as_json(event(timestamp="2100-01-01T00:00:00Z"))),
        refused("the year 9999", "in_the_future", as_json(event(timestamp="9999-12-31T23:59:59.999Z"))),
        refused("features that are an array", "wrong_type", as_json(event(features=[1, 2]))),
        refused("a version that is an object", "wrong_type", as_json(event(version={}))),
        refused("a version with a NUL", "wrong_type", as_json(event(version="v\0"))),
        refused("an unknown model", "unknown_model", as_json(event(model="nobody"))),
        refused("a model that is an object", "unknown_model", as_json(event(model={}))),
        refused("a model with a NUL", "unknown_model", as_json(event(model="m\0"))),
        refused("no model among several", "missing_field", without("model")),
        refused("an unknown model's header", "unknown_model", as_json(event()), headers=[("driftline-model", b"\xff")]),
        refused("10 MB", "too_large", as_json(event(note="n" * 10 * 1024 * 1024))),
        refused("too many events", "too_many_events", as_json([event() for _ in range(6)])),
        refused("bytes that claim to be Arrow", "not_arrow", b"\xff\xff\xff\xffARROW", headers=ARROW),
        refused("base64 that is none", "not_json", as_json({"specversion": "1.0", "data_base64": "%"})),
        Case("an array with a bad event", as_json([event(), event(timestamp=None), event()]), 2, {1: "missing_field"}),
        Case("a tombstone", None, counted="tombstone"),
        Case("an empty value", b"", counted="empty"),
        Case("an empty array", b"[]", counted="empty"),
        usable("features that are NaN and infinite", as_json(event(features={"x": float("nan"), "c": float("inf")}))),
        usable("features of the wrong type", as_json(event(features={"x": "one", "c": [1]}))),
        usable("a new feature", as_json(event(features={"x": 1, "c": "a", "new": 1}))),
        usable("a feature less", as_json(event(features={"x": 1}))),
        usable("no features", without("features")),
        usable("NUL and half a surrogate pair", as_json(event(features={"x": 1, "c": "a\0\ud800"}))),
        usable("an id with NUL and half a surrogate pair", as_json(event(prediction_id=f"{new_id()}\0\ud800"))),
        usable("SQL", as_json(event(prediction_id=f"{new_id()}{SQL}", features={"x": 1, "c": f"a{SQL}"}))),
        usable("100 levels deep", as_json(event()).replace(b'"c": "a"', b'"c": ' + b"[" * 100 + b"]" * 100)),
        usable("a new version", as_json(event(version="v2"))),
        usable("an array", as_json([event(), event()]), 2),
        usable("a CloudEvents envelope", as_json({"specversion": "1.0", "id": "1", "data": event()})),
        usable("an envelope around an array", as_json({"specversion": "1.0", "data": [event(), event()]}), 2),
        usable("an envelope with base64", as_json({"specversion": "1.0", "data_base64": base64_of(event())})),
        usable("a binary CloudEvent", as_json(event()), headers=[("ce_specversion", b"1.0"), ("ce_id", b"1")]),
        usable("an Arrow stream", arrow([event(), event()]), 2, headers=ARROW),
    ]  # fmt: skip


def base64_of(document: object) -> str:
    return base64.b64encode(as_json(document)).decode()


def arrow(events: list[dict[str, Any]]) -> bytes:
    table = pa.Table.from_pylist(events)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def labels() -> list[Case]:
    """Messages for the topic of labels and features."""

    def truth(**rest: Any) -> bytes:
        return as_json(label(new_id(), 5_000, **rest))

    def served(**rest: Any) -> bytes:
        return as_json(features(new_id(), 5_000, x=1.0) | {"model": "m"} | rest)

    return [
        refused("a label that is an object", "wrong_type", truth(label={})),
        refused("a reward that is a text", "wrong_type", truth(reward="much")),
        refused("a bad time of the prediction", "bad_timestamp", truth(prediction_timestamp="then")),
        refused("a source that is unknown", "wrong_type", served(source="dreamt")),
        refused("neither a label nor features", "missing_field", as_json({"prediction_id": "1", "model": "m"})),
        refused("an unknown kind", "unknown_kind", truth(), headers=[("driftline-kind", b"rumour")]),
        Case("features for parity", served(source="offline"), counted="offline_features"),
    ]  # fmt: skip


def send_cases(monitor: Monitor, role: str, partition: int, cases: Sequence[Case]) -> list[Letter]:
    """Send cases and return the dead letters that must come of them."""
    topic = monitor.topic(role)
    offsets = send_all(monitor.address, topic, [Sent(case.value, case.headers, partition) for case in cases])
    return [
        (topic, partition, offset, element, reason, (case.value or b"")[:PAYLOAD_BYTES_MAX])
        for offset, case in zip(offsets, cases, strict=True)
        for element, reason in (case.dead or {}).items()
    ]


def good_events(first: int, last: int) -> list[Case]:
    return [usable("a good event", as_json(prediction(f"good-{row}", 4_500 + row % 500))) for row in range(first, last)]


def mixed(cases: list[Case], good: list[Case]) -> list[Case]:
    """Put good events before, between and behind the cases."""
    each = len(good) // (len(cases) + 1)
    chunks = [good[place * each : (place + 1) * each] for place in range(len(cases))]
    return [one for chunk, case in zip(chunks, cases, strict=True) for one in (*chunk, case)] + good[
        len(cases) * each :
    ]


def prepared(broker: Broker, url: str, topic_name: Callable[[str], str], folder: Path) -> Monitor:
    """Make topics of two partitions that take large messages, and a monitor of them; labels and features share one."""
    topics = {role: topic_name(role) for role in ("predictions", "labels", "dead_letters")}
    topics["features"] = topics["labels"]
    inputs = {topics["predictions"], topics["labels"]}
    create_topics(broker.bootstrap_servers, inputs, 2, **{"max.message.bytes": str(MESSAGE_BYTES_MAX)})
    create_topics(broker.bootstrap_servers, [topics["dead_letters"]])
    models = {"m": {"labels": {"horizon": "1d"}}, "bounded": {"segments": ["region"]}}
    return make_monitor(folder, broker.bootstrap_servers, url, topics, models, limits=LIMITS)


def published(monitor: Monitor, n: int) -> list[dict[str, Any]]:
    """Read so many messages of the dead letters' topic, and whatever comes within a second more."""
    topic = monitor.topic("dead_letters")
    consumer = Consumer(
        {"bootstrap.servers": monitor.address, "group.id": topic, "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.subscribe([topic])
    found: list[dict[str, Any]] = []
    try:
        while (message := consumer.poll(30 if len(found) < n else 1)) is not None:
            assert message.error() is None
            found.append(json.loads(message.value() or b""))
    finally:
        consumer.close()
    return found


def test_each_bad_event_is_told_with_its_reason_and_every_good_one_beside_it_counts(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = prepared(broker, postgres_url, topic_name, tmp_path)
    # One fetch of many messages is read as a table, a few that trickle in row by row: both have to tell the same.
    # The first of all, with nothing before it that could tell that its clock is wrong.
    unset = refused("the zero of Go's clock", "too_old", as_json(event(timestamp="0001-01-01T00:00:00Z")))
    at_once = [unset, *mixed(predictions(), good_events(0, GOOD))]
    trickling = mixed(predictions(), good_events(GOOD, GOOD + len(predictions()) + 1))
    late_truth = labels() + [usable("a label", as_json(label(f"good-{row}", 5_000)), 0) for row in range(GOOD)]
    dead = send_cases(monitor, "predictions", 0, at_once)
    dead += send_cases(monitor, "labels", 0, late_truth)
    with workers(monitor.config, tmp_path, 1) as [worker]:
        monitor.wait_until_read(len(at_once) + len(late_truth))
        dead += send_cases(monitor, "predictions", 1, trickling)
        for codec in CODECS:
            packed = [Sent(as_json(event())) for _ in range(PACKED)]
            send_all(broker.bootstrap_servers, monitor.topic("predictions"), packed, compression=codec)
        strange = [prediction(f"strange-{row}", 5_000, version=f"w{row}") for row in range(NEW_NAMES)]
        strange = [each | {"model": "bounded", "segment": {"region": f"r{row}"}} for row, each in enumerate(strange)]
        send_all(broker.bootstrap_servers, monitor.topic("predictions"), [Sent(as_json(each)) for each in strange])
        # Later events on every partition let the first window close.
        for role, make in (("predictions", prediction), ("labels", label)):
            ends = [Sent(as_json(make(f"end-{partition}", 20_000)), (), partition) for partition in range(2)]
            send_all(broker.bootstrap_servers, monitor.topic(role), ends)
        closed = f"select count(*) from driftline.evaluation where closed_through >= {moment(10_000)}"
        wait_for(lambda: monitor.rows(closed) == [(2,)], "the first window of both models to close")
        wait_for(lambda: not monitor.rows("select from driftline.dead_letter where published_at is null"), "the relay")
        good = sum(case.good for case in (*at_once, *trickling)) + PACKED * len(CODECS)
        assert worker.process.poll() is None
        assert len(monitor.rows("select from driftline.v_workers")) == 1
    assert "Traceback" not in (tmp_path / "worker-0.log").read_text()

    kept = monitor.rows(
        "select topic, partition, record_offset, element, reason, payload from driftline.v_dead_letters"
    )
    assert Counter(kept) == Counter(dead)
    by_reason = Counter({f"dead_{reason}": n for reason, n in Counter(letter[4] for letter in dead).items()})
    by_reason += Counter(case.counted for case in (*at_once, *trickling, *late_truth) if case.counted)
    by_reason += Counter(prediction=good + NEW_NAMES + 2, label=GOOD + 2, pair=GOOD + 2)
    for names_max in ("version", "segment"):
        by_reason[f"{names_max}_beyond_limit"] = NEW_NAMES - LIMITS[f"{names_max}s_max"]
    assert counts_by_reason(monitor) == by_reason
    shown = monitor.rows(
        "select sum(n_current)::int from driftline.v_drift"
        " where model = 'm' and detector = 'psi' and segment = '*' and feature = '@prediction'"
    )
    assert shown == [(good,)]
    [(labelled,)] = monitor.rows(
        "select distinct n_labelled from driftline.v_performance where basis = 'cohort' and version = 'v1'"
    )
    assert labelled == GOOD
    for column, which, names_max in (("version", "= '*'", "versions_max"), ("segment", "<> '*'", "segments_max")):
        by_name = shares(monitor, column, which)
        assert (len(by_name), sum(by_name)) == (LIMITS[names_max] + 1, NEW_NAMES)  # and the rest as one
    told = published(monitor, len(dead))
    assert Counter(message["id"] for message in told) == Counter(
        f"{topic}/{partition}/{offset}/{element}/{reason}" for topic, partition, offset, element, reason, _ in dead
    )
    assert {(message["id"], base64.b64decode(message["payload_base64"])) for message in told} == {
        (f"{topic}/{partition}/{offset}/{element}/{reason}", payload)
        for topic, partition, offset, element, reason, payload in dead
    }


def shares(monitor: Monitor, column: str, which: str) -> list[int]:
    """Count the closed predictions of the model with many names, by version or by segment."""
    found = monitor.rows(
        f"select sum(n_current)::int from driftline.v_drift where model = 'bounded' and detector = 'psi'"
        f" and feature = '@prediction' and segment {which} group by {column}"
    )
    return [n for (n,) in found]


def counts_by_reason(monitor: Monitor) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, reason), n in monitor.counts().items():
        found[reason] += n
    return found


def moment(at_ms: int) -> str:
    return f"to_timestamp({(START_MS + at_ms) / 1000})"
