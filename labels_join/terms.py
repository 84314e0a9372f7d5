"""Of which sums is a metric the ratio? Numerators and denominators of outcome vectors, in all and by score.

A ratio of counts can be told apart by score, too; a mean of errors, losses or rewards only as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from detectors.metrics import LIMBS, STEPS_PER_SCALE, limbs_value
from detectors.reference.effects import Sum, sum_of
from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints, Mask
from driftline.events import Floats
from driftline.settings.metrics import CLASS_METRICS, Metric
from labels_join.outcomes import (
    LOSS_STEPS,
    RELATIVE_STEPS,
    REWARD_STEPS,
    OutcomeSums,
    outcome_histogram,
    outcome_shape,
    outcome_sums,
)

ERROR_SCALE_MAX = 1e290
"""Of errors in larger scales the parts may be more than a float holds."""

_Sums = Callable[[Ints, Mask, Mask], tuple[Ints, Ints]]
"""From counts by cell, and whether each cell's prediction and truth are positive, or of the class that is meant."""

_RATIOS: dict[Metric, _Sums] = {
    "accuracy": lambda n, predicted, true: (n * (predicted == true), n),
    "precision": lambda n, predicted, true: (n * (predicted & true), n * predicted),
    "recall": lambda n, predicted, true: (n * (predicted & true), n * true),
    "specificity": lambda n, predicted, true: (n * ~(predicted | true), n * ~true),
    "f1": lambda n, predicted, true: (2 * n * (predicted & true), n * predicted + n * true),
}


def _of_errors(place: int, steps: int) -> Callable[[Ints, OutcomeSums], tuple[float, float]]:
    limbs = slice(place * LIMBS, (place + 1) * LIMBS)
    return lambda vector, at: (limbs_value(vector[at.errors][limbs]) / steps, float(vector[at.watched.start]))


def _counted(sums: Ints, steps: float) -> tuple[float, float]:
    return limbs_value(sums[1 : 1 + LIMBS]) / steps, float(sums[0])


_MEANS: Mapping[Metric, Callable[[Ints, OutcomeSums], tuple[float, float]]] = {
    "mae": _of_errors(0, STEPS_PER_SCALE),
    "bias": _of_errors(1, STEPS_PER_SCALE),
    "rmse": _of_errors(2, STEPS_PER_SCALE**2),
    "mape": lambda vector, at: _counted(vector[at.relative], RELATIVE_STEPS),
    "reward_mean": lambda vector, at: _counted(vector[at.rewards], REWARD_STEPS),
}
"""Sum and number of what is averaged: errors in the reference's error scale, and its square."""

_LOSSES = ("brier", "log_loss")

_Weights = tuple[dict[str, float], float]
"""By what effects are of, how often it counts in a sum; and what every row adds besides."""

_EFFECTS: Mapping[Metric, tuple[_Weights, _Weights]] = {
    "accuracy": (({"hit": 2.0, "predicted": -1.0, "true": -1.0}, 1.0), ({}, 1.0)),
    "precision": (({"hit": 1.0}, 0.0), ({"predicted": 1.0}, 0.0)),
    "recall": (({"hit": 1.0}, 0.0), ({"true": 1.0}, 0.0)),
    "specificity": (({"hit": 1.0, "predicted": -1.0, "true": -1.0}, 1.0), ({"true": -1.0}, 1.0)),
    "f1": (({"hit": 2.0}, 0.0), ({"predicted": 1.0, "true": 1.0}, 0.0)),
    "mae": (({"absolute": 1.0}, 0.0), ({}, 1.0)),
    "rmse": (({"square": 1.0}, 0.0), ({}, 1.0)),
    "bias": (({"error": 1.0}, 0.0), ({}, 1.0)),
}


class Ratio(NamedTuple):
    """How a metric follows from the ratio of its sums: times `unit`, of its root if it `is_root`."""

    unit: float = 1.0
    is_root: bool = False


def ratio_of(profile: Profile, metric: Metric) -> Ratio | None:
    """Say how a metric follows from a ratio of sums over parts of the traffic, or None where it does not.

    Examples
    --------
    >>> ratio_of(Profile("regression", (), 0, (), (), (), 20.0, None), "rmse")
    Ratio(unit=20.0, is_root=True)
    """
    kind, _, of_class = metric.partition(".")
    if metric == "reward_mean":
        return Ratio()
    if profile.task == "regression":
        unit = 1.0 if metric == "mape" else profile.error_scale
        return Ratio(unit, metric == "rmse") if metric in _MEANS and unit <= ERROR_SCALE_MAX else None
    if profile.task == "multiclass":
        is_one = metric == "accuracy" or (kind in CLASS_METRICS and of_class in profile.classes)
    else:
        is_one = metric in _RATIOS or metric in _LOSSES
    return Ratio() if is_one else None


def terms(vector: Ints, profile: Profile, positive_class: str | None, metric: Metric) -> Floats:
    """Return numerator and denominator of a metric by score bin, or in all.

    Parameters
    ----------
    vector
        A merged outcome vector, see `labels_join.outcomes`.
    metric
        One that has a `ratio_of`.

    Returns
    -------
    float64 [score bins, 2] of a ratio of counts; the last bin is of pairs without a score. float64 [1, 2] of a mean.
    The sums over all rows are those of the metric.
    """
    at = outcome_sums(profile.task)
    if metric in _MEANS:
        return np.array([_MEANS[metric](vector, at)])
    n_classes, _, n_score_bins = outcome_shape(profile)
    cells, n = outcome_histogram(vector, profile)
    if metric in _LOSSES:
        loss = dict(zip(LOSS_STEPS, vector[at.losses].tolist(), strict=True))[metric] / LOSS_STEPS[metric]
        return np.array([[loss, n[cells % n_score_bins < n_score_bins - 1].sum()]], np.float64)
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
    found = np.zeros((n_score_bins, 2))
    for place, of in enumerate(sums):
        np.add.at(found[:, place], cells % n_score_bins, of)
    return found


def expected_terms(profile: Profile, positive_class: str | None, metric: Metric) -> tuple[Sum, Sum] | None:
    """Return what the reference's effects say of a metric's numerator and denominator, or None where they say nothing.

    Errors are in the unit of `ratio_of`.
    """
    kind, _, of_class = metric.partition(".")
    effects = profile.effects
    if effects is None or kind not in _EFFECTS:
        return None
    counts = [feature.counts for feature in profile.features]
    if profile.task == "multiclass" and not of_class:
        weights: tuple[_Weights, _Weights] = (({"right": 1.0}, 0.0), ({}, 1.0))
    elif profile.task == "regression":
        weights = _EFFECTS[kind]
    else:
        meant = of_class or positive_class
        if f"hit.{meant}" not in effects.of:
            return None
        numerator, denominator = (
            ({f"{name}.{meant}": weight for name, weight in of.items()}, one) for of, one in _EFFECTS[kind]
        )
        weights = numerator, denominator
    numerator_sum, denominator_sum = (sum_of(effects, of, one, counts) for of, one in weights)
    return numerator_sum, denominator_sum
