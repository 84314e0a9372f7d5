"""The events of one model in one fetch with their codes in the store, ready to be committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from driftline.events import NO_TIME, Coded, Decoded, FeatureBatch, Ints, LabelBatch, Mask, PredictionBatch
from driftline.store.arrays import POSTGRES_EPOCH_MS
from driftline.store.connection import Connection, run, timestamp
from labels_join.join import KeyedPredictions
from labels_join.labels import KeyedLabels
from streams.decode.values import TIME_MS_MAX, TIME_MS_MIN
from streams.monitored import MonitoredModel, horizon_s_of

AHEAD_OF_A_SLOT = 16
"""The next time partition is made when events are within a sixteenth of it."""


@dataclass(frozen=True, slots=True)
class CodedPredictions:
    """Predictions: the columns to summarise, and the rows to keep until labels come."""

    kind = "prediction"
    batch: PredictionBatch
    keyed: KeyedPredictions

    def take(self, rows: Mask) -> CodedPredictions:
        """Keep the rows where the mask is True."""
        return self if rows.all() else CodedPredictions(self.batch.take(rows), self.keyed.take(rows))

    def without_features(self, rows: Mask) -> CodedPredictions:
        """Treat the rows where the mask is True as if they carried no features."""
        batch = self.batch.without_features(rows)
        return CodedPredictions(batch, replace(self.keyed, has_features=batch.has_features))

    def marked(self, late: Mask) -> CodedPredictions:
        """Say which rows are late."""
        return CodedPredictions(self.batch, replace(self.keyed, late=late))


@dataclass(frozen=True, slots=True)
class CodedFeatures:
    """Served features that came apart from their predictions."""

    kind = "feature_event"
    batch: FeatureBatch
    version: Ints
    segments: Ints
    late: Mask

    def take(self, rows: Mask) -> CodedFeatures:
        """Keep the rows where the mask is True."""
        if rows.all():
            return self
        return CodedFeatures(self.batch.take(rows), self.version[rows], self.segments[rows], self.late[rows])

    def marked(self, late: Mask) -> CodedFeatures:
        """Say which rows are late."""
        return replace(self, late=late)


@dataclass(frozen=True, slots=True)
class CodedLabels:
    """Labels: the rows to keep and to pair."""

    kind = "label"
    batch: LabelBatch
    keyed: KeyedLabels

    def take(self, rows: Mask) -> CodedLabels:
        """Keep the rows where the mask is True."""
        return self if rows.all() else CodedLabels(self.batch.take(rows), self.keyed.take(rows))

    def marked(self, late: Mask) -> CodedLabels:
        """Say which rows are late."""
        return CodedLabels(self.batch, replace(self.keyed, late=late))


Part = CodedPredictions | CodedFeatures | CodedLabels


@dataclass(slots=True)
class PreparedModel:
    """Everything one fetch holds for one model."""

    model: MonitoredModel
    predictions: CodedPredictions | None = None
    features: CodedFeatures | None = None
    labels: CodedLabels | None = None

    @property
    def parts(self) -> list[Part]:
        """Whatever of predictions, features and labels there is."""
        return [part for part in (self.predictions, self.features, self.labels) if part is not None]

    def put(self, part: Part) -> None:
        """Replace one part; nothing of it is left if it is empty."""
        if isinstance(part, CodedPredictions):
            self.predictions = part if len(part.batch) else None
        elif isinstance(part, CodedFeatures):
            self.features = part if len(part.batch) else None
        else:
            self.labels = part if len(part.batch) else None

    @property
    def joins_alone(self) -> bool:
        """Whether this needs the join lock for itself."""
        return self.labels is not None or self.features is not None


async def prepare(
    connection: Connection, models: Mapping[str, MonitoredModel], decoded: Decoded
) -> list[PreparedModel]:
    """Give codes to new names; they stay whatever becomes of the fetch.

    Names for which there is no room any more are counted, in `decoded.counts`.

    Returns
    -------
    One entry a model, in the order in which locks are taken.
    """
    names = {*decoded.predictions, *decoded.features, *decoded.labels}
    prepared = []
    for name in sorted(names, key=lambda name: (models[name].bucket, name)):
        item = PreparedModel(models[name])
        if name in decoded.predictions:
            item.predictions = await _code_predictions(connection, item.model, decoded.predictions[name])
        if name in decoded.features:
            item.features = await _code_features(connection, item.model, decoded.features[name])
        if name in decoded.labels and item.model.settings.has_labels:
            item.labels = await _code_labels(connection, item.model, decoded.labels[name])
        _count_beyond(item.model, decoded)
        prepared.append(item)
    return prepared


def _count_beyond(model: MonitoredModel, decoded: Decoded) -> None:
    predictions, labels = decoded.predictions.get(model.name), decoded.labels.get(model.name)
    for batch in (predictions, decoded.features.get(model.name)):
        if batch is not None:
            n = model.n_beyond("version", batch.version)
            _count(decoded, model, "version_beyond_limit", n)
            columns = zip(model.settings.segments, batch.segments, strict=True)
            n = sum(model.n_beyond("segment", column, f"{name}=") for name, column in columns)
            _count(decoded, model, "segment_beyond_limit", n)
    if predictions is not None:
        n = model.n_beyond("variant", predictions.variant)
        _count(decoded, model, "variant_beyond_limit", n)
    for classes in (predictions and predictions.prediction, labels and labels.label):
        if isinstance(classes, Coded):
            n = model.n_beyond("class", classes)
            _count(decoded, model, "class_beyond_limit", n)


def _count(decoded: Decoded, model: MonitoredModel, reason: str, n: int) -> None:
    if n:
        decoded.counts[model.name, reason] = decoded.counts.get((model.name, reason), 0) + n


async def _code_predictions(connection: Connection, model: MonitoredModel, batch: PredictionBatch) -> CodedPredictions:
    keyed = KeyedPredictions(
        batch.key,
        await model.encode(connection, "version", batch.version),
        await model.encode(connection, "variant", batch.variant),
        batch.time_ms,
        await model.encode_classes(connection, batch.prediction),
        batch.score,
        await model.encode_segments(connection, batch.segments, len(batch)),
        batch.has_features,
        np.zeros(len(batch), np.bool_),
    )
    return CodedPredictions(batch, keyed)


async def _code_features(connection: Connection, model: MonitoredModel, batch: FeatureBatch) -> CodedFeatures:
    return CodedFeatures(
        batch,
        await model.encode(connection, "version", batch.version),
        await model.encode_segments(connection, batch.segments, len(batch)),
        np.zeros(len(batch), np.bool_),
    )


async def _code_labels(connection: Connection, model: MonitoredModel, batch: LabelBatch) -> CodedLabels:
    values = await model.encode_classes(connection, batch.label)
    predicted = np.full(len(batch), NO_TIME) if batch.prediction_time_ms is None else batch.prediction_time_ms
    keyed = KeyedLabels(batch.key, batch.time_ms, values, batch.reward, np.zeros(len(batch), np.bool_), predicted)
    return CodedLabels(batch, keyed)


async def ensure_room(connection: Connection, prepared: Iterable[PreparedModel]) -> None:
    """Create the time partitions that the rows of a fetch need; to be called outside its transaction."""
    for item in prepared:
        if not item.model.settings.has_labels:
            continue
        tables = {"prediction": item.predictions, "label": item.labels, "served_features": item.features}
        for parent, part in tables.items():
            if part is not None:
                await _ensure_partitions(connection, item.model, parent, part.batch.time_ms)


async def _ensure_partitions(connection: Connection, model: MonitoredModel, parent: str, time_ms: Ints) -> None:
    horizon_s = horizon_s_of(model.settings)
    width_ms = max(horizon_s * 500, 1000)
    # A little ahead, so that the next slot is there before its first event; a whole slot would be one more to probe.
    ahead_ms = min(int(time_ms.max()) + width_ms // AHEAD_OF_A_SLOT, TIME_MS_MAX)
    slots = np.unique((np.append(time_ms, ahead_ms) - POSTGRES_EPOCH_MS) // width_ms)
    known = model.partitions.setdefault(parent, set())
    for slot in sorted(set(slots.tolist()) - known):
        start = timestamp(max(slot * width_ms + POSTGRES_EPOCH_MS, TIME_MS_MIN))
        await run(connection, "ensure_partitions", parent=parent, horizon_s=horizon_s, first=start, last=start)
        known.add(slot)
