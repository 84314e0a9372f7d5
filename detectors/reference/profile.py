"""What did "no drift" look like? The reference profile: a frozen, digestible summary of the reference data.

It says into which bin each later value falls; `detectors.reference.building` makes it of the reference data.
Invariants: a profile never changes; its digest names everything in it that is compared with, is the same in every
process and survives a round trip through JSON; every feature, also a numeric one, ends with the bins ``missing`` and
``other``, so a share of missing values is a share like any other.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from detectors.canonical import canonical
from detectors.reference.effects import Effects
from detectors.reference.reconstruction import Components

Task = Literal["binary", "multiclass", "regression"]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

PREDICTION = "@prediction"
SCORE = "@score"
STEPS_PER_SCALE = 4096


@dataclass(frozen=True)
class FeatureProfile:
    """How one feature was distributed in the reference, and how its values are binned for ever after.

    Parameters
    ----------
    name
        The feature's name; ``@prediction`` and ``@score`` for the model's own output.
    kind
        ``numeric`` or ``categorical``.
    edges
        Numeric: strictly rising inner edges; a value v is in bin i when ``edges[i-1] < v <= edges[i]``.
    categories
        Categorical: canonical texts, by falling reference count, then by text. Whatever is not among them is other.
    centre, scale
        Numeric: median, and IQR/1.349 (else the standard deviation, else 1). ``scale`` is positive and finite.
    counts
        Reference counts per bin; the last two bins are missing and other.
    span
        Numeric: the range of finite values, from the smallest to the largest; None where that is not known.
    outside
        How many of the reference lie outside of it; 0 unless a stretch of events was accepted under an older range.

    Examples
    --------
    >>> FeatureProfile("age", "numeric", (2.0,), (), 2.0, 1.0, (2, 1, 1, 0)).bin_labels()
    ['(-inf, 2]', '(2, inf)', 'missing', 'other']
    """

    name: str
    kind: Literal["numeric", "categorical"]
    edges: tuple[float, ...]
    categories: tuple[str, ...]
    centre: float
    scale: float
    counts: tuple[int, ...]
    span: tuple[float, float] | None = None
    outside: int = 0

    @property
    def n_bins(self) -> int:
        """Number of bins, with missing and other."""
        return (len(self.edges) + 1 if self.kind == "numeric" else len(self.categories)) + 2

    @property
    def missing_index(self) -> int:
        """Index of the bin ``missing``."""
        return self.n_bins - 2

    @property
    def other_index(self) -> int:
        """Index of the bin ``other``: unseen category, wrong type, not finite."""
        return self.n_bins - 1

    def bin_labels(self) -> list[str]:
        """Return the bins' names in order, such as ``(3.5, 7]`` or a category's text."""
        return [*(self._intervals() if self.kind == "numeric" else self.categories), "missing", "other"]

    def _intervals(self) -> list[str]:
        bounds = ["-inf", *(repr(edge).removesuffix(".0") for edge in self.edges), "inf"]
        labels = [f"({low}, {high}]" for low, high in pairwise(bounds)]
        return [*labels[:-1], labels[-1].replace("]", ")")]

    @cached_property
    def _edge_array(self) -> FloatArray:
        return np.array(self.edges, dtype=np.float64)

    @cached_property
    def _category_index(self) -> dict[str, int]:
        return {category: index for index, category in enumerate(self.categories)}


@dataclass(frozen=True)
class SegmentCounts:
    """Reference counts of a segment such as ``SEX=1`` in the bins of all rows, one feature's bins after the other."""

    name: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """The frozen summary of a model's reference data: what later windows are compared with.

    Parameters
    ----------
    task
        ``binary``, ``multiclass`` or ``regression``.
    features
        The model's features, then ``@prediction``, then ``@score`` if the model has a score.
    n
        Rows of the reference.
    classes
        Classification: sorted canonical texts of every class predicted or labelled.
    score_edges
        Up to 1,023 inner edges at the reference score's quantiles; empty without a score. Bins as for features.
    score_counts
        Classification: ``(score bin, predicted class, true class or -1, count)`` in rising order, no zero counts.
        Rows without a finite score are in the bin `unscored_bin`.
    error_scale
        Regression: the scale (IQR/1.349, else standard deviation, else 1) of the labels, or of the predictions when
        there are no labels. 1.0 for classification.
    label_delay_p90_ms
        The delay within which nine of ten reference labels came, if known.
    segments
        The segments that the reference has rows of, by name; each is compared with its own counts.
    reconstruction
        The directions in which the reference hardly varies, if its reconstruction error is watched.
    effects
        What goes with each bin of the features in the reference's labelled rows, if there are enough. It explains and
        is compared with nothing, so the digest does not name it: a reference from before there were effects stays.
    """

    task: Task
    features: tuple[FeatureProfile, ...]
    n: int
    classes: tuple[str, ...]
    score_edges: tuple[float, ...]
    score_counts: tuple[tuple[int, int, int, int], ...]
    error_scale: float
    label_delay_p90_ms: int | None
    segments: tuple[SegmentCounts, ...] = ()
    reconstruction: Components | None = None
    effects: Effects | None = None

    @cached_property
    def digest(self) -> str:
        """Name of all in the profile but its effects: 32 hexadecimal digits of BLAKE2b over its JSON without them."""
        compared = replace(self, effects=None)
        return hashlib.blake2b(compared.to_json().encode(), digest_size=16).hexdigest()

    @property
    def unscored_bin(self) -> int:
        """Index of the bin of rows without a finite score, after all score bins."""
        return len(self.score_edges) + 1

    def counts_of(self, segment: str | None) -> tuple[int, ...]:
        """Return the reference counts of a segment, or of all rows for None; 0 for a segment without rows.

        They are those of all features' bins, one feature after the other.
        """
        if segment is None:
            return tuple(count for feature in self.features for count in feature.counts)
        nothing = (0,) * sum(feature.n_bins for feature in self.features)
        return next((of.counts for of in self.segments if of.name == segment), nothing)

    def to_json(self) -> str:
        """Return the profile as canonical JSON: sorted keys, no blanks, floats by their shortest exact text."""
        fields = asdict(self)
        for name in ("reconstruction", "effects"):
            if fields[name] is None:
                del fields[name]
        for feature in fields["features"]:
            for name in ("span", "outside"):
                if not feature[name]:
                    del feature[name]  # a profile from before there were ranges keeps its digest
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the profile that `to_json` wrote, equal in every bit."""
        fields: dict[str, Any] = json.loads(text)
        features = tuple(_feature_from_json(feature) for feature in fields["features"])
        score_counts = tuple((int(s), int(p), int(t), int(count)) for s, p, t, count in fields["score_counts"])
        segments = tuple(SegmentCounts(segment["name"], tuple(segment["counts"])) for segment in fields["segments"])
        tuples = {"classes": tuple(fields["classes"]), "score_edges": tuple(fields["score_edges"])}
        parts: dict[str, Any] = {"features": features, "score_counts": score_counts, "segments": segments}
        if given := fields.get("reconstruction"):
            parts["reconstruction"] = Components(tuple(given["names"]), tuple(map(tuple, given["directions"])))
        if given := fields.get("effects"):
            by_bin = tuple(map(tuple, given["by_bin"]))
            parts["effects"] = Effects(tuple(given["of"]), tuple(given["bases"]), tuple(given["bins"]), by_bin)
        return cls(**{**fields, **tuples, **parts})

    @cached_property
    def _score_edge_array(self) -> FloatArray:
        return np.array(self.score_edges, dtype=np.float64)


def _feature_from_json(fields: dict[str, Any]) -> FeatureProfile:
    exact: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return FeatureProfile(**exact)


def bin_numeric(feature: FeatureProfile, values: FloatArray, missing: BoolArray) -> IntArray:
    """Return each row's bin in `feature`: `missing` wins, then not finite is other, then the edges decide."""
    codes = np.searchsorted(feature._edge_array, values, side="left").astype(np.int64, copy=False)
    codes[~np.isfinite(values)] = feature.other_index
    codes[missing] = feature.missing_index
    return codes


def bin_categorical(feature: FeatureProfile, codes: NDArray[np.int32], values: Sequence[str]) -> IntArray:
    """Return each row's bin in `feature`; `codes` point into `values`, -1 is missing, -2 is other."""
    return bins_of_codes(feature, values)[codes]


def bins_of_codes(feature: FeatureProfile, values: Sequence[str]) -> IntArray:
    """Return the bin of each code into `values`; -1 and -2 find theirs from the end."""
    index = feature._category_index
    bins = [index.get(canonical(text), feature.other_index) for text in values]
    return np.array([*bins, feature.other_index, feature.missing_index], dtype=np.int64)


def bin_score(profile: Profile, scores: FloatArray) -> IntArray:
    """Return each row's score bin; a score that is not finite is in `Profile.unscored_bin`."""
    codes = np.searchsorted(profile._score_edge_array, scores, side="left").astype(np.int64, copy=False)
    codes[~np.isfinite(scores)] = profile.unscored_bin
    return codes


def standardised_steps(feature: FeatureProfile, values: FloatArray) -> IntArray:
    """Return ``(value - centre) / scale``, clipped to ±8, in integer steps of 2⁻¹²; 0 where not finite.

    Integers add exactly in any order, the clip bounds what one outlier can do, and the scale drops out.

    Examples
    --------
    >>> feature = FeatureProfile("age", "numeric", (), (), 40.0, 10.0, ())
    >>> standardised_steps(feature, np.array([40.0, 45.0, -1e300, np.nan])).tolist()
    [0, 2048, -32768, 0]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(np.clip((values - feature.centre) / feature.scale, -8.0, 8.0) * STEPS_PER_SCALE)
    return np.where(np.isfinite(values), steps, 0.0).astype(np.int64)
