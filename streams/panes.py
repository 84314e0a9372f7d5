"""From a batch of events to pane deltas: mergeable integer summaries for each version, segment and pane.

Everything here is 64-bit integers, so merging is exact and its order never matters. A pane's vector is dense first, in
the layout its reference profile gives (`PaneLayout`), then sparse: one packed integer for each occupied cell of the
histogram of score x predicted class, and behind these one for each feature that had odd values: numbers outside of the
reference's range, and what is no category at all. Most features of most panes have none, so that costs no room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.reference.profile import (
    PREDICTION,
    SCORE,
    STEPS_PER_SCALE,
    FeatureProfile,
    Profile,
    bin_categorical,
    bin_score,
    standardised_steps,
)
from detectors.reference.reconstruction import RECONSTRUCTION, errors
from detectors.reference.summaries import GroupedRows, group_rows, sparse_by_summary, unpack_cells
from driftline.events import OTHER, Coded, FeatureBatch, FeatureColumn, Floats, Ints, Mask, Numeric, PredictionBatch

NO_PROFILE = 0
"""Stands for the profile of panes that hold nothing but a count."""

BLOCK_VALUES = 65_536
"""So many values are counted at a time: what the processor keeps at hand, whatever the fetch holds."""


class NumericFeatures(NamedTuple):
    """A profile's features side by side; what stands at categorical ones means nothing.

    Parameters
    ----------
    edges
        float64 [edges, features]; of features with fewer edges the last are infinite, which no value is above.
    centre, scale, low, high
        float64 [features]; where no range is known it is infinite.
    missing
        int64 [features]; the bin `missing`, and right behind it `other`.
    """

    edges: Floats
    centre: Floats
    scale: Floats
    low: Floats
    high: Floats
    missing: Ints


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
        features = self.profile.features
        n_edges = [len(feature.edges) for feature in features]
        edges = np.full((max(n_edges), len(features)), np.inf)
        for place, feature in enumerate(features):
            edges[: n_edges[place], place] = feature.edges
        spans = np.array([feature.span or (-np.inf, np.inf) for feature in features])
        centre_scale = np.array([(feature.centre, feature.scale) for feature in features])
        missing = np.array([feature.missing_index for feature in features])
        return NumericFeatures(edges, centre_scale[:, 0], centre_scale[:, 1], spans[:, 0], spans[:, 1], missing)


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
    """

    version: Ints
    segment: Ints
    start_ms: Ints
    late: Mask
    n: Ints
    vectors: list[bytes]

    def __len__(self) -> int:
        return len(self.vectors)


def summarise_predictions(
    batch: PredictionBatch, version: Ints, segments: Ints, late: Mask, layout: PaneLayout, pane_ms: int
) -> PaneDeltas:
    """Summarise predictions, with the features they carry, into pane deltas.

    Parameters
    ----------
    version
        int64 [rows]; codes of the versions.
    segments
        int64 [rows, names]; codes of the segment values.
    late
        bool [rows].
    """
    prediction_and_score = {PREDICTION: batch.prediction, SCORE: Numeric(batch.score, np.isnan(batch.score))}
    grouped = group_rows(version, segments, batch.time_ms // pane_ms * pane_ms, late)
    n = np.bincount(grouped.fine, minlength=grouped.n_fine)
    dense = np.zeros((grouped.n_fine, layout.width), np.int64)
    everything = None if batch.has_features.all() else batch.has_features
    odd = _count_features(dense, grouped.fine, with_reconstruction(batch.features, layout.profile), everything, layout)
    odd += _count_features(dense, grouped.fine, prediction_and_score, None, layout)
    if not layout.score_bins:
        return _deltas(grouped, n, dense, odd)
    assert isinstance(batch.prediction, Coded)
    predicted = class_indices(batch.prediction, layout.profile)
    known = predicted >= 0
    cells = predicted * layout.score_bins + bin_score(layout.profile, batch.score)
    return _deltas(grouped, n, dense, [(grouped.fine[known], cells[known]), *odd])


def summarise_features(
    batch: FeatureBatch, version: Ints, segments: Ints, late: Mask, layout: PaneLayout, pane_ms: int
) -> PaneDeltas:
    """Summarise features that came apart from their predictions into pane deltas; parameters as for predictions."""
    grouped = group_rows(version, segments, batch.time_ms // pane_ms * pane_ms, late)
    dense = np.zeros((grouped.n_fine, layout.width), np.int64)
    odd = _count_features(dense, grouped.fine, with_reconstruction(batch.features, layout.profile), None, layout)
    return _deltas(grouped, np.zeros(grouped.n_fine, np.int64), dense, odd)


def count_predictions(time_ms: Ints, version: Ints, segments: Ints, late: Mask, pane_ms: int) -> PaneDeltas:
    """Count predictions that nothing is to be compared with, because they are the reference themselves."""
    grouped = group_rows(version, segments, time_ms // pane_ms * pane_ms, late)
    n = np.bincount(grouped.fine, minlength=grouped.n_fine)
    return _deltas(grouped, n, np.zeros((grouped.n_fine, 0), np.int64), [])


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


def _count_features(
    dense: Ints, fine: Ints, columns: dict[str, FeatureColumn], rows: Mask | None, layout: PaneLayout
) -> list[tuple[Ints, Ints]]:
    """Count each feature's bins and sums, and return (groups, cells) of the odd values."""
    if rows is not None:
        fine, columns = fine[rows], {name: column.take(rows) for name, column in columns.items()}
    told = [(place, columns.get(feature.name)) for place, feature in enumerate(layout.profile.features)]
    odd = _count_all_numeric(dense, fine, [(at, of) for at, of in told if isinstance(of, Numeric)], layout)
    for place, column in told:
        if isinstance(column, Coded):
            bins = bin_categorical(layout.profile.features[place], column.codes, column.values)
            start, end = int(layout.starts[place]), int(layout.starts[place + 1])
            counts = np.bincount(fine * (end - start) + bins, minlength=len(dense) * (end - start))
            dense[:, start:end] += counts.reshape(len(dense), end - start)
            where = np.flatnonzero(column.codes == OTHER)  # what is no category at all
            odd.append((fine[where], np.full(where.size, layout.odd_cells + place, np.int64)))
    return odd


def _count_all_numeric(
    dense: Ints, fine: Ints, columns: Sequence[tuple[int, Numeric]], layout: PaneLayout
) -> list[tuple[Ints, Ints]]:
    """Count numeric features, by their places, side by side: one by one, few rows would be more calls than work."""
    odd: list[tuple[Ints, Ints]] = []
    if columns:
        places = np.array([place for place, _ in columns])
        block = max(BLOCK_VALUES // len(columns), 1)
        for start in range(0, len(fine), block):
            rows = slice(start, start + block)
            values = np.stack([column.values[rows] for _, column in columns])
            missing = np.stack([column.missing[rows] for _, column in columns])
            odd.append(_count_numeric(dense, fine[rows], values, missing, places, layout))
    return odd


def _count_numeric(
    dense: Ints, fine: Ints, values: Floats, missing: Mask, places: Ints, layout: PaneLayout
) -> tuple[Ints, Ints]:
    """Count some rows, shape ``(features, rows)``; bins and steps are those of `detectors.reference.profile`."""
    edges, centre, scale, low, high, no_value = (of[..., places, None] for of in layout.numeric)
    finite = np.isfinite(values)
    above = np.zeros(values.shape, np.int8 if len(edges) <= np.iinfo(np.int8).max else np.int64)
    for edge in edges:
        above += (values > edge).view(np.int8)
    bins = np.where(missing, no_value, np.where(finite, above, no_value + 1))
    counts = _counts(fine, layout.starts[places, None] + bins, len(dense), layout.n_bins, None)
    dense[:, : layout.n_bins] += counts.astype(np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(np.clip((values - centre) / scale, -8.0, 8.0) * STEPS_PER_SCALE)
    steps[~finite] = 0.0
    # Sums of integers below 2**53 are exact in float64: at most 2**22 rows of at most 2**30 each.
    column, at = np.arange(len(places))[:, None], layout.sums[places]
    dense[:, at] += _counts(fine, column, len(dense), len(places), steps).astype(np.int64)
    dense[:, at + 1] += _counts(fine, column, len(dense), len(places), steps * steps).astype(np.int64)
    # What is infinite counts as of a wrong type, not as out of range.
    columns, rows = np.nonzero(finite & ((values < low) | (values > high)))
    return fine[rows], layout.odd_cells + places[columns]


def _counts(fine: Ints, cells: Ints, n_groups: int, n_cells: int, weights: Floats | None) -> NDArray[Any]:
    """Count or weigh cells, shape ``(features, rows)``, in each group: shape ``(groups, cells)``."""
    by_group = (fine * n_cells + cells).ravel()
    found = np.bincount(by_group, None if weights is None else weights.ravel(), n_groups * n_cells)
    return found.reshape(n_groups, n_cells)


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


def _deltas(grouped: GroupedRows, n: Ints, dense: Ints, cells: Sequence[tuple[Ints, Ints]]) -> PaneDeltas:
    dense = grouped.fold(dense)
    vectors: Iterable[bytes] = (row.tobytes() for row in dense)
    if cells:
        fine, cell = (np.concatenate([of[part] for of in cells]) for part in (0, 1))
        vectors = (d + s for d, s in zip(vectors, sparse_by_summary(grouped, fine, cell, None), strict=True))
    return PaneDeltas(grouped.version, grouped.segment, grouped.start_ms, grouped.late, grouped.fold(n), list(vectors))
