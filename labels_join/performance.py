"""Live metrics from merged outcome vectors: which values, intervals and sizes does a window have?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from detectors.summaries import Ints, unpack_cells
from labels_join.outcomes import outcome_shape


@dataclass(frozen=True, slots=True)
class Confusion:
    """Outcomes of one window of a classification model.

    Parameters
    ----------
    counts
        int64 [predicted, true]; both axes in the order of the profile's classes, last the classes it does not know.
    by_score
        int64 [score bins, true]; without pairs that carry no score.
    """

    counts: Ints
    by_score: Ints


def confusion_of(vector: Ints, profile: Profile) -> Confusion:
    """Unpack a merged outcome vector of a classification model.

    Pairs of which neither side is a known class are left out: whether such a prediction was right can't be told.
    """
    n_classes, _, n_score_bins = outcome_shape(profile)
    cells, n = unpack_cells(vector)
    truth, predicted = cells // (n_classes * n_score_bins), cells // n_score_bins % n_classes
    known = (truth < n_classes - 1) | (predicted < n_classes - 1)
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (predicted[known], truth[known]), n[known])
    by_score = np.zeros((n_score_bins, n_classes), np.int64)
    np.add.at(by_score, (cells % n_score_bins, truth), n)
    return Confusion(counts, by_score[:-1])


def metrics_of(vector: Ints, profile: Profile, positive_class: str | None) -> dict[str, Estimate]:
    """Compute every metric of a model's task from a merged outcome vector.

    Parameters
    ----------
    vector
        int64; see `labels_join.outcomes`.
    positive_class
        For binary tasks, its canonical text.

    Returns
    -------
    By metric; None values where a metric is not defined, never NaN.
    """
    if profile.task == "regression":
        sums = vector[3:].reshape(3, LIMBS)
        return regression_metrics(int(vector[0]), limbs_value(sums[0]), limbs_value(sums[2]), profile.error_scale)
    confusion = confusion_of(vector, profile)
    if profile.task == "multiclass":
        return multiclass_metrics(confusion.counts)
    return _binary(confusion, _place(profile.classes, positive_class))


def _place(classes: Sequence[str], name: str | None) -> int:
    return classes.index(name) if name in classes else len(classes)


def _binary(confusion: Confusion, positive: int) -> dict[str, Estimate]:
    known_truth = confusion.counts[:, :-1] if positive < confusion.counts.shape[1] - 1 else confusion.counts
    at = np.arange(known_truth.shape[1]) == positive
    predicted_positive = known_truth[positive]
    predicted_negative = known_truth.sum(axis=0) - predicted_positive
    table = np.array(
        [
            [predicted_negative[~at].sum(), predicted_negative[at].sum()],
            [predicted_positive[~at].sum(), predicted_positive[at].sum()],
        ],
        np.int64,
    )
    by_score = confusion.by_score[:, : known_truth.shape[1]]
    area = roc_auc(np.stack((by_score[:, ~at].sum(axis=1), by_score[:, at].sum(axis=1)), axis=1))
    metrics = dict(binary_metrics(table))
    metrics["roc_auc"] = (
        UNDEFINED if area.value is None else Estimate(area.value, area.low, area.high, int(by_score.sum()))
    )
    return metrics


def watched_errors(vector: Ints, profile: Profile) -> tuple[Ints, Ints, Ints]:
    """Return (counts, sums, sums of squares) of the error series that concept-drift detectors watch.

    Returns
    -------
    Three int64 arrays with one entry a series, see `error_series`.
    """
    if profile.task == "regression":
        return vector[0:1], vector[1:2], vector[2:3]
    counts = confusion_of(vector, profile).counts[:, :-1]
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
