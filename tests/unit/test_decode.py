"""Each rule of the event contract, read as a table and row by row."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from driftline.events import NO_TIME, Decoded, event_keys
from driftline.settings.services import Payloads
from streams.decode.decoder import Decoder
from streams.decode.payloads import kept_payload
from tests.support.events import ROW_BY_ROW, Message, column, decoder, messages, records, rows, shape

PREDICTION: dict[str, Any] = {
    "prediction_id": "a",
    "model": "m",
    "version": "7",
    "timestamp": 1_700_000_000_000,
    "prediction": 1,
    "score": 0.75,
    "features": {"age": 31, "city": "Boston"},
}
LABEL: dict[str, Any] = {"prediction_id": "a", "model": "m", "timestamp": 1_700_000_000_000, "label": 1}


@pytest.fixture(params=[1, ROW_BY_ROW], ids=["as a table", "row by row"])
def fast_rows_min(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def decode(topic: Decoder, *events: object, headers: dict[str, str] | None = None) -> Decoded:
    return topic.decode("t", 3, messages(*events, headers=headers))


def only_row(decoded: Decoded) -> dict[str, Any]:
    assert decoded.dead == []
    (batch,) = [*decoded.predictions.values(), *decoded.labels.values(), *decoded.features.values()]
    (row,) = rows(batch)
    return row


def refusals(decoded: Decoded) -> list[tuple[str, str]]:
    return [(letter.reason, letter.detail) for letter in decoded.dead]


def test_a_prediction_becomes_a_row(fast_rows_min: int) -> None:
    row = only_row(decode(decoder(shape(), fast_rows_min=fast_rows_min), PREDICTION))
    assert row == {
        "order": 0,
        "key": event_keys("m", ["a"], b"secret").tobytes(),
        "time_ms": 1_700_000_000_000,
        "version": "7",
        "variant": "champion",
        "prediction": "1",
        "score": 0.75,
        "has_features": True,
        "feature age": 31.0,
        "feature city": "Boston",
        "raw": None,
    }


def test_a_label_becomes_a_row(fast_rows_min: int) -> None:
    sent = LABEL | {"reward": 2, "prediction_timestamp": "2023-11-14T22:13:20Z"}
    row = only_row(decode(decoder(shape(), kinds=["label"], fast_rows_min=fast_rows_min), sent))
    assert (row["label"], row["reward"], row["prediction_time_ms"]) == ("1", 2.0, 1_700_000_000_000)
    row = only_row(decode(decoder(shape(), kinds=["label"], fast_rows_min=fast_rows_min), LABEL))
    assert (row["reward"], row["prediction_time_ms"]) == (None, NO_TIME)


def test_only_serving_feature_events_are_kept(fast_rows_min: int) -> None:
    sent = {key: PREDICTION[key] for key in ("prediction_id", "timestamp", "features")}
    topic = decoder(shape(), kinds=["feature"], fast_rows_min=fast_rows_min)
    decoded = decode(topic, sent, sent | {"source": "serving"}, sent | {"source": "offline"}, sent | {"source": "else"})
    assert column(decoded.features["m"].features["age"]) == [31.0, 31.0]
    assert decoded.counts == {("m", "offline_features"): 1}
    assert refusals(decoded) == [("wrong_type", 'source: expected "serving" or "offline", found "else"')]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (1_700_000_000_123, 1_700_000_000_123),
        (1_700_000_000_123.0, 1_700_000_000_123),
        ("2023-11-14T22:13:20.123Z", 1_700_000_000_123),
        ("2023-11-14T22:13:20.123999999Z", 1_700_000_000_123),
        ("2023-11-15T03:43:20.123+05:30", 1_700_000_000_123),
        ("2023-11-15t03:43:20.123+0530", 1_700_000_000_123),
        ("1969-12-31T23:59:59.9995Z", -1),
        ("0001-01-01T00:00:00Z", int(datetime(1, 1, 1, tzinfo=UTC).timestamp()) * 1000),
    ],
)
def test_a_timestamp_is_rfc_3339_with_an_offset_or_whole_milliseconds(
    fast_rows_min: int, sent: object, expected: int
) -> None:
    row = only_row(decode(decoder(shape(), fast_rows_min=fast_rows_min), PREDICTION | {"timestamp": sent}))
    assert row["time_ms"] == expected


@pytest.mark.parametrize(
    "sent",
    [
        "2023-11-14T22:13:20", "2023-02-30T00:00:00Z", "2023-11-14", "1700000000000", "", True, 0.5, 1e300, 2**62, [],
        {}, "2023-11-14T24:00:00Z", "2023-11-14T22:13:60Z", "٢٠٢٣-11-14T22:13:20Z", "2023-11-14T22:13:20Z\n",
    ],
)  # fmt: skip
def test_any_other_timestamp_is_a_dead_letter(fast_rows_min: int, sent: object) -> None:
    decoded = decode(decoder(shape(), fast_rows_min=fast_rows_min), PREDICTION | {"timestamp": sent})
    assert [letter.reason for letter in decoded.dead] == ["bad_timestamp"]
    assert decoded.dead[0].detail.startswith(
        "timestamp: expected RFC 3339 with an offset or epoch milliseconds, found "
    )


def test_ids_are_canonical_text_whatever_their_type(fast_rows_min: int) -> None:
    ids = [1, "1", 1.0, "1.0", True, "True", "01", 2**53 + 1, 10**30, "-0", 1e-7, "1.10", 1.10, "1.1", "1e3", 1e3]
    decoded = decode(decoder(shape(), fast_rows_min=fast_rows_min), *({**PREDICTION, "prediction_id": i} for i in ids))
    # A number without fraction is an integer however it is spelt; 1e30 has these digits as a double.
    texts = ["1", "1", "1", "1", "true", "true", "01", "9007199254740993", str(int(1e30)), "0", "1e-07"]
    # Text that is no whole number is no number at all.
    texts += ["1.10", "1.1", "1.1", "1e3", "1000"]
    assert decoded.predictions["m"].key.tolist() == event_keys("m", texts, b"secret").tolist()


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"prediction_id": None}, "missing_field", "prediction_id is missing"),
        ({"prediction_id": ""}, "missing_field", "prediction_id is missing"),
        ({"prediction_id": {}}, "wrong_type", "prediction_id: expected a text or a number, found an object"),
        ({"prediction_id": "ä" * 300}, "id_too_long", "prediction_id: expected at most 512 bytes, found"),
        ({"timestamp": None}, "missing_field", "timestamp is missing"),
        ({"prediction": None}, "missing_field", "prediction is missing"),
        (
            {"prediction": [1, 2]},
            "wrong_type",
            "prediction: expected a class of at most 256 bytes, found an array of 2",
        ),
        ({"prediction": "a\0b"}, "wrong_type", r'prediction: expected a class of at most 256 bytes, found "a\u0000b"'),
        ({"prediction": "x" * 257}, "wrong_type", "prediction: expected a class of at most 256 bytes, found"),
        ({"prediction": float("nan")}, "not_finite", "prediction: expected a class, found nan"),
        ({"version": "a\0b"}, "wrong_type", r'version: expected a text of at most 256 bytes, found "a\u0000b"'),
        ({"version": "\ud800"}, "wrong_type", r'version: expected a text of at most 256 bytes, found "\ud800"'),
        ({"variant": {}}, "wrong_type", "variant: expected a text of at most 256 bytes, found an object"),
        ({"score": "0.5"}, "wrong_type", 'score: expected a number, found "0.5"'),
        ({"score": True}, "wrong_type", "score: expected a number, found true"),
        ({"score": float("inf")}, "not_finite", "score: expected a finite number, found inf"),
        ({"score": 1.01}, "bad_score", "score: expected a probability between 0 and 1, found 1.01"),
        ({"score": -1}, "bad_score", "score: expected a probability between 0 and 1, found -1.0"),
        ({"features": [1]}, "wrong_type", "features: expected an object, found an array of 1"),
        ({"model": "n"}, "unknown_model", 'expected the name of a configured model, found "n"'),
        ({"model": {}}, "unknown_model", "expected the name of a configured model, found an object"),
    ],
)
def test_an_unusable_field_is_a_dead_letter_that_says_what_was_expected_and_found(
    fast_rows_min: int, change: dict[str, Any], reason: str, detail: str
) -> None:
    decoded = decode(decoder(shape(), fast_rows_min=fast_rows_min), PREDICTION, PREDICTION | change, PREDICTION)
    assert len(decoded.predictions["m"]) == 2
    assert [letter.reason for letter in decoded.dead] == [reason]
    assert decoded.dead[0].detail.startswith(detail)
    assert (decoded.dead[0].topic, decoded.dead[0].partition, decoded.dead[0].offset) == ("t", 3, 2)


@pytest.mark.parametrize("value", [b"{", b"nonsense", b"\xff", b'{"a":"\xff"}', b"{}{}", b"[1,]", b"[" * 100_000, b" "])
def test_what_is_not_json_is_a_dead_letter_that_carries_the_message(fast_rows_min: int, value: bytes) -> None:
    topic = decoder(shape(), fast_rows_min=fast_rows_min, dead_letter_payload_bytes_max=1000)
    decoded = decode(topic, PREDICTION, value, PREDICTION)
    assert len(decoded.predictions["m"]) == 2
    assert [(letter.reason, letter.model, letter.payload) for letter in decoded.dead] == [
        ("not_json", None, value[:1000])
    ]


@pytest.mark.parametrize("value", [b"null", b"1", b'"a"', b"[1]", b"[[]]", b'{"specversion":"1.0","data":"a"}'])
def test_json_that_is_no_object_is_a_dead_letter(fast_rows_min: int, value: bytes) -> None:
    decoded = decode(decoder(shape(), fast_rows_min=fast_rows_min), PREDICTION, value)
    assert [letter.reason for letter in decoded.dead] == ["not_an_object"]


def test_tombstones_and_empty_messages_are_counted_and_no_dead_letters(fast_rows_min: int) -> None:
    topic = decoder(shape(), fast_rows_min=fast_rows_min)
    decoded = decode(topic, None, b"", [], PREDICTION, headers={"driftline-model": "m"})
    assert decoded.dead == []
    assert decoded.counts == {("m", "tombstone"): 1, ("m", "empty"): 2}
    assert decode(topic, None).counts == {("*", "tombstone"): 1}
    assert (decoded.predictions["m"].order.tolist(), decoded.record_of.tolist()) == ([0], [3])


def test_a_message_that_is_too_large_is_not_even_parsed(fast_rows_min: int) -> None:
    topic = decoder(shape(), fast_rows_min=fast_rows_min, message_bytes_max=500)
    decoded = decode(topic, PREDICTION, PREDICTION | {"note": "x" * 10_000_000})
    assert len(decoded.predictions["m"]) == 1
    assert [letter.reason for letter in decoded.dead] == ["too_large"]
    assert len(decoded.dead[0].payload) <= 4096


def test_numeric_features_of_a_wrong_type_are_other_and_absent_ones_missing(fast_rows_min: int) -> None:
    ages = [31, 2.5, None, "31", True, [], float("nan"), float("-inf"), 10**400]
    events = [PREDICTION | {"features": {"age": age, "city": "Boston"}} for age in ages]
    decoded = decode(decoder(shape(), fast_rows_min=fast_rows_min), *events, PREDICTION | {"features": {}})
    assert decoded.dead == []
    assert column(decoded.predictions["m"].features["age"]) == [31.0, 2.5, None, *["<other>"] * 6, None]


def test_categories_are_canonical_text_and_unusable_ones_other(fast_rows_min: int) -> None:
    cities = ["Boston", 1, "1", 1.0, True, "TRUE", "01", None, {}, [], "x" * 256, "x" * 257, "é" * 129, "a\0b", ""]
    cities += ["1.0", "1.10", 1.10, "1e3"]
    events = [PREDICTION | {"features": {"city": city}} for city in cities]
    decoded = decode(decoder(shape(), fast_rows_min=fast_rows_min), *events)
    expected = [
        "Boston",
        "1",
        "1",
        "1",
        "true",
        "true",
        "01",
        None,
        "<other>",
        "<other>",
        "x" * 256,
        *["<other>"] * 3,
        "",
        "1",
        "1.10",
        "1.1",
        "1e3",
    ]
    assert column(decoded.predictions["m"].features["city"]) == expected


def test_an_event_without_features_is_told_from_one_whose_features_are_missing(fast_rows_min: int) -> None:
    without = {key: value for key, value in PREDICTION.items() if key != "features"}
    decoded = decode(decoder(shape(), fast_rows_min=fast_rows_min), PREDICTION, without, PREDICTION | {"features": {}})
    assert decoded.predictions["m"].has_features.tolist() == [True, False, True]


def test_segments_are_looked_up_in_the_segment_then_in_the_features_then_at_the_top(fast_rows_min: int) -> None:
    topic = decoder(shape(segments=["city", "plan"]), fast_rows_min=fast_rows_min)
    decoded = decode(
        topic,
        PREDICTION | {"segment": {"city": "Salem", "plan": "free"}},
        PREDICTION | {"plan": "paid"},
        PREDICTION | {"segment": "vip", "features": {"city": []}},
    )
    batch = decoded.predictions["m"]
    assert [column(segment) for segment in batch.segments] == [["Salem", "Boston", "<other>"], ["free", "paid", None]]
    assert column(batch.features["city"]) == ["Boston", "Boston", "<other>"]


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


def test_a_regression_predicts_finite_numbers(fast_rows_min: int) -> None:
    topic = decoder(shape(task="regression"), fast_rows_min=fast_rows_min)
    values = [1, -2.5, "3", True, float("nan"), 10**400]
    decoded = decode(topic, *(PREDICTION | {"prediction": value, "score": 17} for value in values))
    assert column(decoded.predictions["m"].prediction) == [1.0, -2.5]
    assert [letter.reason for letter in decoded.dead] == ["wrong_type", "wrong_type", "not_finite", "not_finite"]


def test_the_score_of_many_classes_is_the_probability_of_the_predicted_one(fast_rows_min: int) -> None:
    topic = decoder(shape(task="multiclass"), fast_rows_min=fast_rows_min)
    sent = {key: value for key, value in PREDICTION.items() if key != "score"} | {"prediction": 2}
    probabilities: list[Any] = [
        {"1": 0.25, "2": 0.75}, {"1": 0.25, "2.0": 0.5}, {"1": 1}, None, {"2": "high"}, {"2": 1.5}, [0.1],
        {"2": 0.5, "1": []},
    ]  # fmt: skip
    decoded = decode(
        topic, *(sent | {"probabilities": each} for each in probabilities), PREDICTION | {"probabilities": 1}
    )
    assert [row["score"] for row in rows(decoded.predictions["m"])] == [0.75, 0.5, None, None, 0.5, 0.75]
    assert [letter.reason for letter in decoded.dead] == ["wrong_type", "bad_score", "wrong_type"]


def test_the_header_tells_the_model_before_the_field_and_the_field_before_the_topic(fast_rows_min: int) -> None:
    topic = decoder(shape("m"), shape("n", "regression"), fast_rows_min=fast_rows_min)
    assert list(decode(topic, PREDICTION, headers={"driftline-model": "n"}).predictions) == ["n"]
    assert list(decode(topic, PREDICTION).predictions) == ["m"]
    nameless = {key: value for key, value in PREDICTION.items() if key != "model"}
    assert list(decode(decoder(shape("n"), fast_rows_min=fast_rows_min), nameless).predictions) == ["n"]
    assert [letter.reason for letter in decode(topic, nameless).dead] == ["missing_field"]
    for header in ("", "o", "\ud800"):
        sent = records(
            Message(json.dumps(PREDICTION).encode(), (("driftline-model", header.encode("utf-8", "replace")),))
        )
        assert [letter.reason for letter in topic.decode("t", 0, sent).dead] == ["unknown_model"]


def test_a_shared_topic_tells_kinds_by_header_or_by_fields(fast_rows_min: int) -> None:
    topic = decoder(shape(), kinds=["prediction", "label", "feature"], fast_rows_min=fast_rows_min)
    feature = {key: PREDICTION[key] for key in ("prediction_id", "timestamp", "features")}
    decoded = decode(topic, PREDICTION, LABEL, feature, PREDICTION | {"note": '"label"'})
    assert (len(decoded.predictions["m"]), len(decoded.labels["m"]), len(decoded.features["m"])) == (2, 1, 1)
    decoded = decode(topic, PREDICTION | {"label": 0}, headers={"driftline-kind": "prediction"})
    assert list(decoded.predictions) == ["m"]
    decoded = decode(topic, PREDICTION, headers={"driftline-kind": "pre"})
    assert [letter.reason for letter in decoded.dead] == ["unknown_kind"]
    decoded = decode(decoder(shape(), kinds=["prediction", "label"], fast_rows_min=fast_rows_min), feature)
    assert [letter.reason for letter in decoded.dead] == ["unknown_kind"]


def test_rows_come_out_in_the_order_of_the_log_and_know_their_record(fast_rows_min: int) -> None:
    sent = [PREDICTION | {"prediction": value} for value in range(6)]
    decoded = decode(
        decoder(shape(), fast_rows_min=fast_rows_min), sent[0], [sent[1], {}, sent[2]], None, sent[3:5], sent[5]
    )
    batch = decoded.predictions["m"]
    assert column(batch.prediction) == ["0", "1", "2", "3", "4", "5"]
    assert batch.order.tolist() == [0, 1, 3, 4, 5, 6]
    assert decoded.record_of[batch.order].tolist() == [0, 1, 1, 3, 3, 4]
    assert [(letter.offset, letter.element) for letter in decoded.dead] == [(2, 1)]


def test_an_array_of_too_many_events_is_one_dead_letter(fast_rows_min: int) -> None:
    topic = decoder(shape(), fast_rows_min=fast_rows_min, array_events_max=2)
    decoded = decode(topic, [PREDICTION] * 2, [PREDICTION] * 3)
    assert len(decoded.predictions["m"]) == 2
    assert refusals(decoded) == [("too_many_events", "the message: expected at most 2 events, found 3")]


def test_a_message_full_of_broken_events_makes_few_dead_letters_and_counts_the_rest() -> None:
    decoded = decode(decoder(shape()), [1] * 250 + [PREDICTION])
    assert len(decoded.predictions["m"]) == 1
    assert [letter.element for letter in decoded.dead] == list(range(100))
    assert decoded.counts == {("*", "dead_letters_left_out"): 150}
    assert len({id(letter.payload) for letter in decoded.dead}) == 1


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


@pytest.mark.parametrize("payloads", ["none", "redact"])
def test_dead_letters_quote_nothing_where_payloads_are_private(payloads: Payloads) -> None:
    (letter,) = decode(replace(decoder(shape()), payloads=payloads), PREDICTION | {"score": "secret"}).dead
    assert letter.detail == "score: expected a number, found a value of type str"
    kept = json.loads(letter.payload) if payloads == "redact" else {}
    assert letter.payload == b"" or kept.keys() == PREDICTION.keys()
    assert kept.get("score", "text") == "text"
    assert b"secret" not in letter.payload


@pytest.mark.parametrize("value", [b"not json", b"[" * 990 + b"]" * 990, b'{"a": 1', b"\xff\x00"])
def test_nothing_is_kept_redacted_of_what_can_not_be_read(value: bytes) -> None:
    assert kept_payload(value, "redact", 100)[:50].strip(b"[]") == b""
