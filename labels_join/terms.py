"""Of which sums is a metric the ratio? Numerators and denominators of outcome vectors, in all and by score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints, Mask
from driftline.settings.metrics import Metric
from labels_join.outcomes import outcome_histogram, outcome_shape

_Sums = Callable[[Ints, Mask, Mask], tuple[Ints, Ints]]
"""From counts by cell, and whether each cell's prediction and truth are positive."""

_BINARY: dict[Metric, _Sums] = {
    "accuracy": lambda n, predicted, true: (n * (predicted == true), n),
    "precision": lambda n, predicted, true: (n * (predicted & true), n * predicted),
    "recall": lambda n, predicted, true: (n * (predicted & true), n * true),
    "specificity": lambda n, predicted, true: (n * ~(predicted | true), n * ~true),
    "f1": lambda n, predicted, true: (2 * n * (predicted & true), n * predicted + n * true),
}


def is_ratio(profile: Profile, metric: Metric) -> bool:
    """Say whether a metric can be told apart by parts of the traffic."""
    return profile.task == "binary" and metric in _BINARY


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
    positive = np.array([*(name == positive_class for name in profile.classes), positive_class not in profile.classes])
    pairs = cells // n_score_bins
    sums = _BINARY[metric](n, positive[pairs % n_classes], positive[pairs // n_classes])
    found = np.zeros((n_score_bins, 2), np.int64)
    for place, of in enumerate(sums):
        np.add.at(found[:, place], cells % n_score_bins, of)
    return found
