"""What came of predictions whose label is known: pairs become mergeable outcome deltas.

Each pair counts at two times: that of its prediction (cohort) and that of the later of prediction and label (arrival).
An outcome delta is keyed by both, the cohort to its grain of windows and the arrival to its pane, so one set of rows
serves both. For classification the vector is a sparse histogram over (true class, predicted class, score bin); for
regression it is dense, sums of errors. All integers: merging is exact, and a correction subtracts what was counted
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.metrics import LIMBS, error_limbs, error_steps
from detectors.profile import Profile, bin_score
from detectors.summaries import Ints, Mask, group_rows, sparse_by_summary
from driftline.events import Floats

WATCHED_STEPS_PER_SCALE = 4096
"""The watched error of regression is standardised and clipped like a feature: at most 8 scales, in steps of 2**-12."""

REGRESSION_WIDTH = 3 + 3 * LIMBS
"""Pairs, sum and sum of squares of the watched error, then the exact sums of `detectors.metrics.error_limbs`."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Predictions with their labels.

    Parameters
    ----------
    version
        int64 [pairs]; codes.
    segments
        int64 [pairs, names]; codes of the segment values.
    prediction_ms, label_ms
        int64 [pairs]; event times.
    prediction, label
        float64 [pairs]; class codes for classification, values for regression.
    score
        float64 [pairs]; NaN where there is none.
    late
        bool [pairs]; whether either came late.
    weight
        int64 [pairs]; 1, or -1 for a pair that is taken back.
    """

    version: Ints
    segments: Ints
    prediction_ms: Ints
    label_ms: Ints
    prediction: Floats
    label: Floats
    score: Floats
    late: Mask
    weight: Ints

    def __len__(self) -> int:
        return len(self.version)

    def take(self, rows: Mask) -> Pairs:
        """Keep the pairs where the mask is True."""
        return Pairs(
            self.version[rows],
            self.segments[rows],
            self.prediction_ms[rows],
            self.label_ms[rows],
            self.prediction[rows],
            self.label[rows],
            self.score[rows],
            self.late[rows],
            self.weight[rows],
        )


@dataclass(frozen=True, slots=True)
class OutcomeDeltas:
    """Summaries of pairs, one row for each version, segment (or all traffic), cohort, arrival and lateness.

    Parameters
    ----------
    n
        int64 [rows]; pairs counted, less those taken back.
    vectors
        One a row, see the module.
    """

    version: Ints
    segment: Ints
    cohort_ms: Ints
    arrival_ms: Ints
    late: Mask
    n: Ints
    vectors: list[bytes]

    def __len__(self) -> int:
        return len(self.vectors)


def summarise_outcomes(
    pairs: Pairs, profile: Profile, class_names: Sequence[str], grain_ms: int, pane_ms: int
) -> OutcomeDeltas:
    """Summarise pairs into outcome deltas.

    Parameters
    ----------
    profile
        The reference profile of the pairs' version: its classes, score bins and error scale.
    class_names
        What the class codes of predictions and labels stand for. A class the profile does not know counts as the
        last place of its axis, `len(profile.classes)`.
    grain_ms, pane_ms
        How finely cohorts and arrivals are told apart.
    """
    cohort_ms = pairs.prediction_ms // grain_ms * grain_ms
    arrival_ms = np.maximum(pairs.prediction_ms, pairs.label_ms) // pane_ms * pane_ms
    # Two times make one key: which cohort of the few in this batch, beside the arrival.
    cohorts, cohort = np.unique(cohort_ms, return_inverse=True)
    grouped = group_rows(pairs.version * len(cohorts) + cohort, pairs.segments, arrival_ms, pairs.late)
    n = np.zeros(grouped.n_fine, np.int64)
    np.add.at(n, grouped.fine, pairs.weight)
    if profile.task == "regression":
        dense = grouped.fold(_error_sums(pairs, grouped.fine, grouped.n_fine, profile.error_scale))
        vectors = [row.tobytes() for row in dense]
    else:
        cells = outcome_cells(pairs, profile, class_names)
        vectors = sparse_by_summary(grouped, grouped.fine, cells, pairs.weight)
    return OutcomeDeltas(
        grouped.version // len(cohorts),
        grouped.segment,
        cohorts[grouped.version % len(cohorts)],
        grouped.start_ms,
        grouped.late,
        grouped.fold(n),
        vectors,
    )


def outcome_cells(pairs: Pairs, profile: Profile, class_names: Sequence[str]) -> Ints:
    """Return int64 [pairs]: the histogram cell of each pair, see `outcome_shape`."""
    index = {name: place for place, name in enumerate(profile.classes)}
    n_classes, n_score_bins = outcome_shape(profile)[1:]
    place = np.array([index.get(name, n_classes - 1) for name in class_names] + [n_classes - 1], np.int64)
    truth, predicted = place[pairs.label.astype(np.int64)], place[pairs.prediction.astype(np.int64)]
    return (truth * n_classes + predicted) * n_score_bins + bin_score(profile, pairs.score)


def outcome_shape(profile: Profile) -> tuple[int, int, int]:
    """Return the shape of a classification histogram: (true classes, predicted classes, score bins).

    Both class axes end with a place for classes the profile does not know; the score axis ends with one for pairs
    without a score.
    """
    n_classes = len(profile.classes) + 1
    return n_classes, n_classes, profile.unscored_bin + 1


def _error_sums(pairs: Pairs, fine: Ints, n_fine: int, scale: float) -> Ints:
    with np.errstate(over="ignore"):
        errors = pairs.prediction - pairs.label
        watched = np.rint(np.clip(np.abs(errors / scale), 0.0, 8.0) * WATCHED_STEPS_PER_SCALE).astype(np.int64)
    steps = error_steps(errors, scale)
    sums = np.zeros((n_fine, REGRESSION_WIDTH), np.int64)
    np.add.at(sums[:, 0], fine, pairs.weight)
    np.add.at(sums[:, 1], fine, pairs.weight * watched)
    np.add.at(sums[:, 2], fine, pairs.weight * watched * watched)
    order = np.lexsort((pairs.weight, fine))
    changes = np.flatnonzero((np.diff(fine[order]) != 0) | (np.diff(pairs.weight[order]) != 0)) + 1
    for rows in np.split(order, changes):
        if len(rows):
            sums[fine[rows[0]], 3:] += pairs.weight[rows[0]] * error_limbs(steps[rows]).ravel()
    return sums
