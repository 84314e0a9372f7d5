"""The fast path gives what the row-by-row path gives, for whatever is sent; and nothing that is sent makes it raise."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors.canonical import canonical
from driftline.events import Decoded
from streams.decode.arrow import as_ids, as_times
from streams.decode.decoder import Decoder
from streams.decode.shapes import Kind, TopicRoute
from streams.decode.values import file_time_ms, time_ms
from tests.support.events import ROW_BY_ROW, Message, decoder, everything, records, shape

ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2.5, 1.0, -0.0, 1e300, 2**53 + 1, 2**70, "", "a", "1", "1.0", "True", "01234",
    "é\u2028",
    "a\0b", "x" * 300, "x" * 600, [], [1], {}, {"a": 1}, {"a": {"b": "c"}}, float("nan"), float("inf"),
    "2024-02-29T12:00:00Z", "2024-02-30T12:00:00Z", "2024-02-29T12:00:00", "2024-02-29t12:00:00.123456789+05:30",
    "serving", "offline", "m", "n", "1.0", {"specversion": "1.0"}, "\ud800",
]  # fmt: skip
RAW_MESSAGES = [
    b"", b"{}", b"[]", b"null", b"{", b"}", b"{}{}", b'{"a":1}{"b":2}', b'{"a":1}\0}', b'{"a":Inf}', b'{"a":-NaN}',
    b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\xff"}', b'{"a":' + b"[" * 1200 + b"]" * 1200 + b"}", b"\xef\xbb\xbf{}",
    b'{"a":\n1}', b"  {}  ", b'{"prediction_id":"a","prediction_id":"b"}', b'{"a":1' + b"0" * 400 + b"}",
    b'{"a":1' + b"0" * 5000 + b"}", b'{"a":"\\ud800"}', b'{"x":[{}', b'{"x":{}', b'"}', b"[1,2,{}]", b"[[]]",
]  # fmt: skip
SHAPES = {
    "binary": shape("m", "binary", segments=["city", "plan"]),
    "dotted": shape(
        "m",
        "binary",
        {"a.b": "numeric", "a": "categorical", "city": "categorical", "deep": "numeric"},
        ["a.b"],
        {"deep": "extra.deep"},
        {"id": "request.id", "time": "ts", "score": "p", "features": "input", "label": "truth"},
    ),
    "multiclass": shape("m", "multiclass", {"age": "numeric"}, columns={"version": "v"}),
    "regression": shape(
        "m", "regression", {"age": "numeric", "prediction": "numeric", "score": "categorical"}, ["score"]
    ),
    "unknown features": replace(shape("m"), features=None),
}
NAMES = [
    "prediction_id", "timestamp", "prediction", "score", "label", "version", "model", "variant", "features", "segment",
    "probabilities", "reward", "prediction_timestamp", "source", "request", "request.id", "ts", "p", "input", "truth",
    "v",
    "age", "city", "a", "a.b", "b", "deep", "plan", "specversion", "data", "data_base64", "unknown",
]  # fmt: skip

odd_values = st.sampled_from(ODD_VALUES) | st.floats() | st.integers() | st.text(max_size=5)
objects = st.dictionaries(st.sampled_from(NAMES), odd_values, max_size=4)
plain_features = st.fixed_dictionaries(
    {"age": st.floats(-5, 5) | st.integers(0, 9)}, optional={"city": st.sampled_from("abc"), "a.b": st.integers(0, 5)}
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "label": st.sampled_from([0, 1]),
    "model": st.sampled_from(["m", "m", "n"]),
    "score": st.floats(0, 1),
    "version": st.sampled_from(["1", "2"]),
    "features": plain_features,
    "input": plain_features,
    "segment": st.fixed_dictionaries({}, optional={"plan": st.sampled_from(["free", "paid"])}),
    "probabilities": st.fixed_dictionaries({"0": st.floats(0, 1), "1": st.floats(0, 1)}),
    "source": st.just("serving"),
    "age": st.integers(0, 9),
    "city": st.sampled_from("abc"),
}
required: dict[str, st.SearchStrategy[Any]] = {
    "prediction_id": st.text("abc123-", min_size=1, max_size=4),
    "timestamp": st.integers(0, 2**41),
    "prediction": st.sampled_from([0, 1]),
}
plain_events = st.fixed_dictionaries(required, optional=fields) | st.fixed_dictionaries(
    required | {name: fields[name] for name in ("label", "features", "input", "segment")}
)
changes = st.dictionaries(st.sampled_from(NAMES), odd_values | objects, max_size=3)
headers = st.sampled_from(
    [
        (),
        (),
        (("driftline-model", b""),),
        (("driftline-model", b"m"),),
        (("Driftline-Model", b"\xff"),),
        (("driftline-kind", b"label"), ("trace", b"1")),
        (("driftline-kind", b"prediction"),),
        (("driftline-kind", b"?"),),
    ]
)


def _value(event: Mapping[str, object], wrap: str) -> bytes:
    if wrap == "envelope":
        event = {"specversion": "1.0", "type": "t", "data": event}
    if wrap == "base64":
        event = {"specversion": "1.0", "data_base64": base64.b64encode(json.dumps(event).encode()).decode()}
    if wrap == "array":
        return json.dumps([event, {}, event]).encode()
    return json.dumps(event, ensure_ascii=wrap != "utf-8").encode("utf-8", "surrogatepass")


@st.composite
def fetches(draw: st.DrawFn) -> list[Message]:
    """Mostly alike messages, some of them changed, a few of them broken: like a topic in trouble."""
    base = draw(plain_events)
    kinds_of_trouble = ["same", "alike", "valued", "changed", "dropped", "nested", "wrapped", "raw", "cut"]
    troubles = ["same", *draw(st.lists(st.sampled_from(kinds_of_trouble), max_size=3))]
    wrap = draw(st.sampled_from(["", "", "utf-8", "envelope"]))
    sent = draw(headers)
    values = []
    for _ in range(draw(st.integers(1, 12))):
        event: dict[str, Any] = dict(base)
        how = draw(st.sampled_from(troubles))
        if how == "alike":
            event = draw(plain_events)
        elif how == "valued":
            event[draw(st.sampled_from(sorted(event)))] = draw(odd_values)
        elif how == "changed":
            event |= draw(changes)
        elif how == "dropped":
            event.pop(draw(st.sampled_from(sorted(event))))
        elif how == "nested" and isinstance(event.get("features"), dict):
            event["features"] = event["features"] | draw(objects)
        value = _value(event, draw(st.sampled_from(["base64", "array", "envelope", ""])) if how == "wrapped" else wrap)
        if how == "raw":
            value = draw(st.sampled_from(RAW_MESSAGES) | st.binary(max_size=8))
        elif how == "cut":
            at = draw(st.integers(0, len(value)))
            value = value[:at] + draw(st.binary(max_size=2)) + value[at + draw(st.integers(0, 2)) :]
        values.append(value)
    other_headers = st.just(sent) | headers
    return [Message(value, draw(other_headers), 998 + place) for place, value in enumerate(values)]


def _both(of: Decoder, fetch: list[Message]) -> tuple[Decoded, Decoded]:
    fetched = records(*fetch)
    return of.decode("t", 0, fetched), replace(of, fast_rows_min=ROW_BY_ROW).decode("t", 0, fetched)


KINDS: list[list[Kind]] = [
    ["prediction"],
    ["label"],
    ["feature"],
    ["prediction", "label"],
    ["prediction", "label", "feature"],
]
UNEVEN: list[dict[Kind, tuple[str, ...]]] = [
    {"prediction": ("m",), "label": ("n",)},
    {"prediction": ("m", "n"), "label": ("n",)},
]
topics = st.sampled_from(
    [
        decoder(each, *others, kinds=kinds, array_events_max=5)
        for each in SHAPES.values()
        for others in ([], [shape("n", "multiclass")], [replace(each, model="n")])
        for kinds in KINDS
    ]
    + [
        replace(decoder(each, replace(each, model="n")), routes={"t": TopicRoute("t", kinds)})
        for each in SHAPES.values()
        for kinds in UNEVEN
    ]
)


@given(topics, fetches())
@settings(max_examples=400, deadline=None)
def test_the_fast_path_gives_what_the_row_by_row_path_gives(topic: Decoder, fetch: list[Message]) -> None:
    fast, slow = _both(topic, fetch)
    assert everything(fast) == everything(slow)


@given(topics, st.lists(st.binary(max_size=40) | st.sampled_from(RAW_MESSAGES), max_size=5), headers)
@settings(max_examples=200, deadline=None)
def test_every_record_ends_as_rows_or_a_dead_letter_or_in_a_counter(
    topic: Decoder, values: list[bytes], sent: tuple[tuple[str, bytes], ...]
) -> None:
    decoded = topic.decode(
        "t", 0, records(*(Message(value, sent, offset) for offset, value in enumerate(values, start=1)))
    )
    kept = [len(batch) for kind in (decoded.predictions, decoded.labels, decoded.features) for batch in kind.values()]
    assert sum(kept) + len(decoded.dead) + sum(decoded.counts.values()) >= len(values)


@given(st.binary(max_size=60), st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_no_bytes_that_claim_to_be_arrow_make_it_raise(start: bytes, noise: bytes) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"prediction_id": ["a", "b"], "timestamp": [1, 2], "prediction": [0, 1], "age": [1.0, None]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    whole = sink.getvalue().to_pybytes()
    sent = (("content-type", b"application/vnd.apache.arrow.stream"),)
    at = len(noise) * len(whole) // 400
    for value in (start + noise, whole[:at], whole[:at] + noise[:4] + whole[at + 4 :]):
        decoder(shape("m")).decode("t", 0, records(Message(value, sent)))


@given(st.lists(st.none() | st.sampled_from([str(value) for value in ODD_VALUES]) | st.text(max_size=8), min_size=1))
@example(["1.0", "1e5", "-0", "TRUE", "1E400", "1.50", "0.10", "-0.0", "00", "1.", "\n1.0", "1.0\n"])
def test_a_column_of_ids_is_as_canonical_as_each_of_them(texts: list[str | None]) -> None:
    usable = [None if text is None else text.encode("utf-8", "replace").decode() for text in texts]
    ids, _ = as_ids(pa.array(usable, pa.string()))
    assert ids.to_pylist() == [None if text is None else canonical(text) for text in usable]


times = st.datetimes().map(str) | st.sampled_from(
    ["2024-02-29T12:00:00.5Z", "1969-12-31 23:59:59.9999+00:00", "2024-02-29T12:00", "5", ""]
)
offsets = st.sampled_from(["", "Z", "z", "+05:30", "-0800", "+24:00", "+1"])


@given(st.lists(st.none() | st.builds(str.__add__, times, offsets), min_size=1), st.booleans())
def test_a_column_of_times_is_what_each_of_them_is(texts: list[str | None], is_file: bool) -> None:
    read, bad = as_times(pa.array(texts, pa.string()), is_file)
    expected = [None if text is None else (file_time_ms if is_file else time_ms)(text) for text in texts]
    assert [None if is_bad else ms for ms, is_bad in zip(read.tolist(), bad.tolist(), strict=True)] == expected
