"""Kafka records made up for tests, and batches as plain rows that compare with `==`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftline.events import (
    MISSING,
    NO_TIME,
    OTHER,
    Decoded,
    FeatureBatch,
    FeatureColumn,
    FeatureType,
    LabelBatch,
    Numeric,
    PredictionBatch,
)
from driftline.settings.services import LimitSettings
from streams.decode.decoder import Decoder
from streams.decode.messages import Records
from streams.decode.shapes import EventShape, Kind, TopicRoute

ROW_BY_ROW = 10**9
"""As `fast_rows_min`: the fast path is switched off."""


@dataclass(frozen=True)
class Message:
    """One Kafka record, as far as decoding reads it."""

    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    offset: int = 1
    timestamp: int = 0


def records(*sent: Message) -> Records:
    """Put messages into columns."""
    return Records(
        [message.value for message in sent],
        [message.headers for message in sent],
        np.array([message.timestamp for message in sent], np.int64),
        np.array([message.offset for message in sent], np.int64),
    )


def messages(*events: object, headers: Mapping[str, str] | None = None) -> Records:
    """Make records of events; bytes and None are sent as they are."""
    sent = tuple((name, text.encode()) for name, text in (headers or {}).items())
    values = (event if event is None or isinstance(event, bytes) else json.dumps(event).encode() for event in events)
    return records(*(Message(value, sent, offset) for offset, value in enumerate(values, start=1)))


def shape(
    model: str = "m",
    task: Any = "binary",
    features: Mapping[str, Any] | None = None,
    segments: Sequence[str] = (),
    paths: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    keeps_ids: bool = True,
) -> EventShape:
    """Make a shape; `features` maps names to kinds, and None means the default two."""
    kinds: Mapping[str, Any] = {"age": "numeric", "city": "categorical"} if features is None else features
    types = tuple(FeatureType(name, kind) for name, kind in kinds.items())
    return EventShape(model, task, columns or {}, tuple(segments), types, paths or {}, keeps_ids)


def decoder(
    *shapes: EventShape, kinds: Sequence[Kind] = ("prediction",), fast_rows_min: int = 1, **limits: int
) -> Decoder:
    """Make a decoder of one topic `t` that carries the kinds of events of all the shapes."""
    models = tuple(each.model for each in shapes)
    route = TopicRoute("t", dict.fromkeys(kinds, models))
    by_model = {each.model: each for each in shapes}
    return Decoder(by_model, {"t": route}, LimitSettings(**limits), b"secret", fast_rows_min=fast_rows_min)


def column(values: FeatureColumn) -> list[object]:
    """Return a column's values: texts, numbers, None for missing and `"<other>"` for other."""
    if isinstance(values, Numeric):
        pairs = zip(values.values.tolist(), values.missing.tolist(), strict=True)
        return [None if missing else number if math.isfinite(number) else "<other>" for number, missing in pairs]
    names = {MISSING: None, OTHER: "<other>"}
    return [names[code] if code < 0 else values.values[code] for code in values.codes.tolist()]


def rows(batch: PredictionBatch | LabelBatch | FeatureBatch) -> list[dict[str, object]]:
    """Return a batch's rows."""
    columns: dict[str, Sequence[object]] = {
        "order": batch.order.tolist(),
        "key": [key.tobytes() for key in batch.key],
        "time_ms": batch.time_ms.tolist(),
    }
    if isinstance(batch, LabelBatch):
        told = batch.prediction_time_ms
        columns["label"] = column(batch.label)
        columns["reward"] = _numbers(batch.reward.tolist())
        columns["prediction_time_ms"] = [NO_TIME] * len(batch) if told is None else told.tolist()
    else:
        columns["version"] = column(batch.version)
        columns |= {f"segment {place}": column(segment) for place, segment in enumerate(batch.segments)}
        columns |= {f"feature {name}": column(values) for name, values in batch.features.items()}
        columns["raw"] = batch.raw_features or [None] * len(batch)
        new = batch.new_features
        columns["new"] = [sorted(name for name, carried in new.items() if carried[row]) for row in range(len(batch))]
    if isinstance(batch, PredictionBatch):
        columns["variant"] = column(batch.variant)
        columns["prediction"] = column(batch.prediction)
        columns["score"] = _numbers(batch.score.tolist())
        columns["has_features"] = batch.has_features.tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def everything(decoded: Decoded) -> dict[str, object]:
    """Return all that was decoded, so that two results compare with `==`."""
    return {
        "predictions": {model: rows(batch) for model, batch in decoded.predictions.items()},
        "labels": {model: rows(batch) for model, batch in decoded.labels.items()},
        "features": {model: rows(batch) for model, batch in decoded.features.items()},
        "record_of": decoded.record_of.tolist(),
        "dead": decoded.dead,
        "counts": decoded.counts,
    }


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]
