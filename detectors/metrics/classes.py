"""How right were predicted classes? Everything from a confusion matrix of counts, exact.

A metric that is not defined (no positives, nothing predicted) is None with a reason, never NaN and never a made-up 0.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detectors.metrics.estimates import Z95, Estimate, proportion, undefined, wilson
from detectors.metrics.sums import FloatArray, IntArray

NO_LABELS = "no labels"
NO_POSITIVES = "no label is of the positive class"
NO_NEGATIVES = "no label is of the negative class"
NOTHING_PREDICTED = "nothing was predicted to be of the positive class"


def binary_metrics(confusion: IntArray, positive: int = 1) -> dict[str, Estimate]:
    """Return the metrics of the positive class that counts give.

    Parameters
    ----------
    confusion
        Counts, shape ``(2, 2)``: rows are predicted, columns are true classes.
    positive
        Index of the positive class.

    Returns
    -------
    dict
        ``accuracy``, ``precision``, ``recall``, ``specificity``, ``f1`` and the counts ``tp``, ``fp``, ``fn``, ``tn``;
        ``n`` is the denominator of the proportion that was measured.

    Notes
    -----
    F1 = 2J / (1 + J) where J = TP / (TP + FP + FN) is a proportion, so F1's interval is J's Wilson interval put through
    the same rising function; its ``n`` is TP + FP + FN. A count's interval is Wilson's of its share of all pairs: what
    as many pairs would bring.

    Examples
    --------
    >>> binary_metrics(np.array([[50, 10], [5, 35]]))["recall"].value
    0.7777777777777778
    """
    negative = 1 - positive
    tp, fp = int(confusion[positive, positive]), int(confusion[positive, negative])
    fn, tn = int(confusion[negative, positive]), int(confusion[negative, negative])
    n = tp + fp + fn + tn
    counts = {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    return {
        "accuracy": proportion(tp + tn, n, NO_LABELS),
        "precision": proportion(tp, tp + fp, NOTHING_PREDICTED if n else NO_LABELS),
        "recall": proportion(tp, tp + fn, NO_POSITIVES if n else NO_LABELS),
        "specificity": proportion(tn, tn + fp, NO_NEGATIVES if n else NO_LABELS),
        "f1": _f1(tp, fp + fn, f"{NO_POSITIVES}, and {NOTHING_PREDICTED}" if n else NO_LABELS),
        **{name: _count(count, n) for name, count in counts.items()},
    }


class ClassMetrics(NamedTuple):
    """Precision, recall and F1 of one class."""

    precision: Estimate
    recall: Estimate
    f1: Estimate


def class_metrics(confusion: IntArray) -> list[ClassMetrics]:
    """Return the metrics of each class, by its place.

    Parameters
    ----------
    confusion
        Counts, shape ``(K, K)``: rows are predicted, columns are true classes.
    """
    correct = np.diagonal(confusion).tolist()
    predicted, true = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    return [
        ClassMetrics(
            proportion(hits, of_predicted, "the class was never predicted"),
            proportion(hits, of_true, "no label is of the class"),
            _f1(hits, of_predicted + of_true - 2 * hits, "the class occurs in neither predictions nor labels"),
        )
        for hits, of_predicted, of_true in zip(correct, predicted, true, strict=True)
    ]


def multiclass_metrics(confusion: IntArray) -> dict[str, Estimate]:
    """Return accuracy and the class means of precision, recall and F1.

    Parameters
    ----------
    confusion
        Counts, shape ``(K, K)``: rows are predicted, columns are true classes.

    Returns
    -------
    dict
        ``accuracy``; ``macro_precision``, ``macro_recall``, ``macro_f1`` as scikit-learn's macro average with
        ``zero_division=0`` over the classes that occur in truth or predictions; ``weighted_…`` weighs classes by their
        labels.

    Notes
    -----
    The interval of a mean of classes adds the squared distances to the classes' own Wilson bounds (MOVER), which keeps
    it honest where a rare class scores 0 or 1. Recalls are independent given the true totals, precisions given the
    predicted ones. F1 is not: each mistake counts in two classes, which at most doubles the variance, so it is doubled.
    The weights of weighted means are shares of the labels, which vary as well: the more, the farther classes are apart.

    References
    ----------
    .. [1] G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine
       27, 2008.
    """
    n = int(confusion.sum())
    if not n:
        kinds = [f"{how}_{kind}" for how in ("macro", "weighted") for kind in ClassMetrics._fields]
        return {name: undefined(NO_LABELS) for name in ("accuracy", *kinds)}
    true = confusion.sum(axis=0)
    seen = np.flatnonzero(true + confusion.sum(axis=1))
    classes = class_metrics(confusion[np.ix_(seen, seen)])
    weights = {"macro": np.full(len(seen), 1.0 / len(seen)), "weighted": true[seen] / n}
    return {
        "accuracy": proportion(int(np.trace(confusion)), n, NO_LABELS),
        **{
            f"{how}_{kind}": _mean(list(of_kind), of, n, 2.0 if kind == "f1" else 1.0, are_drawn=how == "weighted")
            for how, of in weights.items()
            for kind, of_kind in zip(ClassMetrics._fields, zip(*classes, strict=True), strict=True)
        },
    }


def _count(count: int, n: int) -> Estimate:
    if not n:
        return undefined(NO_LABELS)
    low, high = wilson(count, n)
    return Estimate(float(count), low * n, high * n, n)


def _f1(hits: int, mistakes: int, nothing: str) -> Estimate:
    if not hits + mistakes:
        return undefined(nothing)
    low, high = (2.0 * share / (1.0 + share) for share in wilson(hits, hits + mistakes))
    return Estimate(2 * hits / (2 * hits + mistakes), low, high, hits + mistakes)


def _mean(classes: Sequence[Estimate], weights: FloatArray, n: int, inflation: float, *, are_drawn: bool) -> Estimate:
    # A class without a denominator scores 0 by convention, though it might be anything.
    bounds = [(0.0, 0.0, 1.0) if of.value is None else (of.value, of.low or 0.0, of.high or 0.0) for of in classes]
    of = weights.tolist()
    mean = math.fsum(weight * value for weight, (value, _, _) in zip(of, bounds, strict=True))
    apart = math.fsum(weight * (value - mean) ** 2 for weight, (value, _, _) in zip(of, bounds, strict=True))
    of_weights = Z95**2 * apart / n if are_drawn else 0.0
    below, above = (
        math.sqrt(
            of_weights
            + inflation * math.fsum((weight * distance) ** 2 for weight, distance in zip(of, distances, strict=True))
        )
        for distances in ([value - low for value, low, _ in bounds], [high - value for value, _, high in bounds])
    )
    return Estimate(mean, max(0.0, mean - below), min(1.0, mean + above), n)
