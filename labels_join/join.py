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
from typing import Any, Literal

import numpy as np

from driftline.events import Bytes, Floats, Ints, Mask
from driftline.store.arrays import pg_array, pg_rows_of_bytes
from driftline.store.connection import Connection, run, the_row
from labels_join.outcomes import Pairs
from labels_join.repeats import (
    Label,
    LabelChange,
    first_in_batch,
    holding_label,
    key_order,
    repeated_in_batch,
    texts_of,
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
    labels = await _labels_of(connection, model, arranged.key)
    rows = np.array(sorted(labels), np.int64)
    held = [label for row in rows if (label := holding_label(labels[row])) is not None]
    of = arranged.take(rows)
    return Pairs(
        of.version,
        of.segments,
        of.time_ms,
        np.array([label.time_ms for label in held], np.int64),
        of.prediction,
        np.array([label.value for label in held], np.float64),
        of.score,
        of.late | np.array([label.late for label in held], np.bool_),
        np.ones(len(rows), np.int64),
    )


async def add_labels(
    connection: Connection, model: JoinedModel, labels: KeyedLabels, n_segments: int
) -> tuple[Pairs, int]:
    """Insert labels and return the pairs they make with predictions that came before them, and how many were repeats.

    A second label for a key changes nothing, or, where corrections restate, takes the old pair back and makes a new one
    if it ranks higher.
    """
    if not len(labels):
        return no_pairs(n_segments), 0
    labels = labels.take(key_order(labels.key))
    known = await _labels_of(connection, model, labels.key)
    first = first_in_batch(labels.key)
    if model.on_correction == "ignore":
        first[list(known)] = False
        kept = labels.take(np.flatnonzero(first))
        changes_of = kept
        before = None
    else:
        changes = _changes(labels, known, model.class_names)
        kept = labels
        changes_of, before = _arrange(labels, changes)
    await _insert_labels(connection, model, kept)
    pairs = await _pairs_of(connection, model, changes_of, n_segments, before)
    return pairs, len(labels) - len(changes_of)


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
    texts = texts_of(found.label, model.class_names)
    columns = (found.row.tolist(), found.event_time.tolist(), found.label.tolist(), found.late.tolist(), texts)
    for row, time_ms, value, late, text in zip(*columns, strict=True):
        labels[row].append(Label(time_ms, value, late, text))
    return labels


def _changes(
    labels: KeyedLabels, known: dict[int, list[Label]], class_names: Sequence[str] | None
) -> list[LabelChange]:
    """Return what a batch of labels changes, one entry for each key whose holding label is another one afterwards."""
    texts = texts_of(labels.label, class_names)
    by_key: dict[bytes, list[int]] = defaultdict(list)
    for row in range(len(labels)):
        by_key[labels.key[row].tobytes()].append(row)
    changes = []
    for rows in by_key.values():
        before = holding_label(known.get(rows[0], []))
        came = [
            Label(int(labels.time_ms[row]), float(labels.label[row]), bool(labels.late[row]), texts[row])
            for row in rows
        ]
        after = holding_label([*came, *([before] if before else [])])
        if after is not None and (before is None or after.rank != before.rank):
            changes.append(LabelChange(rows[0], before, after))
    return changes


def _arrange(labels: KeyedLabels, changes: list[LabelChange]) -> tuple[KeyedLabels, list[Label | None]]:
    """Return the labels that hold now, one row a change, and what held before each."""
    of = labels.take(np.array([change.row for change in changes], np.int64))
    now = replace(
        of,
        time_ms=np.array([change.after.time_ms for change in changes], np.int64),
        label=np.array([change.after.value for change in changes], np.float64),
        late=np.array([change.after.late for change in changes], np.bool_),
    )
    return now, [change.before for change in changes]


async def _pairs_of(
    connection: Connection, model: JoinedModel, labels: KeyedLabels, n_segments: int, before: list[Label | None] | None
) -> Pairs:
    """Join labels with the predictions in the store; where a label held before, take its pairs back."""
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
    new = _found_pairs(found, labels.time_ms[row], labels.label[row], labels.late[row], n_segments)
    if before is None or not any(before):
        return new
    held_before = np.array([label is not None for label in before], np.bool_)[row]
    old = _found_pairs(
        found,
        np.array([label.time_ms if label else 0 for label in before], np.int64)[row],
        np.array([label.value if label else 0.0 for label in before], np.float64)[row],
        np.array([label.late if label else False for label in before], np.bool_)[row],
        n_segments,
    )
    return concatenate_pairs(new, replace(old, weight=-old.weight).take(held_before))


async def all_pairs(connection: Connection, model: JoinedModel, versions: Sequence[int], n_segments: int) -> Pairs:
    """Return every pair of some versions that is in the store; for the moment a reference is complete."""
    found = await the_row(
        connection, "all_pairs", model_id=model.model_id, horizons_s=model.horizons_s, versions=list(versions)
    )
    return _found_pairs(found, found.label_time, found.label, found.label_late, n_segments)


def _found_pairs(found: Any, label_ms: Ints, label: Floats, label_late: Mask, n_segments: int) -> Pairs:
    segments = np.frombuffer(found.segments, "<i2").astype(np.int64).reshape(len(found.version), n_segments)
    return Pairs(
        found.version.astype(np.int64),
        segments,
        found.event_time,
        label_ms,
        found.prediction,
        label,
        found.score,
        found.late | label_late,
        np.ones(len(found.version), np.int64),
    )


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


def concatenate_pairs(first: Pairs, second: Pairs) -> Pairs:
    """Return both, one behind the other."""
    return Pairs(
        *(
            np.concatenate((getattr(first, name), getattr(second, name)))
            for name in (
                "version", "segments", "prediction_ms", "label_ms", "prediction", "label", "score", "late", "weight",
            )
        )
    )  # fmt: skip


def _segment_bytes(segments: Ints) -> Bytes:
    if not segments.shape[1]:
        return np.empty((len(segments), 0), np.uint8)
    return np.ascontiguousarray(segments.astype("<i2")).view(np.uint8).reshape(len(segments), -1)
