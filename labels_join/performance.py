"""Live metrics from merged outcome vectors: which values, intervals and sizes does a window have?

Counts and sums give every metric exactly, but for those of binned scores (`detectors.metrics.scores`), which say how
far they may be off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from detectors.metrics import (
    LIMBS,
    NO_LABELS,
    STEPS_PER_SCALE,
    Binned,
    Estimate,
    average_precision,
    bias,
    binary_metrics,
    calibration_error,
    class_metrics,
    limbs_value,
    mean,
    multiclass_metrics,
    r_squared,
    regression_metrics,
    roc_auc,
    times,
    undefined,
)
from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints, Mask
from driftline.events import Floats
from driftline.settings.metrics import Metric
from labels_join.outcomes import (
    LOSS_STEPS,
    RELATIVE_STEPS,
    REWARD_STEPS,
    outcome_histogram,
    outcome_shape,
    outcome_sums,
    truth_centre,
)

ONE_SIDED = "labels are of one side only: the area needs both"
NO_SCORES = "no labelled prediction has a score"
LEFT_OUT = "pairs left out, since the reference knows neither the predicted nor the true class"
SEVERAL_BINNINGS = "its scores were binned under several references"


@dataclass(frozen=True, slots=True)
class Confusion:
    """Outcomes of one window of a classification model.

    Parameters
    ----------
    classes
        The classes that are known.
    counts
        int64 [predicted, true]; both axes in the order of the classes, last those that are not known.
    by_score
        int64 [score bins, true]; without pairs that carry no score. None where parts were binned differently.
    score_edges
        Inner edges of the score bins.
    """

    classes: tuple[str, ...]
    counts: Ints
    by_score: Ints | None
    score_edges: tuple[float, ...]


def confusion_of(vector: Ints, profile: Profile) -> Confusion:
    """Unpack a merged outcome vector of a classification model."""
    n_classes, _, n_score_bins = outcome_shape(profile)
    cells, n = outcome_histogram(vector, profile)
    by_score = np.zeros((n_score_bins, n_classes), np.int64)
    np.add.at(by_score, (cells % n_score_bins, cells // (n_classes * n_score_bins)), n)
    return Confusion(profile.classes, _by_classes(cells, n, profile), by_score[:-1], profile.score_edges)


def _by_classes(cells: Ints, n: Ints, profile: Profile) -> Ints:
    """Return int64 [predicted, true] of the cells of an outcome vector, which stand true class by true class."""
    n_classes, _, n_score_bins = outcome_shape(profile)
    counts = np.zeros(n_classes * n_classes, np.int64)
    np.add.at(counts, cells // n_score_bins, n)
    return counts.reshape(n_classes, n_classes).T


def _together(parts: Sequence[Confusion]) -> Confusion:
    """Add up outcomes under several reference profiles; scores only if all are binned alike."""
    classes = tuple(sorted({name for part in parts for name in part.classes}))
    score_edges = parts[0].score_edges
    alike = all(part.score_edges == score_edges for part in parts)
    counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    by_score = np.zeros((len(score_edges) + 1, len(classes) + 1), np.int64)
    for part in parts:
        place = np.array([*map(classes.index, part.classes), len(classes)])
        counts[np.ix_(place, place)] += part.counts
        if alike and part.by_score is not None:
            by_score[:, place] += part.by_score
    return Confusion(classes, counts, by_score if alike else None, score_edges)


Parts = Sequence[tuple[Ints, Profile]]


def metrics_of(parts: Parts, positive_class: str | None, wanted: Iterable[Metric]) -> dict[Metric, Estimate]:
    """Compute metrics from merged outcome vectors.

    Parameters
    ----------
    parts
        At least one: an int64 vector, see `labels_join.outcomes`, and the reference profile it was made under; several
        where the reference has changed meanwhile.
    positive_class
        For binary tasks, its canonical text; whatever is another class is negative.
    wanted
        Metrics of the model's task.

    Returns
    -------
    By metric; where one is not defined, None values and the reason, never NaN. The reason also tells of pairs left out.
    """
    task = parts[0][1].task
    rewards = {name for name in wanted if name in REWARDED}
    rest = [name for name in wanted if name not in rewards]
    if task == "regression":
        found = _regression(parts, rest)
    else:
        confusion = _together([confusion_of(vector, profile) for vector, profile in parts])
        if task == "multiclass":
            found = _multiclass(confusion, rest)
        else:
            found = _binary(_binary_outcomes(confusion, parts, positive_class), rest)
    if rewards:
        count, total, squares = _rewards(parts)
        found |= {name: REWARDED[name](mean(count, total, squares, "no label carries a reward")) for name in rewards}
    return {name: found[name] for name in wanted}


REWARDED: Mapping[Metric, Callable[[Estimate], Estimate]] = {
    "reward_mean": lambda mean: mean,
    "reward_sum": lambda mean: times(mean, mean.n),
}


def _rewards(parts: Parts) -> tuple[int, float, float]:
    """Return how many rewards there are, their sum and the sum of their squares."""
    n, total, squares = 0, 0, 0
    for vector, profile in parts:
        sums = vector[outcome_sums(profile.task).rewards]
        n += int(sums[0])
        total += limbs_value(sums[1 : 1 + LIMBS])
        squares += limbs_value(sums[1 + LIMBS :])
    return n, total / REWARD_STEPS, squares / REWARD_STEPS**2


def _is_positive(classes: Sequence[str], positive_class: str | None) -> Mask:
    """Say of each class, and last of those that are not known, whether it is the positive one."""
    return np.array([*(name == positive_class for name in classes), positive_class not in classes])


def labels_by_class(vector: Ints, profile: Profile, positive_class: str | None) -> dict[str, int]:
    """Count the labels of a merged outcome vector by true class, as far as the task tells classes apart.

    Returns
    -------
    For binary tasks the positive class and the rest; for multiclass the classes of the profile; for regression all
    labels under an empty name. Classes without labels are left out.
    """
    if profile.task == "regression":
        return {"": int(vector[0])}
    truths = _by_classes(*outcome_histogram(vector, profile), profile).sum(axis=0)
    if profile.task == "binary":
        positive = _is_positive(profile.classes, positive_class)
        found = {"positive": truths[positive].sum(), "negative": truths[~positive].sum()}
    else:
        found = dict(zip(profile.classes, truths, strict=False))  # the last place is of classes nobody knows
    return {name: int(n) for name, n in found.items() if n}


def _multiclass(confusion: Confusion, wanted: Iterable[Metric]) -> dict[Metric, Estimate]:
    """Leave out pairs of which neither side is a known class, and say so: whether they are right can't be told."""
    counts = confusion.counts.copy()
    n_left_out, counts[-1, -1] = int(counts[-1, -1]), 0
    found = multiclass_metrics(counts)
    by_class = dict(zip(confusion.classes, class_metrics(counts), strict=False))
    for name in wanted:
        kind, _, of_class = name.partition(".")
        if of_class:
            of = by_class.get(of_class)
            found[name] = undefined("neither reference nor labels know the class") if of is None else getattr(of, kind)
    return {name: _without(of, n_left_out) for name, of in found.items()} if n_left_out else found


def _without(of: Estimate, n_left_out: int) -> Estimate:
    """Say how many pairs a metric leaves out, beside why it is not defined, if so."""
    told = f"{LEFT_OUT}: {n_left_out}"
    return of._replace(reason=told if of.reason in (None, NO_LABELS) else f"{of.reason}; {told}")


@dataclass(frozen=True, slots=True)
class _BinaryOutcomes:
    """Pairs of a binary task: int64 [predicted, true], [score bins, true], sums of losses by name."""

    table: Ints
    histogram: Ints | None
    score_edges: Floats
    losses: Mapping[str, int]


def _binary_outcomes(confusion: Confusion, parts: Parts, positive_class: str | None) -> _BinaryOutcomes:
    positive = _is_positive(confusion.classes, positive_class)
    sides = (~positive, positive)
    table = np.array([[confusion.counts[np.ix_(rows, columns)].sum() for columns in sides] for rows in sides], np.int64)
    by_score = confusion.by_score
    histogram = None if by_score is None else np.stack([by_score[:, side].sum(axis=1) for side in sides], axis=1)
    losses = np.sum([vector[outcome_sums("binary").losses] for vector, _ in parts], axis=0)
    return _BinaryOutcomes(
        table, histogram, np.array(confusion.score_edges), dict(zip(LOSS_STEPS, losses.tolist(), strict=True))
    )


def _binary(outcomes: _BinaryOutcomes, wanted: Iterable[Metric]) -> dict[Metric, Estimate]:
    counted = binary_metrics(outcomes.table)
    return {name: counted[name] if name in counted else OF_SCORES[name](outcomes) for name in wanted}


OF_SCORES: Mapping[Metric, Callable[[_BinaryOutcomes], Estimate]] = {
    "roc_auc": lambda of: _binned(of, roc_auc, ONE_SIDED),
    "pr_auc": lambda of: _binned(of, average_precision, "no scored label is of the positive class"),
    "ece": lambda of: _binned(of, lambda histogram: calibration_error(histogram, of.score_edges), NO_SCORES),
    "log_loss": lambda of: _loss(of, "log_loss"),
    "brier": lambda of: _loss(of, "brier"),
}


def _binned(of: _BinaryOutcomes, metric: Callable[[Ints], Binned], nothing: str) -> Estimate:
    if of.histogram is None:
        return undefined(SEVERAL_BINNINGS)
    found, n = metric(of.histogram), int(of.histogram.sum())
    if found.value is None:
        return undefined(nothing if n else NO_SCORES if of.table.sum() else NO_LABELS)
    return Estimate(found.value, found.low, found.high, n)


def _loss(of: _BinaryOutcomes, name: str) -> Estimate:
    if of.histogram is None:
        return undefined(SEVERAL_BINNINGS)
    total, squares = (of.losses[key] / LOSS_STEPS[key] for key in (name, f"{name}_squares"))
    return mean(int(of.histogram.sum()), total, squares, NO_SCORES if of.table.sum() else NO_LABELS, low=0.0)


def _regression(parts: Parts, wanted: Iterable[Metric]) -> dict[Metric, Estimate]:
    # In the widest of their steps nothing was rounded by more than half a step.
    scale, centre = max(Fraction(profile.error_scale) for _, profile in parts), Fraction(truth_centre(parts[0][1]))
    at = outcome_sums("regression")
    n, n_relative = 0, 0
    absolute, error, squares, relative, relative_squares, truth, truth_squares = [Fraction(0)] * 7
    for vector, profile in parts:
        ratio = Fraction(profile.error_scale) / scale
        sums = [limbs_value(limbs) for limbs in vector[at.errors].reshape(3, LIMBS)]
        of_part = int(vector[at.watched.start])
        n += of_part
        absolute, error, squares = absolute + sums[0] * ratio, error + sums[1] * ratio, squares + sums[2] * ratio**2
        n_relative += int(vector[at.relative.start])
        ratios = [limbs_value(limbs) for limbs in vector[at.relative][1:].reshape(2, LIMBS)]
        relative, relative_squares = relative + ratios[0], relative_squares + ratios[1]
        # Labels were summed from another centre, in other steps.
        first, second = (limbs_value(limbs) for limbs in vector[at.truths].reshape(2, LIMBS))
        moved = (Fraction(truth_centre(profile)) - centre) / scale * STEPS_PER_SCALE
        truth += first * ratio + of_part * moved
        truth_squares += second * ratio**2 + 2 * moved * first * ratio + of_part * moved**2
    found = regression_metrics(n, absolute, squares, float(scale))
    steps = float(RELATIVE_STEPS)
    only = {
        "mape": lambda: mean(
            n_relative,
            float(relative) / steps,
            float(relative_squares) / steps**2,
            "no label but 0" if n else NO_LABELS,
            low=0.0,
        ),
        "bias": lambda: bias(n, error, squares, float(scale)),
        "r2": lambda: r_squared(n, absolute, squares, truth, truth_squares),
    }
    return found | {name: only[name]() for name in wanted if name in only}


def watched_errors(vector: Ints, profile: Profile) -> tuple[Ints, Ints, Ints]:
    """Return (counts, sums, sums of squares) of the error series that concept-drift detectors watch.

    Returns
    -------
    Three int64 arrays with one entry a series, see `error_series`.
    """
    if profile.task == "regression":
        watched = vector[outcome_sums("regression").watched]
        return watched[0:1], watched[1:2], watched[2:3]
    counts = _by_classes(*outcome_histogram(vector, profile), profile)[:, :-1]
    cases = counts.sum(axis=0)
    wrong = cases - np.diagonal(counts)[: len(cases)]
    return cases, wrong, wrong


def error_series(profile: Profile) -> tuple[str, ...]:
    """Return the names of the watched error series: one for each true class, or one for regression.

    Pooled error would rise by itself while one class's labels lag; within a true class it does not.
    """
    if profile.task == "regression":
        return ("@error",)
    return tuple(f"@error.{name}" for name in profile.classes)
