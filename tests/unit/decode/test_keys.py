"""Do models that keep no ids draw a fair sample of them, the same one whatever form their events have?"""

import uuid
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.settings import ModelSettings
from driftline.settings.services import LimitSettings
from streams.decode.files import FileDecoder, predictions_from_table
from streams.decode.keys import quick_keys
from streams.decode.shapes import event_shape
from streams.decode.unknown import SAMPLE_SHARE, in_sample
from tests.support.contract import PREDICTION
from tests.support.events import decoder, messages, records, shape
from tests.unit.decode.test_decode_arrow import arrow

N = 50_000
BITS = 2**64
ODD_IDS = [
    "",
    "a",
    "12345678",
    "12345679",
    "123456789",
    "naïve",
    "日本語の識別子",
    "x" * 255,
    "x" * 254 + "y",
    "a\0",
    "a",
]
FORMS: dict[str, Callable[[int], str]] = {
    "serial": str,
    "of one length": "{:012d}".format,
    "with one beginning and end": "2026-01-01T00:00:00/{:07d}-eu-west".format,
    "far apart": lambda row: str(row * 1_000_000),
    "hexadecimal": "{:x}".format,
    "random": lambda row: str(uuid.UUID(int=Random(row).getrandbits(128))),
}


def as_binary(ids: list[str]) -> Any:
    return pa.array([text.encode() for text in ids], pa.large_binary())


def hashed(text: str) -> bytes:
    """The same with Python's own integers, id by id."""
    sent, key = text.encode(), len(text.encode())
    for start in range(0, len(sent), 8):
        key = (key ^ int.from_bytes(sent[start : start + 8], "little")) * 0x9E3779B97F4A7C15 % BITS
        key ^= key >> 32
    return (key * 0x9E3779B97F4A7C15 % BITS).to_bytes(8, "little")


@pytest.mark.parametrize("rows", [slice(0, None), slice(3, 8), slice(2, 2)])
def test_ids_of_any_length_are_hashed_word_by_word(rows: slice) -> None:
    found = quick_keys(as_binary(ODD_IDS)[rows])

    assert [key.tobytes() for key in found] == [hashed(text) for text in ODD_IDS[rows]]


@pytest.mark.parametrize("form", FORMS)
def test_one_in_a_hundred_is_in_the_sample_whatever_ids_look_like_and_in_each_stretch(form: str) -> None:
    sample = in_sample(quick_keys(as_binary([FORMS[form](row) for row in range(N)])))

    assert abs(len(sample) - N * SAMPLE_SHARE) < 4 * (N * SAMPLE_SHARE) ** 0.5
    # The counts of stretches vary as Poisson's do: their dispersion is chi-squared with 99 degrees of freedom.
    counts = np.bincount(sample // (N // 100), minlength=100)
    assert 55 < counts.var() / counts.mean() * 100 < 160


def test_messages_arrays_tables_and_files_have_the_same_keys() -> None:
    of = shape(keeps_ids=False)
    events = [PREDICTION | {"prediction_id": text} for text in ODD_IDS[1:] * 20]
    table = pa.Table.from_pylist(events)
    expected = [list(hashed(text)) for text in ODD_IDS[1:] * 20]
    file = FileDecoder(of, LimitSettings(), b"secret")

    for fast_rows_min in (1, 10_000):
        read = decoder(of, fast_rows_min=fast_rows_min)
        for sent in (messages(*events), messages(events), records(arrow(table))):
            assert read.decode("t", 0, sent).predictions["m"].key.tolist() == expected
    assert predictions_from_table(table, file, "p.parquet")[0].key.tolist() == expected


def test_an_id_that_utf_8_can_not_say_has_a_key_as_well() -> None:
    event = PREDICTION | {"prediction_id": "\ud800"}

    assert len(decoder(shape(keeps_ids=False)).decode("t", 0, messages(event)).predictions["m"].key[0]) == 8


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"reference": {"path": "r.parquet"}}, False),
        ({"reference": {"path": "r.parquet"}, "labels": {}}, True),
        ({"reference": {"first_events": 1000}}, True),
        ({"reference": {"path": "r.parquet"}, "versions": {"2": {"reference": {"first_events": 1000}}}}, True),
        ({"versions": {"2": {"reference": {"path": "r.parquet"}}}}, False),
    ],
)
def test_ids_are_kept_for_labels_and_for_references_that_are_still_collected(given: Any, kept: bool) -> None:
    assert event_shape("m", ModelSettings.model_validate({"task": "binary"} | given), None).keeps_ids is kept
