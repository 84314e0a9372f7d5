"""Payloads of another form than the contract's: mapped fields, CloudEvents, fields and features nobody announced."""

import base64
import json
from dataclasses import replace

from driftline.events import event_keys
from tests.support.contract import PREDICTION, decode, only_row, refusals
from tests.support.events import Message, decoder, records, shape

FOREIGN = shape(
    features={"age": "numeric", "petal.length": "numeric"},
    paths={"age": "payload.person.age"},
    columns={"id": "meta.id", "time": "meta.at", "prediction": "out", "score": "p"},
)


def test_a_foreign_payload_is_read_along_the_mapped_paths(fast_rows_min: int) -> None:
    sent = {
        "meta": {"id": "x", "at": "2024-01-01T00:00:00Z"},
        "payload": {"person": {"age": 4}},
        "out": True,
        "p": 0.5,
        "petal": {"length": 2},
    }
    row = only_row(decode(decoder(FOREIGN, fast_rows_min=fast_rows_min), sent))
    assert row["key"] == event_keys("m", ["x"], b"secret").tobytes()
    assert (row["prediction"], row["score"], row["feature age"], row["feature petal.length"]) == ("true", 0.5, 4, 2)
    row = only_row(decode(decoder(FOREIGN, fast_rows_min=fast_rows_min), sent | {"petal.length": 3}))
    assert row["feature petal.length"] == 3


def test_a_mapped_model_takes_contract_events_too(fast_rows_min: int) -> None:
    sent = PREDICTION | {"features": {"age": 31, "petal.length": 5}}
    row = only_row(decode(decoder(FOREIGN, fast_rows_min=fast_rows_min), sent))
    assert (row["prediction"], row["feature age"], row["feature petal.length"]) == ("1", 31, 5)


def test_a_mapped_field_is_missing_by_the_name_it_was_mapped_to(fast_rows_min: int) -> None:
    assert refusals(decode(decoder(FOREIGN, fast_rows_min=fast_rows_min), {"out": 1})) == [
        ("missing_field", "meta.id is missing")
    ]


def test_cloud_events_are_opened_whether_structured_binary_or_batched(fast_rows_min: int) -> None:
    topic = decoder(shape(), fast_rows_min=fast_rows_min)
    envelope = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    coded = base64.b64encode(json.dumps(PREDICTION).encode()).decode()
    sent = [
        envelope | {"data": PREDICTION},
        envelope | {"data_base64": coded},
        envelope | {"data": [PREDICTION]},
        [envelope | {"data": PREDICTION}],
    ]
    for event in sent:
        assert only_row(decode(topic, event))["prediction"] == "1"
    binary = {"ce_specversion": "1.0", "ce_type": "t", "content-type": "application/json"}
    assert only_row(decode(topic, PREDICTION, headers=binary))["prediction"] == "1"
    decoded = decode(
        topic, *sent, PREDICTION, envelope | {"data": PREDICTION}, envelope | {"data_base64": "?"}, envelope
    )
    assert len(decoded.predictions["m"]) == 6
    assert [letter.reason for letter in decoded.dead] == ["not_json", "missing_field"]


def test_unknown_fields_and_features_are_counted_on_a_sample(fast_rows_min: int) -> None:
    value = json.dumps(PREDICTION | {"x": 1, "y": 2, "features": {"age": 1, "z": 3}}).encode()
    sent = records(*(Message(value, offset=offset) for offset in range(500, 3500)))
    decoded = decoder(shape(), fast_rows_min=fast_rows_min).decode("t", 0, sent)
    assert decoded.counts == {("m", "unknown_field"): 6, ("m", "unknown_feature"): 3}


def test_features_of_unknown_types_are_kept_as_they_were_sent() -> None:
    topic = decoder(replace(shape(columns={"id": "id"}), features=None))
    flat = {"id": 1, "timestamp": 5, "prediction": 0, "age": 3, "deep": {"a": 1}, "latency_ms": 3}
    decoded = decode(topic, PREDICTION, flat, {"id": 1, "timestamp": 5, "prediction": 0})
    batch = decoded.predictions["m"]
    assert batch.raw_features == ({"age": 31, "city": "Boston"}, {"age": 3}, {})
    assert batch.has_features.tolist() == [True, True, False]
