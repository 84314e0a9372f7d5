"""Has a feature's distribution moved away from the reference, by enough to matter and by more than chance?

A distance of two histograms is the effect size, a two-sample test of the same counts is the evidence, and drift needs
both. Invariants: every bin counts, also missing and other, and no bin contributes infinity; the same counts and seed
give the same verdict in any order of calls; ``score >= threshold`` holds exactly when the level is ``drift``; a single
row never makes a drift; NaN never appears.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator

from detectors.noise.dependence import widest, worst_case
from detectors.windows.distances import DISTANCES, Distance, Histograms, Own, Pearsons
from detectors.windows.tables import (
    SIGNIFICANCE_MIN,
    SUSPICION,
    TIE,
    BoolArray,
    FloatArray,
    IntArray,
    Statistics,
    Tables,
    approximate,
    simulate,
    simulated_statistics,
    simulated_tables,
    statistics_of,
    tables_of,
)

Level = Literal["not_ready", "ok", "warning", "drift"]


@dataclass(frozen=True)
class Drift:
    """What one detector says about one feature of one window.

    Parameters
    ----------
    score
        The effect size, at least 0.
    threshold
        The score at which the level becomes ``drift``, at these sample sizes.
    p_value
        Chance of such a statistic if nothing has changed; above 0, at most 1.
    n_reference, n_current
        Sample sizes.
    level
        ``not_ready`` without data, ``warning`` for a significant score between half the gate and the gate.
    """

    score: float
    threshold: float
    p_value: float
    n_reference: int
    n_current: int
    level: Level


def judge(
    detector: str,
    of: Histograms,
    *,
    effect: float,
    significance: float,
    seed: int,
    dependence: FloatArray | None = None,
) -> list[Drift]:
    """Judge many features of one window at once.

    Parameters
    ----------
    detector
        Name of one of `detectors.windows.distances.DISTANCES`.
    of
        The counts of all features; every feature has at least one bin.
    effect
        The gate: least score that matters.
    significance
        Largest p-value that counts as a change; at least `SIGNIFICANCE_MIN`, or simulation could never reach it.
    seed
        Names the simulation's random numbers together with the feature's counts.
    dependence
        How many times as much a feature's shares vary, on average over the directions in which they can, as they would
        if rows were independent, shape ``(features,)``, at least 1; None if they are.

    Returns
    -------
    list of Drift
        One a feature, in order.

    Raises
    ------
    ValueError
        If `significance` is out of range.

    Notes
    -----
    PSI, Jensen-Shannon, Hellinger and chi-square measure what Pearson's two-sample statistic measures, so that is
    their evidence. Its null distribution, over bins that are not empty in both samples: chi-square if every expected
    count is at least 5; else a gamma distribution with the exact conditional mean and variance; else, for a feature
    that this makes suspicious and whose score is at least half the gate, a simulation given both margins. For
    Kolmogorov-Smirnov, Wasserstein and L-infinity, bounds from the normal limit tell which features are suspicious,
    and these are simulated. If exactly one row is the oddest and a single row may be significant there, it is left out.

    References
    ----------
    .. [1] J. B. S. Haldane, "The mean and variance of chi-squared, when used as a test of homogeneity, when
       expectations are small", Biometrika 31, 1940. R. B. Dawson, "A simplified expression for the variance of the
       chi-squared function on a contingency table", Biometrika 41, 1954.
    .. [2] J. N. K. Rao and A. J. Scott, "On chi-squared tests for multiway contingency tables with cell proportions
       estimated from survey data", Annals of Statistics 12, 1984: the division by the dependence, which for the
       statistics of one direction is that of all excess in that direction.

    Examples
    --------
    >>> from detectors.windows.distances import histograms
    >>> of = histograms(np.array([500, 500, 0, 0]), np.array([100, 400, 0, 0]), np.array([0]))
    >>> judge("psi", of, effect=0.1, significance=0.01, seed=1)[0].level
    'drift'
    """
    if not SIGNIFICANCE_MIN <= significance < 1.0:
        raise ValueError(f"significance must be from {SIGNIFICANCE_MIN} to below 1, not {significance}")
    if not of.starts.size:
        return []
    distance = DISTANCES[detector]
    scores = distance.score(of)
    gates = np.full(scores.size, effect)
    if distance.overstated_at_most is not None:
        gates += distance.overstated_at_most(of)
    matters = scores >= gates - effect / 2
    worth = scores >= effect / 2
    tables = tables_of(of.reference, of.current, of.starts)
    spread = np.ones(scores.size)
    if dependence is not None:
        freedoms = np.maximum(tables.filled - 1.0, 1.0)
        in_all_directions = isinstance(distance.evidence, Pearsons)
        spread = worst_case(dependence, freedoms, significance) if in_all_directions else widest(dependence, freedoms)
    p_values, criticals = _evidence(distance, _Look(of, tables, scores, spread, worth, significance, seed))
    doubtful = (p_values <= significance) & matters
    if doubtful.any():
        odd = of.odd_rows(significance)
        doubtful &= np.add.reduceat(of.current * odd, of.starts) == 1
        rest = of._replace(current=of.current - odd * 1)
    for index in np.flatnonzero(doubtful).tolist():
        alone = rest.feature(index)
        rest_tables = tables_of(alone.reference, alone.current, alone.starts)
        at = [index]
        look = _Look(alone, rest_tables, distance.score(alone), spread[at], worth[at], significance, seed)
        p_without = float(_evidence(distance, look)[0][0])
        if p_without > significance:
            p_values[index] = p_without

    thresholds = _thresholds(scores, p_values <= significance, criticals, gates)
    p_values = np.maximum(p_values, np.finfo(np.float64).tiny)  # no sample makes a change certain
    columns = (scores, thresholds, p_values, tables.n_reference, tables.n_current, matters)
    return [
        _drift(*row, significance=significance) for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


class _Look(NamedTuple):
    """What evidence is computed from."""

    of: Histograms
    tables: Tables
    scores: FloatArray
    spread: FloatArray
    worth: BoolArray
    """Whether a score is at least half the gate: others are not worth a simulation."""
    significance: float
    seed: int


def _evidence(distance: Distance, look: _Look) -> tuple[FloatArray, FloatArray]:
    """Return p-values, and the scores at which they would be the significance."""
    if isinstance(distance.evidence, Pearsons):
        return _by_pearson(look, distance.evidence)
    return _by_itself(look, distance.score, distance.evidence)


def _by_pearson(look: _Look, evidence: Pearsons) -> tuple[FloatArray, FloatArray]:
    """Judge by Pearson's statistic."""
    tables, scores = look.tables, look.scores
    statistics = tables.statistic / look.spread
    p_values, criticals, suspicious = approximate(tables, statistics, look.significance)
    for index in np.flatnonzero(suspicious & look.worth).tolist():
        found = _simulated(look, index, (float(statistics[index]),), simulated_statistics)
        if found is not None:
            p_values[index], criticals[index] = found

    # A score, or its square, grows in proportion to the statistic, so the critical score is the score times the ratio
    # of critical value and statistic. Where smoothing makes up most of a score, that ratio means nothing; the sum of
    # both bounds it.
    balance = 1.0 / np.maximum(tables.n_reference, 1) + 1.0 / np.maximum(tables.n_current, 1)
    least = evidence.per_statistic * balance * criticals * look.spread
    comparable = (statistics > TIE) & (scores > 0.0)
    if evidence.is_root:
        bound = scores + np.sqrt(least)
        ratios = np.divide(criticals, statistics, out=np.ones_like(scores), where=comparable)
        in_proportion = np.where(comparable, scores * np.sqrt(ratios), bound)
    else:
        bound = scores + least
        in_proportion = np.divide(scores * criticals, statistics, out=bound.copy(), where=comparable)
    return p_values, np.minimum(in_proportion, bound)


def _by_itself(look: _Look, score: Callable[[Histograms], FloatArray], evidence: Own) -> tuple[FloatArray, FloatArray]:
    """Judge by the scores themselves, and among tables of equal scores, which may be most, by Pearson's statistic."""
    tables, widen = look.tables, np.sqrt(look.spread)
    product = tables.n_reference.astype(np.float64) * tables.n_current
    unit = np.sqrt(np.divide(tables.n, product, out=np.ones_like(product), where=product > 0.0))
    observed = look.scores / widen
    least_p, p_values, criticals = evidence.limits(look.of, observed / unit, look.significance)
    criticals = criticals * unit * widen
    varies = tables.variance > 0.0
    for index in np.flatnonzero(varies & (least_p <= SUSPICION * look.significance) & look.worth).tolist():
        feature = look.of.feature(index)

        def scores_of(
            pooled: IntArray, n_current: int, size: int, generator: Generator, feature: Histograms = feature
        ) -> FloatArray:
            current = simulated_tables(pooled, n_current, size, generator)
            scores = score(feature._replace(reference=pooled - current, current=current))[:, 0]
            return np.stack([scores, statistics_of(current, pooled, n_current)])

        own = float(observed[index]), float(tables.statistic[index] / look.spread[index])
        found = _simulated(look, index, own, scores_of)
        if found is not None:
            p_values[index], criticals[index] = found[0], found[1] * widen[index]
    return np.where(varies, p_values, 1.0), criticals


def _simulated(
    look: _Look, index: int, observed: tuple[float, ...], statistics: Statistics
) -> tuple[float, float] | None:
    of = look.of.feature(index)
    return simulate(of.reference, of.current, observed, statistics, significance=look.significance, seed=look.seed)


def _thresholds(
    scores: FloatArray, significant: BoolArray, critical_scores: FloatArray, gates: FloatArray
) -> FloatArray:
    # The comparison with the score itself must not hang on how a product was rounded.
    reached = np.minimum(critical_scores, scores)
    unreached = np.maximum(critical_scores, np.nextafter(scores, np.inf))
    return np.maximum(gates, np.where(significant, reached, unreached))


def _drift(
    score: float,
    threshold: float,
    p_value: float,
    n_reference: int,
    n_current: int,
    matters: bool,
    *,
    significance: float,
) -> Drift:
    if not n_reference or not n_current:
        return Drift(0.0, threshold, 1.0, n_reference, n_current, "not_ready")
    level: Level = "ok"
    if p_value <= significance:
        level = "drift" if score >= threshold else "warning" if matters else "ok"
    return Drift(score, threshold, p_value, n_reference, n_current, level)
