"""Prediction, label and feature events as columns: what a batch of events is after decoding.

Everything behind decoding works on these batches, whether the events came from Kafka or from files. Invariants:

* a batch belongs to one model, and its rows stand in the order of the log (`order` rises strictly);
* all columns of a batch have the same length;
* text is held as codes into a short tuple of distinct values, already in canonical form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

MISSING = -1
"""Code of a value that is absent or null."""

OTHER = -2
"""Code of a value that is present but unusable: a wrong type, too long, or beyond a bound."""

NO_TIME = int(np.iinfo(np.int64).min)
"""Stands for a time that is not told."""

UNVERSIONED = "unversioned"
CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class Coded:
    """Text, one code a row.

    Parameters
    ----------
    codes
        int32 [rows]; an index into `values`, or `MISSING`, or `OTHER`.
    values
        Distinct canonical texts; not every one need occur.
    """

    codes: Codes
    values: tuple[str, ...]

    def take(self, rows: Mask | Ints | slice) -> Coded:
        """Keep the given rows, and no more values than rows: a small part of much stays small."""
        codes = self.codes[rows]
        if len(self.values) <= len(codes):
            return Coded(codes, self.values)
        used = np.unique(codes[codes >= 0])
        places = np.where(codes >= 0, np.searchsorted(used, codes), codes).astype(np.int32)
        return Coded(places, tuple(self.values[code] for code in used.tolist()))


@dataclass(frozen=True, slots=True)
class Numeric:
    """Numbers, one a row.

    Parameters
    ----------
    values
        float64 [rows]; NaN where there is no usable number.
    missing
        bool [rows]; True where the value is absent or null. A row that is neither missing nor finite counts as `other`.
    """

    values: Floats
    missing: Mask

    def take(self, rows: Mask | Ints | slice) -> Numeric:
        """Keep the given rows."""
        return Numeric(self.values[rows], self.missing[rows])


FeatureColumn = Coded | Numeric


@dataclass(frozen=True, slots=True)
class FeatureType:
    """Name and type of one monitored feature."""

    name: str
    kind: Literal["numeric", "categorical"]


@dataclass(frozen=True, slots=True)
class PredictionBatch:
    """Predictions of one model.

    Parameters
    ----------
    order
        int64 [rows]; place in the log within one fetch, rising.
    key
        uint8 [rows, 16]; keyed digest of (model, prediction id), see `event_keys`. Of a model that keeps no ids only a
        hash, uint8 [rows, 8].
    time_ms
        int64 [rows]; event time, milliseconds since 1970 UTC.
    prediction
        `Coded` for classification, `Numeric` for regression.
    score
        float64 [rows]; P(positive class) or P(predicted class); NaN where absent.
    segments
        One `Coded` for each segment name of the model, in its order.
    has_features
        bool [rows]; False where the event carried no features at all.
    features
        By name; empty for a model whose feature types are not known yet.
    raw_features
        Only while a model's reference is still being collected: the features as decoded, one mapping a row.
    new_features
        By name of a feature that the model does not know: which rows carry it, told on a sample of the rows.
    """

    order: Ints
    key: Bytes
    time_ms: Ints
    version: Coded
    variant: Coded
    prediction: FeatureColumn
    score: Floats
    segments: tuple[Coded, ...]
    has_features: Mask
    features: dict[str, FeatureColumn]
    raw_features: tuple[dict[str, object], ...] | None = None
    new_features: dict[str, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.order)

    def pick(self, rows: Ints | slice) -> PredictionBatch:
        """Return the given rows in the given order; a slice of them without a copy."""
        raw = self.raw_features
        return PredictionBatch(
            self.order[rows],
            self.key[rows],
            self.time_ms[rows],
            self.version.take(rows),
            self.variant.take(rows),
            self.prediction.take(rows),
            self.score[rows],
            tuple(segment.take(rows) for segment in self.segments),
            self.has_features[rows],
            {name: column.take(rows) for name, column in self.features.items()},
            None if raw is None else tuple(raw[i] for i in np.arange(len(raw))[rows]),
            {name: carried[rows] for name, carried in self.new_features.items()},
        )

    def take(self, rows: Mask) -> PredictionBatch:
        """Keep the rows where the mask is True."""
        return self if rows.all() else self.pick(np.flatnonzero(rows))

    def without_features(self, rows: Mask) -> PredictionBatch:
        """Treat the rows where the mask is True as if they carried no features."""
        return replace(self, has_features=self.has_features & ~rows)


@dataclass(frozen=True, slots=True)
class LabelBatch:
    """Ground-truth labels of one model.

    Parameters
    ----------
    label
        `Coded` for classification, `Numeric` for regression.
    reward
        float64 [rows]; NaN where absent.
    prediction_time_ms
        int64 [rows]; event time of the prediction where the label tells it, else `NO_TIME`; None if no label does.
    """

    order: Ints
    key: Bytes
    time_ms: Ints
    label: FeatureColumn
    reward: Floats
    prediction_time_ms: Ints | None = None

    def __len__(self) -> int:
        return len(self.order)

    def pick(self, rows: Ints | slice) -> LabelBatch:
        """Return the given rows in the given order; a slice of them without a copy."""
        predicted = self.prediction_time_ms
        return LabelBatch(
            self.order[rows],
            self.key[rows],
            self.time_ms[rows],
            self.label.take(rows),
            self.reward[rows],
            None if predicted is None else predicted[rows],
        )

    def take(self, rows: Mask) -> LabelBatch:
        """Keep the rows where the mask is True."""
        return self if rows.all() else self.pick(np.flatnonzero(rows))


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Features served for one model's predictions, sent apart from the predictions themselves."""

    order: Ints
    key: Bytes
    time_ms: Ints
    version: Coded
    segments: tuple[Coded, ...]
    features: dict[str, FeatureColumn]
    raw_features: tuple[dict[str, object], ...] | None = None
    new_features: dict[str, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.order)

    def pick(self, rows: Ints | slice) -> FeatureBatch:
        """Return the given rows in the given order; a slice of them without a copy."""
        raw = self.raw_features
        return FeatureBatch(
            self.order[rows],
            self.key[rows],
            self.time_ms[rows],
            self.version.take(rows),
            tuple(segment.take(rows) for segment in self.segments),
            {name: column.take(rows) for name, column in self.features.items()},
            None if raw is None else tuple(raw[i] for i in np.arange(len(raw))[rows]),
            {name: carried[rows] for name, carried in self.new_features.items()},
        )

    def take(self, rows: Mask) -> FeatureBatch:
        """Keep the rows where the mask is True."""
        return self if rows.all() else self.pick(np.flatnonzero(rows))


Batch = PredictionBatch | LabelBatch | FeatureBatch


DeadReason = Literal[
    "not_json",
    "not_an_object",
    "not_arrow",
    "too_large",
    "too_many_events",
    "missing_field",
    "wrong_type",
    "bad_timestamp",
    "too_old",
    "in_the_future",
    "unknown_model",
    "unknown_kind",
    "unknown_state",
    "id_too_long",
    "bad_score",
    "not_finite",
    "refused_by_store",
]
DEAD_REASONS: tuple[DeadReason, ...] = get_args(DeadReason)
"""Why an event could not be used; `docs/contracts.md` explains each."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be used, with the reason and the place it came from.

    Parameters
    ----------
    detail
        One sentence for people: what was expected and what was found.
    element
        Which event of a message that holds many; 0 otherwise.
    payload
        The first bytes of the message, never more than `limits.dead_letter_payload_bytes_max`.
    """

    reason: DeadReason
    detail: str
    model: str | None
    topic: str
    partition: int
    offset: int
    element: int
    payload: bytes


@dataclass(slots=True)
class Decoded:
    """What one fetch held.

    Parameters
    ----------
    predictions, labels, features
        Batches by model.
    record_of
        int64 [events]; for each `order`, the index of its record in the fetch.
    dead
        What could not be used.
    counts
        How many events, by (model, reason), for what is counted but not kept.
    """

    predictions: dict[str, PredictionBatch] = field(default_factory=dict)
    labels: dict[str, LabelBatch] = field(default_factory=dict)
    features: dict[str, FeatureBatch] = field(default_factory=dict)
    record_of: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    dead: list[DeadLetter] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)


def event_keys(model: str, ids: Sequence[str], secret: bytes) -> Bytes:
    """128-bit keyed digests that stand for prediction ids in the store.

    Parameters
    ----------
    ids
        Canonical texts of the prediction ids.
    secret
        1 to 64 bytes; without it ids can't be guessed back from digests.

    Returns
    -------
    uint8 [len(ids), 16]

    Examples
    --------
    >>> event_keys("m", ["a", "b", "a"], b"k").shape
    (3, 16)
    """
    start = hashlib.blake2b(model.encode() + b"\0", digest_size=16, key=secret)
    digests = []
    for text in ids:
        digest = start.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
