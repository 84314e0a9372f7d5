"""Are the labels of a replay found where they stand, and are people told why they found no predictions?"""

from pathlib import Path

import pyarrow as pa
import pytest

from driftline.settings.services import LimitSettings
from streams.decode.files import FileDecoder
from streams.replay_files import ReplayTimes, read_replay, why_unjoined
from tests.support.events import column, shape

PREDICTIONS = [(Path("p.csv"), pa.table({"id": pa.array([None, 7])}))]
LABELS = [(Path("l.parquet"), pa.table({"prediction_id": ["x" * 500]}))]


@pytest.mark.parametrize("joined", [0, 9])
def test_labels_that_found_next_to_no_prediction_are_told_with_an_id_of_each_side(joined: int) -> None:
    told = why_unjoined(PREDICTIONS, LABELS, shape(columns={"id": "id"}), 1_000, joined)

    assert told is not None
    assert told.startswith(
        f"{joined} of 1000 labels found a prediction; the first label's id is '{'x' * 60}' (l.parquet), "
        "the first prediction's '7' (p.csv): "
    )


def test_labels_that_were_joined_or_stand_beside_their_predictions_or_are_none_are_no_reason_to_warn() -> None:
    of = shape(columns={"id": "id"})

    assert why_unjoined(PREDICTIONS, LABELS, of, 1_000, 10) is None
    assert why_unjoined(PREDICTIONS, [], of, 1_000, 0) is None
    assert why_unjoined(PREDICTIONS, LABELS, of, 0, 0) is None


def test_labels_beside_predictions_are_read_where_they_are_known_and_in_the_files_that_have_them() -> None:
    predictions = {"prediction_id": ["a", "b", "c"], "timestamp": [1, 2, 3], "prediction": [1, 1, 1], "age": [1, 2, 3]}
    tables = [
        (Path("labelled.csv"), pa.table(predictions | {"label": [1, None, 0]})),
        (Path("not-yet.csv"), pa.table(predictions)),
    ]

    read = read_replay(tables, [], FileDecoder(shape(), LimitSettings(), b"secret"), ReplayTimes(label_delay_ms=5))

    assert read.labels is not None
    assert (column(read.labels.label), read.labels.time_ms.tolist()) == (["1", "0"], [6, 8])
    assert (len(read.predictions), read.dead) == (6, [])
