"""Each rule of the event contract, read as a table and row by row."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from driftline.events import NO_TIME, event_keys
from tests.support.contract import LABEL, PREDICTION, decode, only_row, refusals
from tests.support.events import Message, column, decoder, records, rows, shape


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
        "new": [],
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


def test_a_class_whose_name_is_no_text_stops_nobody(fast_rows_min: int) -> None:
    topic = decoder(shape(task="multiclass"), fast_rows_min=fast_rows_min)
    sent = {key: value for key, value in PREDICTION.items() if key != "score"} | {"prediction": 2}
    decoded = decode(topic, *(sent | {"probabilities": each} for each in ({"2": 0.5, "\ud800": 0.5}, {"2": 0.75})))
    assert [row["score"] for row in rows(decoded.predictions["m"])] == [0.5, 0.75]
    assert decoded.dead == []


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
