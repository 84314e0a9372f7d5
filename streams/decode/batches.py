"""How do rows become columns, and several batches one?

Invariants: whatever way the rows came, the batch stands in the order of the log; the builders need at least one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from driftline.events import (
    NO_TIME,
    Batch,
    Coded,
    FeatureBatch,
    FeatureColumn,
    FeatureType,
    Ints,
    LabelBatch,
    Mask,
    Numeric,
    PredictionBatch,
)
from streams.decode.keys import keys_of
from streams.decode.rows import FeatureRow, Features, LabelRow, PredictionRow
from streams.decode.shapes import EventShape, Kind
from streams.decode.values import coded_column, numeric_column

AnyBatch = TypeVar("AnyBatch", PredictionBatch, LabelBatch, FeatureBatch)


def prediction_batch(rows: Sequence[PredictionRow], shape: EventShape, secret: bytes) -> PredictionBatch:
    """Make a batch of predictions."""
    order, ids, times, versions, variants, predictions, scores, features = zip(*rows, strict=True)
    return PredictionBatch(
        np.array(order, np.int64),
        keys_of(shape, ids, secret),
        np.array(times, np.int64),
        coded_column(versions),
        coded_column(variants),
        outcome_column(predictions, shape),
        np.array(scores, np.float64),
        _segments(features),
        np.fromiter((feature.carried for feature in features), np.bool_, len(rows)),
        _features(features, shape),
        _raw(features, shape),
    )


def label_batch(rows: Sequence[LabelRow], shape: EventShape, secret: bytes) -> LabelBatch:
    """Make a batch of labels."""
    order, ids, times, labels, rewards, predicted = zip(*rows, strict=True)
    return LabelBatch(
        np.array(order, np.int64),
        keys_of(shape, ids, secret),
        np.array(times, np.int64),
        outcome_column(labels, shape),
        np.array(rewards, np.float64),
        told_times(np.array(predicted, np.int64)),
    )


def feature_batch(rows: Sequence[FeatureRow], shape: EventShape, secret: bytes) -> FeatureBatch:
    """Make a batch of features."""
    order, ids, times, versions, features = zip(*rows, strict=True)
    return FeatureBatch(
        np.array(order, np.int64),
        keys_of(shape, ids, secret),
        np.array(times, np.int64),
        coded_column(versions),
        _segments(features),
        _features(features, shape),
        _raw(features, shape),
    )


BUILDERS: Mapping[Kind, Callable[[Sequence[Any], EventShape, bytes], Batch]] = {
    "prediction": prediction_batch,
    "label": label_batch,
    "feature": feature_batch,
}


def outcome_column(values: Sequence[str | float], shape: EventShape) -> FeatureColumn:
    """Make a column of predictions or labels: numbers for a regression, texts otherwise."""
    return numeric_column(values) if shape.task == "regression" else coded_column(values)


def told_times(times_ms: Ints) -> Ints | None:
    """Return the times, or None if none of them is told."""
    return None if (times_ms == NO_TIME).all() else times_ms


def feature_column(values: Sequence[object], feature: FeatureType) -> FeatureColumn:
    """Make a column of one feature's values."""
    return numeric_column(values) if feature.kind == "numeric" else coded_column(values)


def _features(features: Sequence[Features], shape: EventShape) -> dict[str, FeatureColumn]:
    types = shape.features or ()
    columns = zip(*(feature.values for feature in features), strict=True)
    return {feature.name: feature_column(values, feature) for feature, values in zip(types, columns, strict=True)}


def _segments(features: Sequence[Features]) -> tuple[Coded, ...]:
    return tuple(map(coded_column, zip(*(feature.segments for feature in features), strict=True)))


def _raw(features: Sequence[Features], shape: EventShape) -> tuple[dict[str, object], ...] | None:
    return None if shape.features is not None else tuple(dict(feature.raw or {}) for feature in features)


def merge(batches: Sequence[AnyBatch]) -> AnyBatch:
    """Put batches of one model into one, its rows sorted by `order`.

    Parameters
    ----------
    batches
        At least one; no `order` occurs twice.
    """
    first = batches[0]
    if len(batches) == 1:
        return first
    place = np.argsort(np.concatenate([batch.order for batch in batches]), kind="stable")
    names = [field.name for field in fields(first) if field.name not in ("prediction_time_ms", "new_features")]
    merged = {name: _merged(name, [getattr(batch, name) for batch in batches], place) for name in names}
    if isinstance(first, LabelBatch):
        merged["prediction_time_ms"] = _merged_times(batches, place)
    else:
        new = sorted({name for batch in batches for name in batch.new_features})
        merged["new_features"] = {name: _merged_rows(name, batches, place) for name in new}
    return type(first)(**merged)


def _merged(name: str, parts: Sequence[Any], place: Ints) -> Any:
    first = parts[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)[place]
    if isinstance(first, Coded):
        return _merged_texts(parts, place)
    if isinstance(first, Numeric):
        return Numeric(
            np.concatenate([part.values for part in parts])[place],
            np.concatenate([part.missing for part in parts])[place],
        )
    if isinstance(first, dict):
        return {key: _merged(key, [part[key] for part in parts], place) for key in first}
    if name == "segments":
        return tuple(_merged(name, columns, place) for columns in zip(*parts, strict=True))
    if name == "raw_features" and first is not None:
        rows = tuple(chain.from_iterable(parts))
        return tuple(rows[row] for row in place)
    return None


def _merged_texts(parts: Sequence[Coded], place: Ints) -> Coded:
    index: dict[str, int] = {}
    codes = []
    for part in parts:
        # Codes -1 and -2 find themselves at the table's end.
        table = [index.setdefault(text, len(index)) for text in part.values] + [-2, -1]
        codes.append(np.array(table, np.int32)[part.codes])
    return Coded(np.concatenate(codes)[place], tuple(index))


def _merged_rows(name: str, batches: Sequence[Any], place: Ints) -> Mask:
    carried = [batch.new_features.get(name, np.zeros(len(batch), np.bool_)) for batch in batches]
    rows: Mask = np.concatenate(carried)[place]
    return rows


def _merged_times(batches: Sequence[LabelBatch], place: Ints) -> Ints | None:
    parts = [
        np.full(len(batch), NO_TIME) if batch.prediction_time_ms is None else batch.prediction_time_ms
        for batch in batches
    ]
    return told_times(np.concatenate(parts)[place])
