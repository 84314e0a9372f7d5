"""Which real data are there? Public data sets in a folder that is no part of the project."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.detection.concepts import Columns, Floats, Ints

PROJECT = Path(__file__).parents[2]


class Data(NamedTuple):
    """A data set with a model's answers; the reference first, then what came later, in order.

    Parameters
    ----------
    features
        The features of the reference.
    predicted, score, label
        Of the reference.
    later_predicted, later_score, later_label
        Of what came later.
    """

    features: Columns
    predicted: Ints
    score: Floats
    label: Ints
    later_predicted: Ints
    later_score: Floats
    later_label: Ints

    @property
    def wrong(self) -> Floats:
        """Where the reference's predictions were wrong, 0 or 1."""
        wrong: Floats = (self.predicted != self.label).astype(np.float64)
        return wrong


def data_folder() -> Path | None:
    """Return the folder of public data sets: ``DRIFTLINE_SHARED_DATA`` or ../shared/data; None where it is missing."""
    folder = Path(os.environ.get("DRIFTLINE_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


@cache
def employment(folder: Path) -> Data:
    """Read the employment data of Massachusetts: 68,785 rows of 2015, 208,892 of the three years after."""
    reference, later, labels = (
        pq.read_table(folder / f"employment_ma_{part}.parquet") for part in ("reference", "analysis", "labels")
    )
    return _data(reference, later, labels, ("prediction", "predicted_probability", "employed"), {"id", "year"})


@cache
def housing(folder: Path) -> Data:
    """Read the California housing data: 5,832 rows as a reference and 8,232 later ones, an hour apart."""
    reference, later, labels = (
        pa.csv.read_csv(folder / f"california_housing_{part}.csv") for part in ("reference", "analysis", "analysis_gt")
    )
    return _data(reference, later, labels, ("y_pred", "y_pred_proba", "clf_target"), {"id", "timestamp"})


def _data(reference: pa.Table, later: pa.Table, labels: pa.Table, own: tuple[str, str, str], others: set[str]) -> Data:
    if not later["id"].equals(labels["id"]):
        raise ValueError("labels are not in the order of the predictions")
    names = [name for name in reference.column_names if name not in others | set(own)]
    answers = [_numbers(part, name) for part in (reference, later) for name in own[:2]]
    return Data(
        {name: _column(reference[name]) for name in names},
        answers[0].astype(np.int64),
        answers[1],
        _numbers(reference, own[2]).astype(np.int64),
        answers[2].astype(np.int64),
        answers[3],
        _numbers(labels, own[2]).astype(np.int64),
    )


def _numbers(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].to_numpy(), np.float64)


def _column(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_dictionary(column.type):
        return np.array(["" if text is None else text for text in column.to_pylist()])
    return np.asarray(column.to_numpy(), np.float64)
