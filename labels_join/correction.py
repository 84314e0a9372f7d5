"""What would a window's metrics be if no label were late? Pure functions.

Each labelled pair counts for as many as its own label stands for, 1 / P(in by now | class, score, age). A corrected
metric has the interval that it would have of as many rows, all of them labelled, as would be as unsure. What is not
kept by true class and score can't be weighed like this and is not corrected: rewards, and errors of a regression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.metrics import (
    Z95,
    Estimate,
    Sloped,
    area_interval,
    area_slopes,
    average_precision_slopes,
    calibration_error,
    calibration_groups,
    logit_interval,
    mean_slopes,
    rows_as_unsure,
    share_slopes,
    times,
    wilson,
)
from detectors.reference.building import SCORE_BINS
from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints
from driftline.events import Floats
from labels_join.delays import DelayCurves, by_score_of, score_groups, strata_of
from labels_join.outcomes import PROBABILITY_MIN

WEIGHT_MAX = 20.0
"""A label that stands for more is no evidence yet."""

TOO_YOUNG = "too few of its labels can be in by now"
NO_LABEL = "no label is in yet"
NOT_BY_CLASS = "what it sums up is not kept by class and score, as delays are"


class LateGrain(NamedTuple):
    """The pairs of one of a window's grains, as far as delays tell them apart.

    Parameters
    ----------
    age_ms
        How long ago the grain ended.
    strata
        int64 [predicted, true, score groups]; see `strata_of`.
    by_score
        Binary tasks: int64 [score bins, 2], negatives and positives; empty otherwise.
    """

    age_ms: int
    strata: Ints
    by_score: Ints

    @classmethod
    def of(cls, age_ms: int, vector: Ints, profile: Profile, positive_class: str | None) -> LateGrain:
        """Take a grain's merged outcome vector apart."""
        is_binary = profile.task == "binary"
        by_score = by_score_of(vector, profile, positive_class) if is_binary else np.zeros((0, 2), np.int64)
        return cls(age_ms, strata_of(vector, profile, positive_class), by_score)


class Corrected(NamedTuple):
    """Metrics of a window as if no label were late, by name, and what share of its labels is in.

    Parameters
    ----------
    reason
        Why there are none; None where there may be some.
    """

    metrics: Mapping[str, Estimate]
    expected_coverage: float | None
    mature_after_ms: int | None
    reason: str | None

    def why_not(self, metric: str) -> str | None:
        """Return why a metric is not corrected; None where it is."""
        return None if metric in self.metrics else self.reason or NOT_BY_CLASS


def corrected(
    curves: DelayCurves | str, grains: Sequence[LateGrain], metrics: Mapping[str, Estimate], profile: Profile
) -> Corrected:
    """Correct a window's metrics for labels that are late in an informative way.

    Parameters
    ----------
    curves
        What is known of delays, or why nothing is.
    grains
        Those of the window that have pairs.
    metrics
        What the labels that are in say; those that are not defined are left alone.
    profile
        The reference that the pairs were counted under.

    Notes
    -----
    The variance of a metric adds the noise of the pairs, sum (weight x slope)², and that of the delays.

    References
    ----------
    .. [1] D. G. Horvitz and D. J. Thompson, "A generalization of sampling without replacement from a finite universe",
       JASA 47, 1952.
    """
    if isinstance(curves, str):
        return Corrected({}, None, None, curves)
    if not grains:
        return Corrected({}, None, curves.mature_after_ms, NO_LABEL)
    shares, _, of_all = zip(*(curves.at(grain.age_ms) for grain in grains), strict=True)
    if np.min(shares) * WEIGHT_MAX < 1.0:
        return Corrected({}, min(of_all), curves.mature_after_ms, TOO_YOUNG)
    n = sum(int(grain.strata.sum()) for grain in grains)
    whole = sum(float((grain.strata / share).sum()) for grain, share in zip(grains, shares, strict=True))
    expected = n / whole if whole > 0 else min(of_all)
    return Corrected(_metrics(curves, grains, metrics, profile), expected, curves.mature_after_ms, None)


def _metrics(
    curves: DelayCurves, grains: Sequence[LateGrain], metrics: Mapping[str, Estimate], profile: Profile
) -> dict[str, Estimate]:
    if profile.task == "regression":
        return {}
    defined = {name: naive for name, naive in metrics.items() if naive.value is not None}
    of_scores = {name: naive for name, naive in defined.items() if name in _OF_SCORES}
    found: dict[str, Estimate | None] = {}
    if of_scores:
        scored = _scored(curves, grains, profile)
        found |= {name: _OF_SCORES[name](scored, profile, naive) for name, naive in of_scores.items()}
    classes = ("negative", "positive") if profile.task == "binary" else profile.classes
    pairs = _classified(curves, grains, len(classes))
    if pairs.n:
        found |= {name: _share(name, pairs, classes) for name in defined if name not in of_scores}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _classified(curves: DelayCurves, grains: Sequence[LateGrain], n_classes: int) -> _Weighed:
    """Weigh pairs by predicted class, true class and group of scores."""
    counts = np.stack([grain.strata for grain in grains])
    if counts.shape[2] > n_classes:
        counts[:, -1, -1] = 0  # of neither side a known class: as in the metrics, nobody can tell whether it was right
    stratum = np.arange(curves.has_own.size).reshape(curves.has_own.shape)
    return _weighed(curves, grains, counts, np.broadcast_to(stratum, counts.shape[1:]))


def _scored(curves: DelayCurves, grains: Sequence[LateGrain], profile: Profile) -> _Weighed:
    """Weigh a binary task's pairs by score bin and true class."""
    stratum = np.arange(curves.has_own.size).reshape(curves.has_own.shape).T[score_groups(profile)[:-1]]
    return _weighed(curves, grains, np.stack([grain.by_score for grain in grains]), stratum)


@dataclass(frozen=True)
class _Weighed:
    """Pairs by cell, each weighed by what its label stands for; a cell is of one class and group of scores.

    Parameters
    ----------
    n
        Pairs.
    seen
        int64 [cells …]; pairs.
    counts
        float64 [cells …]; the sums of their weights.
    squares
        float64 [cells …]; and of the squares of these.
    of_grain
        float64 [grains, cells …]; the sums of weights of each grain.
    errors
        float64 [grains, estimates]; standard errors of the logarithms of weights.
    estimate
        int64 [cells …]; which estimate of delays a cell's weights follow from.
    """

    n: int
    seen: Ints
    counts: Floats
    squares: Floats
    of_grain: Floats
    errors: Floats
    estimate: Ints

    def variance(self, slopes: Floats) -> float:
        """Return how unsure a metric is, with slopes [cells …]: the noise of pairs, and that of delays."""
        n_estimates = self.errors.shape[1]
        pulls = [np.bincount(self.estimate.ravel(), (of * slopes).ravel(), n_estimates) for of in self.of_grain]
        # One delay is behind all grains of an estimate: at worst they are all off to one side.
        of_delays = (np.abs(np.stack(pulls) * self.errors).sum(axis=0) ** 2).sum()
        return float((self.squares * slopes**2).sum() + of_delays)

    def inflation(self, slopes: Floats) -> float:
        """Return how many times as unsure a metric is as if so many pairs had just been counted."""
        plain = float((self.counts * slopes**2).sum())
        return self.variance(slopes) / plain if plain > 0 else float(self.squares.sum() / self.counts.sum())


def _weighed(curves: DelayCurves, grains: Sequence[LateGrain], counts: Ints, stratum: Ints) -> _Weighed:
    """Weigh the pairs of grains.

    Parameters
    ----------
    counts
        int64 [grains, cells …].
    stratum
        int64 [cells …]; place of each cell's class and group of scores among all.
    """
    own = curves.has_own.ravel()
    n_strata, n_groups = own.size, curves.has_own.shape[1]
    # Groups without delays of their own have those of their class, which come behind.
    estimate = np.where(own, np.arange(n_strata), n_strata + np.arange(n_strata) // n_groups)
    known = [curves.at(grain.age_ms) for grain in grains]
    weights = np.stack([1.0 / share.ravel() for share, _, _ in known])[:, stratum]
    errors = np.zeros((len(grains), n_strata + len(curves.has_own)))
    errors[:, estimate] = np.sqrt([variance.ravel() for _, variance, _ in known])
    of_grain = counts * weights
    squares = (of_grain * weights).sum(axis=0)
    return _Weighed(
        int(counts.sum()), counts.sum(axis=0), of_grain.sum(axis=0), squares, of_grain, errors, estimate[stratum]
    )


def _share(name: str, pairs: _Weighed, classes: tuple[str, ...]) -> Estimate | None:
    """Correct a metric of counts: Wilson's interval of as many rows as would be as unsure, which is its `n`."""
    found = share_slopes(name, pairs.counts.sum(axis=2), classes)
    if found is None:
        return None
    variance = pairs.variance(np.broadcast_to(found.slopes[:, :, None], pairs.counts.shape))
    worth = min(rows_as_unsure(found.value, variance, pairs.n), float(pairs.n))
    share = Estimate(found.value, *wilson(found.value * worth, worth), round(worth))
    return times(share, float(pairs.counts.sum())) if name in ("tp", "fp", "fn", "tn") else share


def _area(scored: _Weighed, profile: Profile, naive: Estimate) -> Estimate:
    found = area_slopes(scored.counts)
    inflation = scored.inflation(found.slopes)
    negatives, positives = (scored.counts.sum(axis=0) / inflation).tolist()
    return _estimate(found, area_interval(found.value, negatives, positives), scored, inflation)


def _average_precision(scored: _Weighed, profile: Profile, naive: Estimate) -> Estimate:
    found = average_precision_slopes(scored.counts)
    inflation = scored.inflation(found.slopes)
    interval = logit_interval(found.value, float(scored.counts[:, 1].sum()) / inflation)
    return _estimate(found, interval, scored, inflation)


def _calibration_error(scored: _Weighed, profile: Profile, naive: Estimate) -> Estimate:
    starts = calibration_groups(len(scored.counts))
    ends = [*starts[1:].tolist(), len(scored.counts)]
    inflation, unsure, plain = np.ones(len(starts)), 0.0, 0.0
    for place, (start, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
        rows = scored.counts[start:end].sum(axis=0)
        if rows.all():
            slopes = np.zeros(scored.counts.shape)
            slopes[start:end] = np.array([-rows[1], rows[0]]) / rows.sum() ** 2
            inflation[place] = scored.inflation(slopes)
            plain += (of_group := float(rows.prod() / rows.sum()))
            unsure += of_group * inflation[place]
        elif rows.any():
            inflation[place] = scored.squares[start:end].sum() / rows.sum()
    found = calibration_error(scored.counts, np.array(profile.score_edges), inflation)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    sloped = Sloped(found.value, np.empty(0))
    return _estimate(sloped, (found.low, found.high), scored, unsure / plain if plain else float(inflation.max()))


def _brier(scored: _Weighed, profile: Profile, naive: Estimate) -> Estimate:
    return _loss(scored, _by_bin(profile, np.square), naive)


def _log_loss(scored: _Weighed, profile: Profile, naive: Estimate) -> Estimate:
    return _loss(scored, _by_bin(profile, lambda wrong: -np.log(np.clip(1.0 - wrong, PROBABILITY_MIN, 1.0))), naive)


def _loss(scored: _Weighed, losses: Floats, naive: Estimate) -> Estimate:
    """Move the exact mean of the losses that are known by what weights do to the mean losses of their bins."""
    found = mean_slopes(scored.counts, losses)
    unweighed = float((scored.seen * losses).sum() / scored.n)
    assert naive.value is not None
    value = max(0.0, naive.value + found.value - unweighed)
    if scored.n == 1:
        return Estimate(value, None, None, 1)  # as of a mean: a single value has no interval
    # Losses are skewed: a few pairs make up much of them, and their mean is more nearly normal as a logarithm.
    factor = math.exp(Z95 * scored.variance(found.slopes) ** 0.5 / value) if value > 0.0 else 1.0
    interval = value / factor, value * factor
    return _estimate(Sloped(value, found.slopes), interval, scored, scored.inflation(found.slopes))


def _estimate(found: Sloped, interval: tuple[float, float], scored: _Weighed, inflation: float) -> Estimate:
    return Estimate(found.value, *interval, round(min(float(scored.counts.sum()) / inflation, float(scored.n))))


_OF_SCORES = {
    "roc_auc": _area,
    "pr_auc": _average_precision,
    "ece": _calibration_error,
    "brier": _brier,
    "log_loss": _log_loss,
}


def _by_bin(profile: Profile, loss: Callable[[Floats], Floats]) -> Floats:
    """Return float64 [score bins, 2]: the mean loss of a bin's negatives and positives, from how wrong a score is.

    Notes
    -----
    Edges are quantiles of the reference's scores, so next to none of its rows lie between two of them. Where a bin has
    many, they lie on its upper edge, as do those of a model of few distinct scores; elsewhere the middle is taken.
    """
    bounds = np.concatenate(([0.0], np.clip(profile.score_edges, 0.0, 1.0), [1.0]))
    rows = np.zeros(len(bounds))
    for score_bin, _, _, n in profile.score_counts:
        rows[score_bin] += n
    rows = rows[:-1]  # last is what has no score
    between = np.minimum(rows, rows.sum() / SCORE_BINS + 1.0)
    on_edge = np.divide(rows - between, rows, out=np.zeros_like(rows), where=rows > 0)[:, None]
    middle, edge = ((np.stack([of, 1.0 - of], axis=1)) for of in ((bounds[:-1] + bounds[1:]) / 2.0, bounds[1:]))
    losses: Floats = (1.0 - on_edge) * loss(middle) + on_edge * loss(edge)
    return losses
