"""Of which sums is a metric the ratio? Numerators and denominators of outcome vectors, in all and by score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints, Mask
from driftline.settings.metrics import CLASS_METRICS, Metric
from labels_join.outcomes import outcome_histogram, outcome_shape

_Sums = Callable[[Ints, Mask, Mask], tuple[Ints, Ints]]
"""From counts by cell, and whether each cell's prediction and truth are positive, or of the class that is meant."""

_RATIOS: dict[Metric, _Sums] = {
    "accuracy": lambda n, predicted, true: (n * (predicted == true), n),
    "precision": lambda n, predicted, true: (n * (predicted & true), n * predicted),
    "recall": lambda n, predicted, true: (n * (predicted & true), n * true),
    "specificity": lambda n, predicted, true: (n * ~(predicted | true), n * ~true),
    "f1": lambda n, predicted, true: (2 * n * (predicted & true), n * predicted + n * true),
}


def is_ratio(profile: Profile, metric: Metric) -> bool:
    """Say whether a metric can be told apart by parts of the traffic."""
    kind, _, of_class = metric.partition(".")
    if profile.task == "multiclass":
        return metric == "accuracy" or (kind in CLASS_METRICS and of_class in profile.classes)
    return profile.task == "binary" and metric in _RATIOS


def terms(vector: Ints, profile: Profile, positive_class: str | None, metric: Metric) -> Ints:
    """Return numerator and denominator of a metric by score bin.

    Parameters
    ----------
    vector
        A merged outcome vector, see `labels_join.outcomes`.
    metric
        One for which `is_ratio` holds.

    Returns
    -------
    int64 [score bins, 2]; the last bin is of pairs without a score. The sums over all bins are those of the metric.
    """
    n_classes, _, n_score_bins = outcome_shape(profile)
    cells, n = outcome_histogram(vector, profile)
    pairs = cells // n_score_bins
    predicted, true = pairs % n_classes, pairs // n_classes
    kind, _, of_class = metric.partition(".")
    if profile.task == "multiclass":
        # Where neither side is a known class, whether the prediction was right can't be told.
        n = np.where(np.minimum(predicted, true) < len(profile.classes), n, 0)
    if profile.task == "multiclass" and not of_class:
        sums: tuple[Ints, Ints] = (n * (predicted == true), n)
    else:
        meant = of_class or positive_class
        positive = np.array([*(name == meant for name in profile.classes), meant not in profile.classes])
        sums = _RATIOS[kind](n, positive[predicted], positive[true])
    found = np.zeros((n_score_bins, 2), np.int64)
    for place, of in enumerate(sums):
        np.add.at(found[:, place], cells % n_score_bins, of)
    return found
