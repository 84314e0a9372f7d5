"""Models whose reference is the first events that come: kept as they are until there are enough, then frozen.

Until then predictions and labels are stored but not summarised. When the pane in which event number `first_events`
lies is closed, the first events by time become the reference profile; the rest are summarised as if they had come just
then, and all pairs so far are made. Which events are the first depends neither on the order they came in nor on the
store they came to; of one moment they are a fair sample.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from detectors.reference.profile import Profile
from driftline.events import (
    CHAMPION,
    OTHER,
    UNVERSIONED,
    Coded,
    FeatureBatch,
    FeatureColumn,
    FeatureType,
    Ints,
    Mask,
    Numeric,
    PredictionBatch,
)
from driftline.store.connection import Connection, rows, run, timestamp
from labels_join.join import KeyedPredictions
from streams.decode.unknown import by_name, in_sample, new_among
from streams.decode.values import text_of
from streams.monitored import EVERY_VERSION, MonitoredModel
from streams.references.reference import columns_from_raw

_FeaturedBatch = TypeVar("_FeaturedBatch", PredictionBatch, FeatureBatch)


def with_columns(batch: _FeaturedBatch, profile: Profile) -> _FeaturedBatch:
    """Return a batch with feature columns as the profile types them, if it was decoded before types were known."""
    if batch.raw_features is None:
        return batch
    types = [FeatureType(feature.name, feature.kind) for feature in profile.features if feature.name[:1] != "@"]
    raw, known = batch.raw_features, {of.name for of in types}
    new = by_name(((row, new_among(raw[row], known)) for row in in_sample(batch.key).tolist()), len(batch))
    return replace(batch, features=columns_from_raw(raw, types), raw_features=None, new_features=new)


@dataclass(frozen=True, slots=True)
class Kept:
    """Events kept for a reference, in the order of time; all columns of one length."""

    batch: PredictionBatch
    version: Ints
    segments: Ints
    late: Mask

    def take(self, chosen: Mask) -> Kept:
        """Keep the rows where the mask is True."""
        return Kept(self.batch.take(chosen), self.version[chosen], self.segments[chosen], self.late[chosen])


def reference_name(model: MonitoredModel, version: str) -> str:
    """Return under which version's name a version's reference is kept: its own, or `*` for all others."""
    return version if version in model.settings.versions else EVERY_VERSION


async def keep_for_reference(
    connection: Connection, model: MonitoredModel, batch: PredictionBatch, keyed: KeyedPredictions
) -> None:
    """Keep predictions whose reference is still being collected."""
    names = model.names("version")
    of_reference = np.array([reference_name(model, names[code]) for code in keyed.version.tolist()])
    for name in sorted(set(of_reference.tolist())):
        chosen = of_reference == name
        some, keys = batch.take(chosen), keyed.take(chosen)
        content = json.dumps(_to_document(some, keys)).encode()
        await run(
            connection,
            "add_warm_up",
            model_id=model.model_id,
            version=name,
            first_event=timestamp(int(some.time_ms.min())),
            n=len(some),
            content=zlib.compress(content, 1),
        )


async def kept_events(connection: Connection, model: MonitoredModel, reference: str) -> Kept | None:
    """Return what was kept for a reference, or None if nothing was."""
    found = await rows(connection, "warm_up_events", model_id=model.model_id, version=reference)
    documents = [json.loads(zlib.decompress(item.content)) for item in found]
    if not documents:
        return None
    document = {name: [value for part in documents for value in part[name]] for name in documents[0]}
    arranged = {name: [values[row] for row in _order(document, model)] for name, values in document.items()}
    return _from_document(arranged, len(model.settings.segments), regression=model.settings.task == "regression")


def _order(document: Mapping[str, list[Any]], model: MonitoredModel) -> list[int]:
    """Order rows by time, and those of one moment by a digest of what they say, the same in every store.

    Keys and codes differ from store to store, and no store keeps ids. By the content itself one answer of a nightly job
    would come before the other. Rows that say the same are numbered, so that each of them has a digest of its own.
    """
    time_ms, key = document["time_ms"], document["key"]
    said = [_said(document, row, model) for row in range(len(time_ms))]
    numbers: Counter[tuple[int, str]] = Counter()
    places = {}
    for row in sorted(range(len(said)), key=lambda row: key[row]):
        moment = time_ms[row], said[row]
        numbers[moment] += 1
        digest = hashlib.blake2b(f"{numbers[moment]} {said[row]}".encode(), digest_size=16)
        places[row] = time_ms[row], digest.digest()
    return sorted(places, key=lambda row: places[row])


def _said(document: Mapping[str, list[Any]], row: int, model: MonitoredModel) -> str:
    says = [document[name][row] for name in ("prediction", "score", "has_features")]
    # Whether types are known already or not, 3 and 3.0 are one value, and what is missing is not there.
    features = {name: text_of(value) for name, value in document["features"][row].items()}
    says.append({name: text for name, text in features.items() if text is not None})
    names, segment_names = model.names("version"), model.names("segment")
    says += [names[document["version"][row]], [segment_names[code] for code in document["segments"][row]]]
    return json.dumps(says, sort_keys=True)


def _to_document(batch: PredictionBatch, keyed: KeyedPredictions) -> dict[str, list[Any]]:
    prediction: list[Any]
    if isinstance(batch.prediction, Numeric):
        prediction = batch.prediction.values.tolist()
    else:
        prediction = [batch.prediction.values[code] for code in batch.prediction.codes.tolist()]
    raw = batch.raw_features if batch.raw_features is not None else tuple(raw_rows(batch.features, len(batch)))
    return {
        "time_ms": batch.time_ms.tolist(),
        "key": [key.tobytes().hex() for key in batch.key],
        "version": keyed.version.tolist(),
        "segments": keyed.segments.tolist(),
        "prediction": prediction,
        "score": [None if np.isnan(score) else score for score in batch.score.tolist()],
        "has_features": batch.has_features.tolist(),
        "late": keyed.late.tolist(),
        "features": list(raw),
    }


def raw_rows(features: Mapping[str, FeatureColumn], n_rows: int) -> Iterator[dict[str, object]]:
    """Undo the columns: one mapping a row; a value that counts as other becomes one that does so again."""
    unusable: list[object] = []
    columns: dict[str, list[object]] = {}
    for name, column in features.items():
        if isinstance(column, Numeric):
            pairs = zip(column.values.tolist(), column.missing.tolist(), strict=True)
            columns[name] = [None if missing else value if np.isfinite(value) else unusable for value, missing in pairs]
        else:
            texts: list[object] = list(column.values)
            columns[name] = [
                texts[code] if code >= 0 else unusable if code == OTHER else None for code in column.codes.tolist()
            ]
    for row in range(n_rows):
        yield {name: values[row] for name, values in columns.items()}


def _from_document(document: Mapping[str, list[Any]], n_segments: int, *, regression: bool) -> Kept:
    n_rows = len(document["time_ms"])
    prediction: FeatureColumn
    if regression:
        prediction = Numeric(np.array(document["prediction"], np.float64), np.zeros(n_rows, np.bool_))
    else:
        prediction = _coded(document["prediction"])
    batch = PredictionBatch(
        np.arange(n_rows, dtype=np.int64),
        np.frombuffer(bytes.fromhex("".join(document["key"])), np.uint8).reshape(-1, 16),
        np.array(document["time_ms"], np.int64),
        _coded([UNVERSIONED] * n_rows),
        _coded([CHAMPION] * n_rows),
        prediction,
        np.array([np.nan if score is None else score for score in document["score"]], np.float64),
        (),
        np.array(document["has_features"], np.bool_),
        {},
        tuple(document["features"]),
    )
    return Kept(
        batch,
        np.array(document["version"], np.int64),
        np.array(document["segments"], np.int64).reshape(n_rows, n_segments),
        np.array(document["late"], np.bool_),
    )


def _coded(texts: list[str]) -> Coded:
    values = tuple(dict.fromkeys(texts))
    index = {text: code for code, text in enumerate(values)}
    return Coded(np.array([index[text] for text in texts], np.int32), values)
