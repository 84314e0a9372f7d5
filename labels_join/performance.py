"""Live metrics from merged outcome vectors: which values, intervals and sizes does a window have?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from detectors.metrics import (
    LIMBS,
    UNDEFINED,
    Estimate,
    binary_metrics,
    limbs_value,
    multiclass_metrics,
    regression_metrics,
    roc_auc,
)
from detectors.profile import Profile
from detectors.summaries import Ints, Mask, unpack_cells
from driftline.settings.models import Metric
from labels_join.outcomes import outcome_shape


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
        int64 [score bins, true]; without pairs that carry no score.
    score_edges
        Inner edges of the score bins.
    """

    classes: tuple[str, ...]
    counts: Ints
    by_score: Ints
    score_edges: tuple[float, ...]


def confusion_of(vector: Ints, profile: Profile) -> Confusion:
    """Unpack a merged outcome vector of a classification model."""
    n_classes, _, n_score_bins = outcome_shape(profile)
    cells, n = unpack_cells(vector)
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
        if alike:
            by_score[:, place] += part.by_score
    return Confusion(classes, counts, by_score, score_edges)


def metrics_of(parts: Sequence[tuple[Ints, Profile]], positive_class: str | None) -> dict[Metric, Estimate]:
    """Compute every metric of a model's task from merged outcome vectors.

    Parameters
    ----------
    parts
        At least one: an int64 vector, see `labels_join.outcomes`, and the reference profile it was made under; several
        where the reference has changed meanwhile.
    positive_class
        For binary tasks, its canonical text; whatever is another class is negative.

    Returns
    -------
    By metric; None values where a metric is not defined, never NaN.
    """
    task = parts[0][1].task
    if task == "regression":
        return _regression(parts)
    confusion = _together([confusion_of(vector, profile) for vector, profile in parts])
    if task == "multiclass":
        return _multiclass(confusion)
    return _binary(confusion, _is_positive(confusion.classes, positive_class))


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
    truths = _by_classes(*unpack_cells(vector), profile).sum(axis=0)
    if profile.task == "binary":
        positive = _is_positive(profile.classes, positive_class)
        found = {"positive": truths[positive].sum(), "negative": truths[~positive].sum()}
    else:
        found = dict(zip(profile.classes, truths, strict=False))  # the last place is of classes nobody knows
    return {name: int(n) for name, n in found.items() if n}


def _multiclass(confusion: Confusion) -> dict[Metric, Estimate]:
    """Leave out pairs of which neither side is a known class: whether such a prediction was right can't be told."""
    counts = confusion.counts.copy()
    counts[-1, -1] = 0
    found = multiclass_metrics(counts)
    return {
        "accuracy": found["accuracy"],
        "macro_precision": found["precision"],
        "macro_recall": found["recall"],
        "macro_f1": found["f1"],
    }


def _binary(confusion: Confusion, positive: Mask) -> dict[Metric, Estimate]:
    sides = (~positive, positive)
    table = np.array([[confusion.counts[np.ix_(rows, columns)].sum() for columns in sides] for rows in sides], np.int64)
    found = binary_metrics(table)
    histogram = np.stack([confusion.by_score[:, side].sum(axis=1) for side in sides], axis=1)
    area = roc_auc(histogram)
    return {
        "accuracy": found["accuracy"],
        "precision": found["precision"],
        "recall": found["recall"],
        "f1": found["f1"],
        "roc_auc": UNDEFINED if area.value is None else Estimate(area.value, area.low, area.high, int(histogram.sum())),
    }


def _regression(parts: Sequence[tuple[Ints, Profile]]) -> dict[Metric, Estimate]:
    scale = Fraction(parts[0][1].error_scale)
    n, absolute, squares = 0, Fraction(0), Fraction(0)
    for vector, profile in parts:
        ratio = Fraction(profile.error_scale) / scale
        sums = vector[3:].reshape(3, LIMBS)
        n += int(vector[0])
        absolute += limbs_value(sums[0]) * ratio
        squares += limbs_value(sums[2]) * ratio**2
    found = regression_metrics(n, round(absolute), round(squares), float(scale))
    return {"mae": found["mae"], "rmse": found["rmse"]}


def watched_errors(vector: Ints, profile: Profile) -> tuple[Ints, Ints, Ints]:
    """Return (counts, sums, sums of squares) of the error series that concept-drift detectors watch.

    Returns
    -------
    Three int64 arrays with one entry a series, see `error_series`.
    """
    if profile.task == "regression":
        return vector[0:1], vector[1:2], vector[2:3]
    counts = _by_classes(*unpack_cells(vector), profile)[:, :-1]
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
