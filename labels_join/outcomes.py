"""What came of predictions whose label is known: pairs become mergeable outcome deltas.

Each pair counts at two times: that of its prediction (cohort) and that of the later of prediction and label (arrival).
An outcome delta is keyed by both, the cohort to its grain of windows and the arrival to its pane, so one set of rows
serves both. The vector is dense first (`OutcomeSums` says where what stands): exact sums of rewards, and of losses or
errors. For classification a sparse histogram over (true class, predicted class, score bin) follows. All integers:
merging is exact, and a correction subtracts what was counted before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from detectors.metrics import LIMBS, STEPS_PER_SCALE, error_limbs, moment_limbs, to_steps
from detectors.reference.profile import PREDICTION, Profile, Task, bin_score
from detectors.reference.summaries import GroupedRows, Ints, Mask, group_rows, sparse_by_summary, unpack_cells
from driftline.events import Floats

WATCHED_STEPS_PER_SCALE = 4096
"""The watched error of regression is standardised and clipped like a feature: at most 8 scales, in steps of 2**-12."""

LOSS_STEPS = {"brier": 2.0**30, "brier_squares": 2.0**30, "log_loss": 2.0**28, "log_loss_squares": 2.0**20}
"""Steps a unit of a binary prediction's losses and their squares: half a billion pairs add up without overflow."""

PROBABILITY_MIN = float(np.finfo(np.float64).eps)
"""The logarithm of what was thought to be less probable is taken at this, as scikit-learn does."""

REWARD_STEPS = 2.0**20
"""Steps a unit of reward: about a millionth, up to four billion units."""

RELATIVE_STEPS = 2.0**32
"""Steps a unit of relative error."""


@dataclass(frozen=True)
class OutcomeSums:
    """Where the dense part of an outcome vector holds what; empty slices for what a task has not.

    Parameters
    ----------
    width
        Length of the dense part.
    watched
        Regression: pairs, sum and sum of squares of the watched error.
    errors
        Regression: `detectors.metrics.error_limbs` of prediction less label.
    relative
        Regression: pairs whose label is not 0, then limbs of the sums of their relative error and its square.
    truths
        Regression: limbs of the sums of the label, standardised by the prediction's centre and the error scale, and of
        its square.
    losses
        Binary: sums of the losses of pairs with a score, see `LOSS_STEPS`.
    rewards
        Pairs with a reward, then limbs of the sums of the reward and its square.
    """

    width: int
    watched: slice
    errors: slice
    relative: slice
    truths: slice
    losses: slice
    rewards: slice


def outcome_sums(task: Task) -> OutcomeSums:
    """Lay out the dense part of a task's outcome vectors.

    Examples
    --------
    >>> outcome_sums("multiclass").width, outcome_sums("binary").width, outcome_sums("regression").width
    (11, 15, 50)
    """
    regression, binary = task == "regression", task == "binary"
    widths = {
        "watched": 3 * regression,
        "errors": 3 * LIMBS * regression,
        "relative": (1 + 2 * LIMBS) * regression,
        "truths": 2 * LIMBS * regression,
        "losses": len(LOSS_STEPS) * binary,
        "rewards": 1 + 2 * LIMBS,
    }
    ends = list(accumulate(widths.values()))
    starts = [end - width for end, width in zip(ends, widths.values(), strict=True)]
    return OutcomeSums(ends[-1], *map(slice, starts, ends))


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
    reward
        float64 [pairs]; NaN where there is none; None where no pair has one.
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
    reward: Floats | None = None

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
            None if self.reward is None else self.reward[rows],
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
    pairs: Pairs,
    profile: Profile,
    class_names: Sequence[str],
    grain_ms: int,
    pane_ms: int,
    positive_class: str | None = None,
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
    positive_class
        For binary tasks, its canonical text.
    """
    cohort_ms = pairs.prediction_ms // grain_ms * grain_ms
    arrival_ms = np.maximum(pairs.prediction_ms, pairs.label_ms) // pane_ms * pane_ms
    # Two times make one key: which cohort of the few in this batch, beside the arrival.
    cohorts, cohort = np.unique(cohort_ms, return_inverse=True)
    grouped = group_rows(pairs.version * len(cohorts) + cohort, pairs.segments, arrival_ms, pairs.late)
    n = np.zeros(grouped.n_fine, np.int64)
    np.add.at(n, grouped.fine, pairs.weight)
    dense = grouped.fold(_sums(pairs, grouped, profile, class_names, positive_class))
    vectors = [row.tobytes() for row in dense]
    if profile.task != "regression":
        cells = outcome_cells(pairs, profile, class_names)
        sparse = sparse_by_summary(grouped, grouped.fine, cells, pairs.weight)
        vectors = [sums + counts for sums, counts in zip(vectors, sparse, strict=True)]
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


def outcome_histogram(vector: Ints, profile: Profile) -> tuple[Ints, Ints]:
    """Return the occupied cells of a classification's outcome vector, see `outcome_shape`, and their counts."""
    return unpack_cells(vector[outcome_sums(profile.task).width :])


def truth_centre(profile: Profile) -> float:
    """Return from where a regression's labels are summed: the middle of what the reference predicted."""
    return next(feature.centre for feature in profile.features if feature.name == PREDICTION)


def _sums(
    pairs: Pairs, grouped: GroupedRows, profile: Profile, class_names: Sequence[str], positive_class: str | None
) -> Ints:
    """Return int64 [fine, width]: the dense part of the vectors."""
    at = outcome_sums(profile.task)
    sums = np.zeros((grouped.n_fine, at.width), np.int64)
    if profile.task == "regression":
        _add_errors(sums, at, pairs, grouped.fine, profile)
    elif profile.task == "binary":
        is_positive = np.array([name == positive_class for name in class_names], np.bool_)
        _add_losses(sums[:, at.losses], pairs, grouped.fine, is_positive)
    if pairs.reward is not None:
        told = np.isfinite(pairs.reward)
        if told.any():
            steps = to_steps(pairs.reward[told], 1.0 / REWARD_STEPS)
            _add_counted(sums[:, at.rewards], steps, pairs.weight[told], grouped.fine[told])
    return sums


def _add_errors(sums: Ints, at: OutcomeSums, pairs: Pairs, fine: Ints, profile: Profile) -> None:
    scale = profile.error_scale
    with np.errstate(over="ignore"):
        errors = pairs.prediction - pairs.label
        watched = np.rint(np.clip(np.abs(errors / scale), 0.0, 8.0) * WATCHED_STEPS_PER_SCALE).astype(np.int64)
        truths = pairs.label - truth_centre(profile)
    for place, values in enumerate((1, watched, watched * watched)):
        np.add.at(sums[:, at.watched.start + place], fine, pairs.weight * values)
    steps = to_steps(errors, scale / STEPS_PER_SCALE)
    sums[:, at.errors] += error_limbs(steps, pairs.weight, fine, len(sums))
    sums[:, at.truths] += moment_limbs(to_steps(truths, scale / STEPS_PER_SCALE), pairs.weight, fine, len(sums))
    told = pairs.label != 0.0
    with np.errstate(over="ignore"):
        relative = to_steps(np.abs(errors[told] / pairs.label[told]), 1.0 / RELATIVE_STEPS)
    _add_counted(sums[:, at.relative], relative, pairs.weight[told], fine[told])


def _add_counted(sums: Ints, steps: Ints, weight: Ints, fine: Ints) -> None:
    np.add.at(sums[:, 0], fine, weight)
    sums[:, 1:] += moment_limbs(steps, weight, fine, len(sums))


def _add_losses(sums: Ints, pairs: Pairs, fine: Ints, is_positive: Mask) -> None:
    scored = np.flatnonzero(np.isfinite(pairs.score))
    score, weight, fine = pairs.score[scored], pairs.weight[scored], fine[scored]
    right = np.where(is_positive[pairs.label[scored].astype(np.int64)], score, 1.0 - score)
    surprise = -np.log(np.clip(right, PROBABILITY_MIN, 1.0))
    losses = ((1.0 - right) ** 2, (1.0 - right) ** 4, surprise, surprise**2)
    for place, (loss, steps) in enumerate(zip(losses, LOSS_STEPS.values(), strict=True)):
        np.add.at(sums[:, place], fine, weight * np.rint(loss * steps).astype(np.int64))
