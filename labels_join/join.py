"""Predictions meet their labels in Postgres: each pair exactly once, in whichever transaction comes second.

Both sides are append-only. A transaction that brings predictions inserts them and joins the labels already there; one
that brings labels inserts them and joins the predictions already there. The caller holds the model's join lock, shared
for predictions and alone for labels and served features, so two that belong together can't miss one another. Keys are
arranged before they meet the store: neighbours in a batch are neighbours in the index, and nothing deadlocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from driftline.events import Bytes, Floats, Ints, Mask
from driftline.store.arrays import pg_array, pg_rows_of_bytes
from driftline.store.connection import Connection, run, the_row
from labels_join.outcomes import Pairs
from labels_join.repeats import (
    Label,
    counted_labels,
    first_in_batch,
    key_order,
    repeated_in_batch,
    same_key_as_before,
    texts_of,
    what_changes,
)


@dataclass(frozen=True, slots=True)
class JoinedModel:
    """What the join must know of a model.

    Parameters
    ----------
    horizon_s, horizons_s
        How long predictions and labels are kept, now and at any time before.
    class_names
        What class codes stand for; None for regression.
    """

    model_id: int
    horizon_s: int
    horizons_s: list[int]
    dedupe_window_ms: int
    on_correction: Literal["ignore", "restate"]
    class_names: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class KeyedPredictions:
    """Predictions as the store keeps them; all columns of one length.

    Parameters
    ----------
    key
        uint8 [rows, 16].
    segments
        int64 [rows, names]; codes of the segment values.
    prediction
        float64 [rows]; class codes, or values for regression.
    """

    key: Bytes
    version: Ints
    variant: Ints
    time_ms: Ints
    prediction: Floats
    score: Floats
    segments: Ints
    has_features: Mask
    late: Mask

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: Mask | Ints) -> KeyedPredictions:
        """Keep some rows, or arrange them."""
        return KeyedPredictions(
            self.key[rows],
            self.version[rows],
            self.variant[rows],
            self.time_ms[rows],
            self.prediction[rows],
            self.score[rows],
            self.segments[rows],
            self.has_features[rows],
            self.late[rows],
        )


@dataclass(frozen=True, slots=True)
class KeyedLabels:
    """Labels as the store keeps them; all columns of one length."""

    key: Bytes
    time_ms: Ints
    label: Floats
    reward: Floats
    late: Mask

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: Mask | Ints) -> KeyedLabels:
        """Keep some rows, or arrange them."""
        return KeyedLabels(self.key[rows], self.time_ms[rows], self.label[rows], self.reward[rows], self.late[rows])


async def repeated_predictions(connection: Connection, model: JoinedModel, predictions: KeyedPredictions) -> Mask:
    """Return bool [rows]: predictions that are in the store already, or earlier in the same batch."""
    order = key_order(predictions.key)
    arranged = predictions.take(order)
    found = await the_row(
        connection,
        "repeated_predictions",
        row=pg_array("int4", order),
        key=pg_array("uuid", arranged.key),
        version=pg_array("int2", arranged.version),
        variant=pg_array("int2", arranged.variant),
        event_time=pg_array("timestamptz", arranged.time_ms),
        horizons_s=model.horizons_s,
        dedupe_window_s=model.dedupe_window_ms / 1000,
    )
    stored = np.zeros(len(predictions), np.bool_)
    stored[found.row] = True
    new = np.flatnonzero(~stored)
    fresh = predictions.take(new)
    stored[new] = repeated_in_batch(fresh.key, fresh.version, fresh.variant, fresh.time_ms, model.dedupe_window_ms)
    return stored


async def add_predictions(connection: Connection, model: JoinedModel, predictions: KeyedPredictions) -> Pairs:
    """Insert predictions and return the pairs they make with labels that came before them."""
    if not len(predictions):
        return no_pairs(predictions.segments.shape[1])
    arranged = predictions.take(key_order(predictions.key))
    await run(
        connection,
        "add_predictions",
        horizon_s=model.horizon_s,
        model_id=model.model_id,
        key=pg_array("uuid", arranged.key),
        version=pg_array("int2", arranged.version),
        variant=pg_array("int2", arranged.variant),
        event_time=pg_array("timestamptz", arranged.time_ms),
        prediction=pg_array("float8", arranged.prediction),
        score=pg_array("float8", arranged.score),
        segments=pg_rows_of_bytes(_segment_bytes(arranged.segments)),
        has_features=pg_array("bool", arranged.has_features),
        late=pg_array("bool", arranged.late),
    )
    return _paired(arranged, await _labels_of(connection, model, arranged.key))


def _paired(predictions: KeyedPredictions, known: dict[int, list[Label]]) -> Pairs:
    """Pair predictions with the labels of their ids, by row."""
    counted = [(row, *of) for row in sorted(known) for of in counted_labels(known[row])]
    of = predictions.take(np.array([row for row, _, _ in counted], np.int64))
    labels = _columns([label for _, label, _ in counted])
    return Pairs(
        of.version,
        of.segments,
        of.time_ms,
        labels.time_ms,
        of.prediction,
        labels.value,
        of.score,
        of.late | labels.late,
        np.array([weight for _, _, weight in counted], np.int64),
        labels.reward,
    )


async def add_labels(
    connection: Connection, model: JoinedModel, labels: KeyedLabels, n_segments: int
) -> tuple[Pairs, int]:
    """Insert labels and return the pairs they make with predictions that came before them, and how many were repeats.

    A second label for a key changes nothing, or, where corrections restate, takes the old pair back and makes a new one
    if it ranks higher.
    """
    labels = labels.take(key_order(labels.key))
    known = await _labels_of(connection, model, labels.key)
    first = first_in_batch(labels.key)
    first[list(known)] = False
    if model.on_correction == "ignore":
        labels = labels.take(first)
        await _insert_labels(connection, model, labels)
        return await _pairs_of(connection, model, labels, np.ones(len(labels), np.int64), n_segments), int(
            (~first).sum()
        )
    labels = replace(labels, late=labels.late | ~first)
    await _insert_labels(connection, model, labels)
    counted, weight, repeats = _count_labels(labels, known, model.class_names)
    return await _pairs_of(connection, model, counted, weight, n_segments), repeats


async def _insert_labels(connection: Connection, model: JoinedModel, labels: KeyedLabels) -> None:
    await run(
        connection,
        "add_labels",
        horizon_s=model.horizon_s,
        model_id=model.model_id,
        key=pg_array("uuid", labels.key),
        event_time=pg_array("timestamptz", labels.time_ms),
        label=pg_array("float8", labels.label),
        reward=pg_array("float8", labels.reward),
        late=pg_array("bool", labels.late),
    )


async def _labels_of(connection: Connection, model: JoinedModel, key: Bytes) -> dict[int, list[Label]]:
    found = await the_row(
        connection,
        "labels_of_keys",
        row=pg_array("int4", np.arange(len(key))),
        key=pg_array("uuid", key),
        horizons_s=model.horizons_s,
    )
    labels: dict[int, list[Label]] = defaultdict(list)
    all_labels = _labels_in(found.event_time, found.label, found.late, found.reward, model.class_names)
    for row, label in zip(found.row.tolist(), all_labels, strict=True):
        labels[row].append(label)
    return labels


def _count_labels(
    labels: KeyedLabels, known: dict[int, list[Label]], class_names: Sequence[str] | None
) -> tuple[KeyedLabels, Ints, int]:
    """Return how labels count, arranged by key: which, for how much, and how many of them change nothing."""
    starts = np.flatnonzero(~same_key_as_before(labels.key, np.arange(len(labels))))
    came = _labels_in(labels.time_ms, labels.label, labels.late, labels.reward, class_names)
    rows, counted, weights, repeats = [], [], [], 0
    for start, end in pairwise([*starts.tolist(), len(labels)]):
        changes, n_repeats = what_changes(known.get(start, []), came[start:end])
        repeats += n_repeats
        for label, weight in changes:
            rows.append(start)
            counted.append(label)
            weights.append(weight)
    columns = _columns(counted)
    of = labels.take(np.array(rows, np.int64))
    of = replace(of, time_ms=columns.time_ms, label=columns.value, reward=columns.reward, late=columns.late)
    return of, np.array(weights, np.int64), repeats


class _LabelColumns(NamedTuple):
    time_ms: Ints
    value: Floats
    late: Mask
    reward: Floats


def _columns(labels: Sequence[Label]) -> _LabelColumns:
    return _LabelColumns(
        np.array([label.time_ms for label in labels], np.int64),
        np.array([label.value for label in labels], np.float64),
        np.array([label.late for label in labels], np.bool_),
        np.array([label.reward for label in labels], np.float64),
    )


def _labels_in(
    time_ms: Ints, value: Floats, late: Mask, reward: Floats, class_names: Sequence[str] | None
) -> list[Label]:
    texts = texts_of(value, class_names)
    return list(map(Label, time_ms.tolist(), value.tolist(), late.tolist(), texts, reward.tolist()))


async def _pairs_of(
    connection: Connection, model: JoinedModel, labels: KeyedLabels, weight: Ints, n_segments: int
) -> Pairs:
    """Join labels with the predictions in the store."""
    if not len(labels):
        return no_pairs(n_segments)
    found = await the_row(
        connection,
        "predictions_of_keys",
        row=pg_array("int4", np.arange(len(labels))),
        key=pg_array("uuid", labels.key),
        horizons_s=model.horizons_s,
    )
    row = found.row
    return Pairs(
        found.version.astype(np.int64),
        _segments_in(found.segments, len(row), n_segments),
        found.event_time,
        labels.time_ms[row],
        found.prediction,
        labels.label[row],
        found.score,
        found.late | labels.late[row],
        weight[row],
        labels.reward[row],
    )


async def all_pairs(connection: Connection, model: JoinedModel, versions: Sequence[int], n_segments: int) -> Pairs:
    """Return every pair of some versions that is in the store; for the moment a reference is complete."""
    found = await the_row(
        connection,
        "labelled_predictions",
        model_id=model.model_id,
        horizons_s=model.horizons_s,
        versions=list(versions),
    )
    predictions = KeyedPredictions(
        found.key,
        found.version.astype(np.int64),
        found.variant.astype(np.int64),
        found.event_time,
        found.prediction,
        found.score,
        _segments_in(found.segments, len(found.key), n_segments),
        found.has_features,
        found.late,
    )
    return _paired(predictions, await _labels_of(connection, model, predictions.key))


async def features_counted_before(
    connection: Connection, model: JoinedModel, key: Bytes, *, by_events_only: bool
) -> Mask:
    """Return bool [rows]: ids whose features were counted before.

    Parameters
    ----------
    by_events_only
        Ask only for feature events, as a prediction does; else for predictions too, as a feature event does.
    """
    counted = np.zeros(len(key), np.bool_)
    if len(key):
        statement = "keys_with_served_features" if by_events_only else "keys_with_features"
        found = await the_row(
            connection,
            statement,
            row=pg_array("int4", np.arange(len(key))),
            key=pg_array("uuid", key),
            horizons_s=model.horizons_s,
        )
        counted[found.row] = True
    return counted


async def add_served_features(connection: Connection, model: JoinedModel, key: Bytes, time_ms: Ints) -> None:
    """Remember that these ids' features were counted from feature events."""
    order = key_order(key)
    await run(
        connection,
        "add_served_features",
        horizon_s=model.horizon_s,
        model_id=model.model_id,
        key=pg_array("uuid", key[order]),
        event_time=pg_array("timestamptz", time_ms[order]),
    )


def no_pairs(n_segments: int) -> Pairs:
    """Return no pairs."""
    ints, floats = np.empty(0, np.int64), np.empty(0, np.float64)
    segments = np.empty((0, n_segments), np.int64)
    return Pairs(ints, segments, ints, ints, floats, floats, floats, np.empty(0, np.bool_), ints)


def _segment_bytes(segments: Ints) -> Bytes:
    if not segments.shape[1]:
        return np.empty((len(segments), 0), np.uint8)
    return np.ascontiguousarray(segments.astype("<i2")).view(np.uint8).reshape(len(segments), -1)


def _segments_in(content: bytes, n_rows: int, n_segments: int) -> Ints:
    return np.frombuffer(content, "<i2").astype(np.int64).reshape(n_rows, n_segments)
