"""Messages that are Arrow IPC streams: many events as one table."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from driftline.events import Decoded, event_keys
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
