"""Predictions meet their labels in Postgres: each pair exactly once, in whichever transaction comes second.

Both sides are append-only. A transaction that brings predictions inserts them and joins the labels already there; one
that brings labels inserts them and joins the predictions already there. The caller holds the model's join lock, shared
for predictions and alone for labels and served features, so two that belong together can't miss one another. Keys are
arranged before they meet the store: neighbours in a batch are neighbours in the index, and nothing deadlocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from driftline.events import NO_TIME, Bytes, Floats, Ints, Mask
from driftline.store.arrays import BEGINNING_MS, END_MS, pg_array, pg_rows_of_bytes
from driftline.store.connection import Connection, run, the_row, timestamp
from labels_join.labels import KeyedLabels, LabelsOfIds, count_new, count_stored, near, said_before
from labels_join.outcomes import Pairs
from labels_join.repeats import first_in_batch, key_order, repeated_in_batch, same_keys


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


async def repeated_predictions(connection: Connection, model: JoinedModel, predictions: KeyedPredictions) -> Mask:
    """Return bool [rows]: predictions that are in the store already, or earlier in the same batch."""
    stored = np.zeros(len(predictions), np.bool_)
    if not len(predictions):
        return stored
    window_ms = model.dedupe_window_ms
    found = await the_row(
        connection,
        "predictions_known",
        key=pg_array("uuid", predictions.key),
        horizons_s=model.horizons_s,
        earliest=timestamp(int(predictions.time_ms.min()) - window_ms),
        latest=timestamp(int(predictions.time_ms.max()) + window_ms),
    )
    row, of = same_keys(predictions.key, found.key)
    is_same = (predictions.version[row] == found.version[of]) & (predictions.variant[row] == found.variant[of])
    is_same &= np.abs(predictions.time_ms[row] - found.event_time[of]) <= window_ms
    stored[row[is_same]] = True
    new = np.flatnonzero(~stored)
    fresh = predictions.take(new)
    stored[new] = repeated_in_batch(fresh.key, fresh.version, fresh.variant, fresh.time_ms, window_ms)
    return stored


@dataclass(frozen=True, slots=True)
class Added:
    """What came of labels or predictions that were added.

    Parameters
    ----------
    repeats
        Labels that say again what was said.
    apart
        Labels of an id that was predicted, but not about when the label tells.
    """

    pairs: Pairs
    repeats: int = 0
    apart: int = 0


async def add_predictions(connection: Connection, model: JoinedModel, predictions: KeyedPredictions) -> Added:
    """Insert predictions and return the pairs they make with labels that came before them."""
    if not len(predictions):
        return Added(no_pairs(predictions.segments.shape[1]))
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
    return _paired(model, arranged, await _labels_of(connection, model, arranged.key))


def _paired(model: JoinedModel, predictions: KeyedPredictions, known: LabelsOfIds) -> Added:
    """Pair predictions with the labels of their ids, by row."""
    labels, weight = count_stored(known, model.class_names)
    of = predictions.take(labels.row)
    pairs = Pairs(
        of.version,
        of.segments,
        of.time_ms,
        labels.time_ms,
        of.prediction,
        labels.label,
        of.score,
        of.late | labels.late,
        weight,
        labels.reward,
    )
    is_near = near(labels.predicted_ms, of.time_ms, model.dedupe_window_ms)
    return Added(pairs.take(is_near), apart=len(np.unique(labels.row[~is_near])))


async def add_labels(connection: Connection, model: JoinedModel, labels: KeyedLabels, n_segments: int) -> Added:
    """Insert labels and return the pairs they make with predictions that came before them.

    A second label for a key changes nothing, or, where corrections restate, takes the old pair back and makes a new one
    if it ranks higher.
    """
    labels = labels.take(key_order(labels.key))
    known = await _labels_of(connection, model, labels.key)
    first = first_in_batch(labels.key)
    row = np.flatnonzero(first)[np.cumsum(first) - 1]
    first[known.row] = False
    came = LabelsOfIds(row, labels.time_ms, labels.label, labels.reward, labels.late, labels.predicted_ms)
    if model.on_correction == "ignore":
        await _insert_labels(connection, model, labels.take(first))
        counted, weight, repeats = came.take(first), np.ones(first.sum(), np.int64), int((~first).sum())
    else:
        came = replace(came, late=labels.late | ~first)
        await _insert_labels(connection, model, replace(labels, late=came.late).take(~said_before(came, known)))
        counted, weight, repeats = count_new(came, known, model.class_names)
    pairs, apart = await _pairs_of(connection, model, labels.key[counted.row], counted, weight, n_segments)
    return Added(pairs, repeats, apart)


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
        prediction_time=pg_array("timestamptz", labels.predicted_ms),
    )


async def _labels_of(connection: Connection, model: JoinedModel, key: Bytes) -> LabelsOfIds:
    found = await the_row(connection, "labels_of_keys", key=pg_array("uuid", key), horizons_s=model.horizons_s)
    row, of = same_keys(key, found.key)
    labels = LabelsOfIds(row, *(column[of] for column in found[1:]))
    return labels.take(np.argsort(row, kind="stable"))


async def _pairs_of(
    connection: Connection, model: JoinedModel, key: Bytes, labels: LabelsOfIds, weight: Ints, n_segments: int
) -> tuple[Pairs, int]:
    """Join labels with the predictions in the store; tell how many would have found one at another time."""
    if not len(key):
        return no_pairs(n_segments), 0
    told = labels.predicted_ms != NO_TIME
    if not told.any():
        found = await _predictions_of(connection, model, key)
        row, of = same_keys(key, found.key)
    else:
        found = await _predictions_near(connection, model, key, labels.predicted_ms)
        row, of = found.row, np.arange(len(found.row))
    pairs = Pairs(
        found.version[of].astype(np.int64),
        _segments_in(found.segments, len(found.version), n_segments)[of],
        found.event_time[of],
        labels.time_ms[row],
        found.prediction[of],
        labels.label[row],
        found.score[of],
        found.late[of] | labels.late[row],
        weight[row],
        labels.reward[row],
    )
    left = told.copy()
    left[row] = False
    if not left.any():
        return pairs, 0
    others = await _predictions_of(connection, model, key[left])
    return pairs, len(np.unique(same_keys(key[left], others.key)[0]))


async def _predictions_of(connection: Connection, model: JoinedModel, key: Bytes) -> Any:
    return await the_row(connection, "predictions_of_keys", key=pg_array("uuid", key), horizons_s=model.horizons_s)


async def _predictions_near(connection: Connection, model: JoinedModel, key: Bytes, predicted_ms: Ints) -> Any:
    """Ask for predictions of about the times that labels tell, or of any time where they tell none."""
    told, window_ms = predicted_ms != NO_TIME, model.dedupe_window_ms
    return await the_row(
        connection,
        "predictions_near",
        row=pg_array("int4", np.arange(len(key))),
        key=pg_array("uuid", key),
        earliest=pg_array("timestamptz", np.where(told, predicted_ms - window_ms, BEGINNING_MS)),
        latest=pg_array("timestamptz", np.where(told, predicted_ms + window_ms, END_MS)),
        horizons_s=model.horizons_s,
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
    return _paired(model, predictions, await _labels_of(connection, model, predictions.key)).pairs


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
        found = await the_row(connection, statement, key=pg_array("uuid", key), horizons_s=model.horizons_s)
        counted[same_keys(key, found.key)[0]] = True
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
