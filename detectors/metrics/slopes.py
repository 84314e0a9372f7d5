"""How does a metric move with one more row? Values and slopes over weighted counts, to say how sure the metric is.

A metric of counts is, nearly, linear in each of them: the variance of what is counted, times the squares of the slopes,
is the metric's (delta method, infinitesimal jackknife). Counts need not be whole.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.metrics.sums import FloatArray

_OF_BINARY = {"precision": ("precision", 1), "recall": ("recall", 1), "specificity": ("recall", 0), "f1": ("f1", 1)}
_COUNTS = {"tp": (1, 1), "fp": (1, 0), "fn": (0, 1), "tn": (0, 0)}
DENOMINATORS = {"precision": (1.0, 0.0), "recall": (0.0, 1.0), "f1": (0.5, 0.5)}
"""How far a class's denominator moves with one more row that is predicted to be, and that truly is, of it."""

WEIGHTED = "weighted_"
"""Begins the names of means in which classes weigh by their share of the labels, which is drawn as well."""

_MEANS = ("macro_", WEIGHTED)


class Sloped(NamedTuple):
    """A metric, and how it moves with one more row in each cell: as many slopes as there are cells."""

    value: float
    slopes: FloatArray


def share_slopes(name: str, confusion: FloatArray, classes: tuple[str, ...]) -> Sloped | None:
    """Return a metric that follows from counts of predicted and true classes; None if it is none, or not defined.

    Parameters
    ----------
    name
        ``accuracy``, a mean of classes (``macro_f1``, ``weighted_f1``), a class's (``f1.CLASS``), or of two classes
        ``precision``, ``recall``, ``specificity``, ``f1`` and, as shares of all rows, ``tp``, ``fp``, ``fn``, ``tn``.
    confusion
        float64 [predicted, true]; last may be a class that nobody knows.
    classes
        Names of the known classes.

    Examples
    --------
    >>> found = share_slopes("recall", np.array([[50.0, 10.0], [5.0, 30.0]]), ("negative", "positive"))
    >>> found.value, found.slopes.round(5).tolist()
    (0.75, [[0.0, -0.01875], [0.0, 0.00625]])
    """
    k, n, hits = len(confusion), confusion.sum(), np.diagonal(confusion)
    if name == "accuracy":
        value = float(hits.sum() / n)
        return Sloped(value, (np.eye(k) - value) / n)
    if name in _COUNTS and len(classes) == 2:
        value = float(confusion[_COUNTS[name]] / n)
        slopes = np.full((k, k), -value / n)
        slopes[_COUNTS[name]] += 1.0 / n
        return Sloped(value, slopes)
    predicted, true = confusion.sum(axis=1), confusion.sum(axis=0)
    averaged = class_weights(name, classes, true, (predicted + true) > 0)
    if averaged is None:
        return None
    kind, weights = averaged
    of_predicted, of_true = DENOMINATORS[kind]
    below = of_predicted * predicted + of_true * true
    if not below @ weights and not name.startswith(_MEANS):  # in a mean, a class without a denominator counts as 0
        return None
    safe = np.where(below > 0, below, 1.0)
    values = hits / safe
    value = float(values @ weights)
    by_class = values * weights / safe
    slopes = np.diag(weights / safe) - of_predicted * by_class[:, None] - of_true * by_class[None, :]
    if name.startswith(WEIGHTED):
        slopes = slopes + (values - value)[None, :] / n
    return Sloped(value, slopes)


def class_weights(
    name: str, classes: tuple[str, ...], true: FloatArray, seen: NDArray[np.bool_]
) -> tuple[str, FloatArray] | None:
    """Return of which kind of class metric (see `DENOMINATORS`) a metric is the mean, and how classes weigh; else None.

    Parameters
    ----------
    name, classes
        As in `share_slopes`.
    true
        float64 [classes]; rows that truly are of each.
    seen
        bool [classes]; which of them occur, and so count in a plain mean.

    Examples
    --------
    >>> kind, weights = class_weights("weighted_f1", ("a", "b"), np.array([30.0, 10.0]), np.array([True, True]))
    >>> kind, weights.tolist()
    ('f1', [0.75, 0.25])
    """
    one = np.eye(len(true))
    kind, _, of_class = name.partition(".")
    how, _, averaged = name.partition("_")
    if name in _OF_BINARY and len(classes) == 2:
        kind, place = _OF_BINARY[name]
        return kind, one[place]
    if of_class:
        return (kind, one[classes.index(of_class)]) if of_class in classes else None
    if averaged not in DENOMINATORS:
        return None
    if how == "weighted":
        return averaged, true / true.sum()
    return averaged, seen / seen.sum()


def area_slopes(histogram: FloatArray) -> Sloped:
    """Return the area under the ROC curve; pairs within a bin count half.

    Parameters
    ----------
    histogram
        float64 [bins, 2]; rows by rising score, columns are true negatives and positives. Both occur.

    Notes
    -----
    A row's slope is how far the share of rows of the other class that it is in the right order with lies above the
    area, by the rows of its own class (DeLong's placements).

    References
    ----------
    .. [1] E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, "Comparing the areas under two or more correlated
       receiver operating characteristic curves", Biometrics 44, 1988.

    Examples
    --------
    >>> area_slopes(np.array([[30.0, 0.0], [10.0, 10.0], [0.0, 30.0]])).value
    0.96875
    """
    negatives, positives = histogram.sum(axis=0)
    below = np.cumsum(histogram[:, 0]) - histogram[:, 0] / 2.0
    above = positives - np.cumsum(histogram[:, 1]) + histogram[:, 1] / 2.0
    area = float((below * histogram[:, 1]).sum() / (negatives * positives))
    placements = np.stack([above / positives - area, below / negatives - area], axis=1)
    return Sloped(area, placements / (negatives, positives))


def average_precision_slopes(histogram: FloatArray) -> Sloped:
    """Return the average precision; rows of a bin are one threshold.

    Parameters
    ----------
    histogram
        As for `area_slopes`; there are positives.

    Examples
    --------
    >>> average_precision_slopes(np.array([[30.0, 0.0], [10.0, 10.0], [0.0, 30.0]])).value
    0.95
    """
    falling = histogram[::-1]
    positives = falling[:, 1]
    n_positives = positives.sum()
    reached = np.cumsum(falling, axis=0)
    hits, rows = reached[:, 1], reached.sum(axis=1)
    precision = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
    value = float((positives * precision).sum() / n_positives)

    def from_here_on(terms: FloatArray) -> FloatArray:
        summed: FloatArray = np.cumsum(np.where(rows > 0, terms / np.maximum(rows, 1e-300), 0.0)[::-1])[::-1]
        return summed

    of_negative = -from_here_on(positives * precision)
    of_positive = precision - value + from_here_on(positives) + of_negative
    return Sloped(value, np.stack([of_negative, of_positive], axis=1)[::-1] / n_positives)


def mean_slopes(counts: FloatArray, values: FloatArray) -> Sloped:
    """Return the mean of what rows are worth, by cell; there are rows.

    Examples
    --------
    >>> mean_slopes(np.array([3.0, 1.0]), np.array([0.0, 4.0]))
    Sloped(value=1.0, slopes=array([-0.25,  0.75]))
    """
    value = float((counts * values).sum() / counts.sum())
    return Sloped(value, (values - value) / counts.sum())
