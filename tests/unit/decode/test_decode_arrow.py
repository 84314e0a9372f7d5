"""Messages that are Arrow IPC streams: many events as one table."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

from driftline.events import Decoded, event_keys
from streams.decode import decoder as module
from streams.decode.decoder import Decoder
from streams.decode.shapes import Kind
from tests.support.events import Message, column, decoder, everything, messages, records, rows, shape

ARROW = ("content-type", b"application/vnd.apache.arrow.stream")


def arrow(table: pa.Table, **headers: str) -> Message:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    own = tuple((name.replace("_", "-"), text.encode()) for name, text in headers.items())
    return Message(sink.getvalue().to_pybytes(), (ARROW, *own))


def predictions(**changes: Any) -> pa.Table:
    columns: Mapping[str, Any] = {
        "prediction_id": ["a", "b", "c"],
        "timestamp": [1, 2, 3],
        "prediction": [0, 1, 1],
        "score": [0.25, 0.5, None],
        "features": [{"age": 1.0, "city": "x"}, {"age": None, "city": "y"}, {"age": 3.0, "city": None}],
    }
    return pa.table({name: values for name, values in {**columns, **changes}.items() if values is not None})


def decode(topic: Decoder, *sent: Message) -> Decoded:
    return topic.decode("t", 0, records(*sent))


@pytest.mark.parametrize("kinds", [["prediction"], ["prediction", "label", "feature"]])
def test_a_table_gives_what_the_same_events_as_json_give(kinds: list[Kind]) -> None:
    table = predictions()
    topic = decoder(shape(), kinds=kinds, fast_rows_min=10)
    as_json = topic.decode("t", 0, messages(table.to_pylist()))
    assert everything(decode(topic, arrow(table))) == everything(as_json)
    flat = table.drop_columns("features").append_column("age", pa.array([1, None, 3]))
    as_json = topic.decode("t", 0, messages(flat.to_pylist()))
    assert everything(decode(topic, arrow(flat))) == everything(as_json)


def test_labels_and_features_come_as_tables_too() -> None:
    topic = decoder(shape(), kinds=["prediction", "label", "feature"])
    labels = pa.table({"prediction_id": ["a", "b"], "timestamp": [1, 2], "label": ["1", "0"]})
    features = predictions(prediction=None, score=None)
    decoded = decode(topic, arrow(labels), arrow(features))
    assert column(decoded.labels["m"].label) == ["1", "0"]
    assert decoded.features["m"].order.tolist() == [2, 3, 4]
    assert decoded.record_of.tolist() == [0, 0, 1, 1, 1]


def test_types_that_json_does_not_have_are_read_as_what_they_stand_for() -> None:
    times = pa.array([datetime(1970, 1, 1, 0, 0, second) for second in (1, 2, 3)], pa.timestamp("ns"))
    table = predictions(
        timestamp=times,
        prediction_id=pa.array(["1.10", "01", "1.0"]).dictionary_encode(),
        version=pa.array(["1.10", "1.1", "1.0"]),
        prediction=pa.array([True, False, True]),
        score=pa.array([Decimal("0.5")] * 3),
        features=None,
        age=pa.array([1, 2, 3], pa.uint8()),
        city=pa.array(["x", None, "x"]).dictionary_encode(),
    )
    batch = decode(decoder(shape()), arrow(table)).predictions["m"]
    assert batch.time_ms.tolist() == [1000, 2000, 3000]
    assert batch.key.tolist() == event_keys("m", ["1.10", "01", "1"], b"secret").tolist()
    assert column(batch.version) == ["1.10", "1.1", "1"]
    assert column(batch.prediction) == ["true", "false", "true"]
    assert batch.score.tolist() == [0.5, 0.5, 0.5]
    assert column(batch.features["age"]) == [1, 2, 3]
    assert column(batch.features["city"]) == ["x", None, "x"]


def test_an_unusable_row_is_a_dead_letter_of_its_own() -> None:
    table = predictions(timestamp=[1, -(2**62), 3], score=[0.5, 0.5, 7.0])
    decoded = decode(decoder(shape()), arrow(table))
    assert [row["order"] for row in rows(decoded.predictions["m"])] == [0]
    assert [(letter.reason, letter.element, letter.model) for letter in decoded.dead] == [
        ("bad_timestamp", 1, "m"),
        ("bad_score", 2, "m"),
    ]


def test_a_table_may_hold_several_models() -> None:
    topic = decoder(shape("m"), shape("n"))
    decoded = decode(topic, arrow(predictions(model=["n", "m", "else"])))
    assert {model: batch.order.tolist() for model, batch in decoded.predictions.items()} == {"n": [0], "m": [1]}
    assert [(letter.reason, letter.element) for letter in decoded.dead] == [("unknown_model", 2)]
    decoded = decode(topic, arrow(predictions(), driftline_model="n"))
    assert list(decoded.predictions) == ["n"]


def test_too_many_rows_and_what_is_no_arrow_are_one_dead_letter() -> None:
    topic = decoder(shape(), array_events_max=2)
    for message, reason in ((arrow(predictions()), "too_many_events"), (Message(b"nonsense", (ARROW,)), "not_arrow")):
        assert [letter.reason for letter in decode(topic, message).dead] == [reason]


def test_a_table_without_rows_is_counted_as_empty() -> None:
    assert decode(decoder(shape()), arrow(predictions().slice(0, 0))).counts == {("*", "empty"): 1}


ODD_COLUMNS = [
    pa.array([timedelta(microseconds=1)] * 3, pa.duration("ns")),
    pa.array([1, 2, None], pa.time64("ns")),
    pa.array([1, 2**62, None], pa.timestamp("ns", "Nowhere/Land")),
    pa.array([1, 2**62, None], pa.timestamp("s")),
    pa.array([1, 2**30, None], pa.date32()),
    pa.array([b"a", b"\xff", None]),
    pa.array([[1], [], None]),
    pa.array([{"a": 1}, {}, None]),
    pa.array([{"a": 1}, {}, None], pa.map_(pa.string(), pa.int64())),
    pa.array([1.0, float("nan"), None], pa.float16()),
    pa.array([2**64 - 1, 0, None], pa.uint64()),
    pa.array(["a", "b", None], pa.string_view()),
    pa.array([1, 2, None], pa.timestamp("ns")).dictionary_encode(),
    pa.array([b"a", b"b", None]).dictionary_encode(),
    pa.array([uuid4().bytes] * 3, pa.uuid()),
    pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array(["a"])),
    pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["a"])]
    ),
    pa.nulls(3),
]


@pytest.mark.parametrize("odd", ODD_COLUMNS, ids=lambda array: str(array.type))
@pytest.mark.parametrize(
    "role", ["prediction_id", "timestamp", "prediction", "score", "features", "model", "version", "segment"]
)
def test_no_type_of_any_column_makes_it_raise(odd: pa.Array, role: str) -> None:
    decoded = decode(decoder(shape(segments=["city"])), arrow(predictions(**{role: odd})))
    assert sum(map(len, decoded.predictions.values())) + len(decoded.dead) == 3
    flat = predictions(features=None, age=odd, city=odd, x=odd)
    decoded = decode(decoder(shape(segments=["city"])), arrow(flat))
    assert len(decoded.predictions["m"]) == 3


def test_a_dictionary_may_have_more_values_than_its_indices_can_count_to() -> None:
    texts = [f"c{number:03d}" for number in range(128)]
    cities = pa.DictionaryArray.from_arrays(pa.array([0, 127, None], pa.int8()), pa.array(texts))
    decoded = decode(decoder(shape()), arrow(predictions(features=None, city=cities)))
    assert column(decoded.predictions["m"].features["city"]) == ["c000", "c127", None]


def cities(values: list[str | None], indices: list[int | None]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), pa.array(values))


M = ["m"] * 3
ALIKE = [
    arrow(predictions(model=M)),
    arrow(predictions()),
    arrow(predictions(model=M, prediction_id=["d", "e", "f"], timestamp=[1, -(2**62), 3], score=[0.5, 0.5, 7.0])),
    arrow(predictions(model=["n", "m", "else"])),
    arrow(predictions(model=["m", None, "n"])),
    arrow(predictions(model=["n", "n", "n"])),
    arrow(predictions(), driftline_model="n"),
    arrow(predictions(model=M, features=None, age=[1, 2, 3], prediction=["yes", "no", "yes"])),
    arrow(predictions(model=M, features=None, age=[4, 5, 6], prediction=["maybe", "no", "yes"])),
    arrow(predictions(model=M, prediction=None, score=None, label=["0", "1", "0"])),
    arrow(predictions(model=M, prediction=["0", None, "1"], score=None, label=[None, "1", None])),
    arrow(predictions(model=M, features=None, city=cities([f"a{n}" for n in range(120)], [0, 119, None]))),
    arrow(predictions(model=M, features=None, city=cities([f"b{n}" for n in range(120)], [0, 119, 1]))),
    arrow(predictions(model=M, features=None, city=cities(["x", None], [0, 1, 0]))),
    arrow(predictions(model=M, features=None, city=cities([None, "y"], [0, 1, 0]))),
    arrow(predictions(model=["n"] * 3, prediction=None, score=None, label=["1", "0", "1"])),
    Message(b"nonsense", (ARROW,)),
    arrow(predictions().slice(0, 0)),
]


@pytest.mark.parametrize("bytes_max", [1, 500, module.TABLES_BYTES_MAX])
def test_messages_give_together_what_each_gives_by_itself(monkeypatch: pytest.MonkeyPatch, bytes_max: int) -> None:
    monkeypatch.setattr(module, "TABLES_BYTES_MAX", bytes_max)
    topic = decoder(shape("m"), shape("n"), kinds=["prediction", "label"])
    sent = [replace(message, offset=offset) for offset, message in enumerate(ALIKE * 2, start=1)]
    together = decode(topic, *sent)
    alone = [decode(topic, message) for message in sent]
    firsts = np.cumsum([0, *(len(one.record_of) for one in alone)]).tolist()

    for kind in ("predictions", "labels"):
        for model in ("m", "n"):
            parts = [(first, getattr(one, kind).get(model)) for first, one in zip(firsts, alone, strict=False)]
            read = [(first, row) for first, batch in parts if batch is not None for row in rows(batch)]
            expected = [row | {"order": first + row["order"]} for first, row in read]
            assert len(expected) > 1
            assert rows(getattr(together, kind)[model]) == expected
    assert together.dead == [letter for one in alone for letter in one.dead]
    assert together.counts == dict(sum((Counter(one.counts) for one in alone), Counter()))
    assert together.record_of.tolist() == [index for index, one in enumerate(alone) for _ in one.record_of]


def test_a_name_that_only_some_messages_carry_is_told_of_these() -> None:
    ids, of = [f"p{row}" for row in range(3_000)], pa.struct({"age": pa.float64(), "new": pa.float64()})
    tables = [
        predictions(
            prediction_id=ids,
            timestamp=[1] * 3_000,
            prediction=[0] * 3_000,
            score=None,
            features=pa.array([{"age": 1.0, "new": value}] * 3_000, of),
        )
        for value in (None, 1.0)
    ]
    batch = decode(decoder(shape()), *map(arrow, [*tables, tables[0]])).predictions["m"]

    assert {row // 3_000 for row in batch.order[batch.new_features["new"]].tolist()} == {1}
