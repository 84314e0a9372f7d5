"""What can't be used becomes a dead letter that says why, or is counted, and takes nothing else with it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from driftline.settings.services import Payloads
from streams.decode.payloads import kept_payload
from tests.support.contract import PREDICTION, decode, refusals
from tests.support.events import decoder, shape


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
