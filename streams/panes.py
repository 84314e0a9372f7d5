"""What a pane holds: mergeable integer summaries for each version, segment and pane.

Everything here is 64-bit integers, so merging is exact and its order never matters. A pane's vector is dense first, in
the layout its reference profile gives (`PaneLayout`), then sparse: one packed integer for each occupied cell of the
histogram of score x predicted class, and behind these one for each feature that had odd values: numbers outside of the
reference's range, and what is no category at all. Most features of most panes have none, so that costs no room. While
a vector waits for its slide, the counts of its bins have 16 bits if they fit (`narrowed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np

from detectors.reference.profile import FeatureProfile, Profile, standardised_steps
from detectors.reference.reconstruction import RECONSTRUCTION, errors
from detectors.reference.summaries import unpack_cells
from driftline.events import Coded, FeatureColumn, Floats, Ints, Mask, Numeric

COUNT_MAX = 2**16 - 1
"""What 16 bits hold."""

NO_PROFILE = 0
"""Stands for the profile of panes that hold nothing but a count."""


class NumericFeatures(NamedTuple):
    """A profile's numeric features side by side.

    Parameters
    ----------
    edges
        float64 [edges, features]; of features with fewer edges the last are infinite, which no value is above.
    centre, scale, low, high
        float64 [features]; where no range is known it is infinite.
    start, missing, odd
        int64 [features]; the cells of the first bin, of the bin `missing`, right behind which `other` is, and of odd
        values.
    """

    edges: Floats
    centre: Floats
    scale: Floats
    low: Floats
    high: Floats
    start: Ints
    missing: Ints
    odd: Ints


@dataclass(frozen=True, eq=False)
class PaneLayout:
    """Where things stand in a pane's vector under one reference profile.

    Parameters
    ----------
    profile
        The reference profile.
    starts
        int64 [features + 1]; where each feature's bins begin; the last entry is the number of bins in all.
    sums
        int64 [features]; where a numeric feature's sum of standardised steps stands, its sum of squares right behind;
        -1 for categorical features.
    width
        Length of the dense part.
    score_bins
        Bins of the score histogram, the last one for events without a score; 0 for regression.
    """

    profile: Profile
    starts: Ints
    sums: Ints
    width: int
    score_bins: int

    @property
    def n_bins(self) -> int:
        """How many bins all features have together."""
        return int(self.starts[-1])

    @property
    def odd_cells(self) -> int:
        """The cell of the first feature's odd values; those of the others stand behind it."""
        return len(self.profile.classes) * self.score_bins

    @cached_property
    def numeric(self) -> NumericFeatures:
        """What numeric features need to be counted, all of them at once."""
        features, places = self.numeric_features, self._places("numeric")
        edges = np.full((max((len(feature.edges) for feature in features), default=0), len(features)), np.inf)
        for place, feature in enumerate(features):
            edges[: len(feature.edges), place] = feature.edges
        spans = np.array([feature.span or (-np.inf, np.inf) for feature in features]).reshape(-1, 2)
        centre, scale = (np.array([getattr(of, name) for of in features], np.float64) for name in ("centre", "scale"))
        missing = self.starts[places + 1] - 2
        return NumericFeatures(
            edges, centre, scale, spans[:, 0], spans[:, 1], self.starts[places], missing, self.odd_cells + places
        )

    @cached_property
    def numeric_features(self) -> tuple[FeatureProfile, ...]:
        """The numeric features, in the order of the profile."""
        return tuple(feature for feature in self.profile.features if feature.kind == "numeric")

    @cached_property
    def categorical_features(self) -> tuple[FeatureProfile, ...]:
        """The others."""
        return tuple(feature for feature in self.profile.features if feature.kind == "categorical")

    @cached_property
    def categorical_starts(self) -> Ints:
        """Where the bins of each categorical feature begin."""
        return self.starts[self._places("categorical")]

    @cached_property
    def categorical_odd(self) -> Ints:
        """The cell of each categorical feature's odd values."""
        return self.odd_cells + self._places("categorical")

    def _places(self, kind: Literal["numeric", "categorical"]) -> Ints:
        return np.flatnonzero([feature.kind == kind for feature in self.profile.features])


@lru_cache(maxsize=4096)
def pane_layout(profile: Profile) -> PaneLayout:
    """Lay out the panes of a reference profile."""
    starts = np.concatenate(([0], np.cumsum([feature.n_bins for feature in profile.features]))).astype(np.int64)
    sums, width = [], int(starts[-1])
    for feature in profile.features:
        sums.append(width if feature.kind == "numeric" else -1)
        width += 2 if feature.kind == "numeric" else 0
    score_bins = profile.unscored_bin + 1 if profile.task != "regression" else 0
    return PaneLayout(profile, starts, np.array(sums, np.int64), width, score_bins)


@dataclass(frozen=True, slots=True)
class PaneDeltas:
    """Summaries of one batch, one row for each version, segment (or all traffic), pane and lateness.

    Parameters
    ----------
    n
        int64 [rows]; predictions counted.
    vectors
        One a row, see the module.
    n_bins
        How many bins the features of the profile have together, whose counts come first in each vector.
    """

    version: Ints
    segment: Ints
    start_ms: Ints
    late: Mask
    n: Ints
    vectors: list[bytes]
    n_bins: int

    def __len__(self) -> int:
        return len(self.vectors)


def narrowed(vectors: Sequence[bytes], n_bins: int) -> list[bytes]:
    """Write the counts of bins, the first in each vector, in 16 bits each if all fit: half as much to be stored.

    What is written so tells it by its length, four bytes more than a multiple of eight; see `widened`.
    """
    dense = np.frombuffer(b"".join([vector[: 8 * n_bins] for vector in vectors]), "<i8")
    if not n_bins or int(dense.max(initial=0)) > COUNT_MAX:
        return list(vectors)
    counts = np.zeros((len(vectors), n_bins + -n_bins % 4), "<u2")
    counts[:, :n_bins] = dense.reshape(-1, n_bins)
    head = n_bins.to_bytes(4, "little")
    return [head + row.tobytes() + vector[8 * n_bins :] for row, vector in zip(counts, vectors, strict=True)]


def widened(vector: bytes) -> bytes:
    """Return a vector as it was before `narrowed`, also one that never was.

    Examples
    --------
    >>> vector = np.array([3, 0, 65535, 1 << 40]).tobytes()
    >>> [narrow] = narrowed([vector], 3)
    >>> len(vector), len(narrow), widened(narrow) == widened(vector) == vector
    (32, 20, True)
    """
    if len(vector) % 8 != 4:
        return vector
    n_bins = int.from_bytes(vector[:4], "little")
    counts = np.frombuffer(vector, "<u2", n_bins, 4)
    return counts.astype("<i8").tobytes() + vector[4 + 2 * (n_bins + -n_bins % 4) :]


def class_indices(column: Coded, profile: Profile) -> Ints:
    """Return int64 [rows]: each row's place among the profile's classes, or -1."""
    index = {name: place for place, name in enumerate(profile.classes)}
    places = np.array([*(index.get(value, -1) for value in column.values), -1, -1], np.int64)
    return places[column.codes]


def with_reconstruction(columns: dict[str, FeatureColumn], profile: Profile) -> dict[str, FeatureColumn]:
    """Add each event's reconstruction error to its features, if the reference has components for it."""
    if profile.reconstruction is None or not columns:
        return columns
    features = [feature for feature in profile.features if feature.name in profile.reconstruction.names]
    error = errors(profile.reconstruction, steps_of(features, columns))
    return columns | {RECONSTRUCTION: Numeric(error, np.zeros(len(error), np.bool_))}


def steps_of(features: Sequence[FeatureProfile], columns: Mapping[str, FeatureColumn]) -> Ints:
    """Return the standardised steps of numeric features, shape ``(rows, features)``; 0 where one did not come."""
    n_rows = next(len(of.codes if isinstance(of, Coded) else of.values) for of in columns.values())
    steps = np.zeros((n_rows, len(features)), np.int64)
    for place, feature in enumerate(features):
        column = columns.get(feature.name)
        if isinstance(column, Numeric):
            steps[:, place] = standardised_steps(feature, column.values)
    return steps


def odd_values(vector: Ints, layout: PaneLayout) -> Ints:
    """Return int64 [features]: how many odd values of each feature a vector holds, see the module."""
    cells, counts = unpack_cells(vector[layout.width :])
    found = np.zeros(len(layout.profile.features), np.int64)
    is_odd = cells >= layout.odd_cells
    found[cells[is_odd] - layout.odd_cells] = counts[is_odd]
    return found


def scored_cells(packed: Ints, layout: PaneLayout) -> Ints:
    """Return of a vector's sparse part only the histogram of score x predicted class."""
    scored: Ints = packed[unpack_cells(packed)[0] < layout.odd_cells]
    return scored
