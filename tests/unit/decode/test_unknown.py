"""Are features that nobody knows told by name, on one sample, whatever form their events have, at next to no cost?"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.events import event_keys
from driftline.settings.services import LimitSettings
from streams.decode import decoder as module
from streams.decode.files import FileDecoder, predictions_from_table
from streams.decode.unknown import NAMES_A_BATCH_MAX, SAMPLE_SHARE
from tests.support.contract import PREDICTION
from tests.support.events import decoder, messages, records, rows, shape
from tests.unit.decode.test_decode_arrow import arrow

N = 3_000
IDS = [f"p{row}" for row in range(N)]


def sampled() -> set[int]:
    """The rows whose digest ends on less than a hundredth of what two bytes may be."""
    ends = [int.from_bytes(key.tobytes()[-2:], "big") for key in event_keys("m", IDS, b"secret")]
    return {row for row, end in enumerate(ends) if end < 655}


def event(row: int) -> dict[str, Any]:
    """`new` in every second event, `null` and `list` in all, `deep` in none that counts."""
    new = {"new": row} if row % 2 else {"new": None}
    features = {"age": 3.0, "city": "x", "null": None, "list": [1.0], **new}
    return PREDICTION | {"prediction_id": IDS[row], "features": features}


EVENTS = [event(row) for row in range(N)]
CARRYING = {row for row in sampled() if row % 2}


def carried(batch: Any) -> dict[str, set[int]]:
    return {name: set(batch.order[of].tolist()) for name, of in batch.new_features.items()}


def test_the_sample_is_about_a_hundredth() -> None:
    assert abs(len(sampled()) - N * SAMPLE_SHARE) < 4 * (N * SAMPLE_SHARE) ** 0.5
    assert len(CARRYING) > 10


def test_new_features_are_told_of_the_events_in_the_sample(fast_rows_min: int) -> None:
    decoded = decoder(shape(), fast_rows_min=fast_rows_min).decode("t", 0, messages(*EVENTS))

    assert carried(decoded.predictions["m"]) == {"new": CARRYING}


@pytest.mark.parametrize("cut", [1, 7, 1_000])
def test_how_the_log_is_cut_changes_nothing(cut: int) -> None:
    read = decoder(shape(), fast_rows_min=100)
    found: set[int] = set()
    for start in range(0, N, -(-N // cut)):
        batch = read.decode("t", 0, messages(*EVENTS[start : start + -(-N // cut)])).predictions["m"]
        found |= {row + start for row in carried(batch).get("new", set())}

    assert found == CARRYING


def test_arrays_arrow_tables_and_files_say_the_same() -> None:
    table = pa.Table.from_pylist(EVENTS)
    read = decoder(shape())
    file = FileDecoder(shape(), LimitSettings(), b"secret")

    assert carried(read.decode("t", 0, messages(EVENTS)).predictions["m"]) == {"new": CARRYING}
    assert carried(read.decode("t", 0, records(arrow(table))).predictions["m"]) == {"new": CARRYING}
    assert carried(predictions_from_table(table, file, "p.parquet")[0]) == {"new": CARRYING}


def test_flat_events_tell_of_what_stands_at_their_top(fast_rows_min: int) -> None:
    flat = [
        {name: value for name, value in of.items() if name != "features"} | {"age": 3.0, "trace": "t", "deep": {"a": 1}}
        for of in EVENTS
    ]
    decoded = decoder(shape(), fast_rows_min=fast_rows_min).decode("t", 0, messages(*flat))
    file = FileDecoder(shape(), LimitSettings(), b"secret")

    assert carried(decoded.predictions["m"]) == {"trace": sampled()}
    assert carried(predictions_from_table(pa.Table.from_pylist(flat), file, "p.csv")[0]) == {"trace": sampled()}


def test_the_names_of_a_batch_are_bounded(fast_rows_min: int) -> None:
    names = [[f"u{row}.{number}" for number in range(9)] for row in range(N)]
    sent = [of | {"features": {"age": 1.0, **dict.fromkeys(own, 1)}} for of, own in zip(EVENTS, names, strict=True)]
    batch = decoder(shape(), fast_rows_min=fast_rows_min).decode("t", 0, messages(*sent)).predictions["m"]

    assert len(batch.new_features) == NAMES_A_BATCH_MAX
    assert set(batch.new_features) == set(
        sorted({name for row in sampled() for name in names[row]})[:NAMES_A_BATCH_MAX]
    )


def test_only_the_sample_is_parsed_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse = module.parse_json

    def counting(value: bytes) -> object:
        parsed.append(value)
        return parse(value)

    monkeypatch.setattr(module, "parse_json", counting)
    decoder(shape(), fast_rows_min=100).decode("t", 0, messages(*EVENTS))

    again = [json.loads(value)["prediction_id"] for value in parsed]
    assert {IDS[row] for row in sampled()} <= set(again)
    assert len(again) <= len(sampled()) + N // 1_000 + 1 + 3  # and those of the counters, and to see the schema


def test_rows_that_are_left_out_take_their_new_features_with_them() -> None:
    batch = decoder(shape()).decode("t", 0, messages(*EVENTS)).predictions["m"]
    odd = np.arange(N) % 2 == 1

    assert carried(batch.take(odd)) == {"new": CARRYING}
    assert carried(batch.take(~odd)) == {"new": set()}
    assert len(rows(batch)) == N
