"""Has a feature's distribution moved away from the reference, by enough to matter and by more than chance?

The population stability index is the effect size, Pearson's two-sample statistic is the evidence, and drift needs both.
Invariants: every bin counts, also missing and other, and no bin contributes infinity; the same counts and seed give the
same verdict in any order of calls; ``score >= threshold`` holds exactly when the level is ``drift``; NaN never appears.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Level = Literal["not_ready", "ok", "warning", "drift"]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SMOOTHING = 0.5
EXPECTED_MIN = 5.0
SIMULATIONS_MAX = 100_000
SIGNIFICANCE_MIN = 1.0 / SIMULATIONS_MAX

# A sparse table is simulated only if its approximate p-value is at most this many times the significance.
_SUSPICION = 10.0
# numpy draws hypergeometric variates from populations below this size only.
_HYPERGEOMETRIC_MAX = 10**9
_MORE_THAN_ANY_COUNT = 2.0**63
# Two simulated statistics of the same table differ by rounding only; they must count as equal.
_TIE = 1e-9


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


def psi(reference: IntArray, current: IntArray) -> float:
    """Return the population stability index of two histograms over the same bins.

    Parameters
    ----------
    reference, current
        Counts, shape ``(k,)``, missing and other included.

    Returns
    -------
    float
        ``sum((q - p) * ln(q / p))`` of the smoothed shares ``(count + 0.5) / (n + 0.5 k)``; at least 0, finite.

    Examples
    --------
    >>> psi(np.array([50, 50]), np.array([50, 50]))
    0.0
    >>> round(psi(np.array([50, 50]), np.array([90, 10])), 3)
    0.853
    """
    return float(_scores(reference, current, np.zeros(1, dtype=np.int64))[0])


def judge_psi(
    reference: IntArray, current: IntArray, starts: IntArray, *, effect: float, significance: float, seed: int
) -> list[Drift]:
    """Judge many features of one window at once.

    Parameters
    ----------
    reference, current
        Counts of all features' bins, one feature after the other.
    starts
        Where each feature's bins start; the first is 0 and every feature has at least one bin.
    effect
        The gate: least score that matters.
    significance
        Largest p-value that counts as a change; at least `SIGNIFICANCE_MIN`, or simulation could never reach it.
    seed
        Names the simulation's random numbers together with the feature's counts.

    Returns
    -------
    list of Drift
        In the order of `starts`.

    Raises
    ------
    ValueError
        If `significance` is out of range.

    Notes
    -----
    Null distribution of the Pearson statistic over bins that are not empty in both samples: chi-square if every
    expected count is at least 5; else a gamma distribution with the exact conditional mean and variance; else, for a
    feature that this makes suspicious and whose score is at least half the gate, a simulation given both margins.

    References
    ----------
    .. [1] J. B. S. Haldane, "The mean and variance of chi-squared, when used as a test of homogeneity, when
       expectations are small", Biometrika 31, 1940. R. B. Dawson, "A simplified expression for the variance of the
       chi-squared function on a contingency table", Biometrika 41, 1954.

    Examples
    --------
    >>> reference, current = np.array([500, 500, 0, 0]), np.array([100, 400, 0, 0])
    >>> judge_psi(reference, current, np.array([0]), effect=0.1, significance=0.01, seed=1)[0].level
    'drift'
    """
    if not SIGNIFICANCE_MIN <= significance < 1.0:
        raise ValueError(f"significance must be from {SIGNIFICANCE_MIN} to below 1, not {significance}")
    if not starts.size:
        return []
    scores = _scores(reference, current, starts)
    tables = _tables(reference, current, starts)
    p_values, criticals, suspicious = _approximated(tables, significance)
    ends = np.append(starts[1:], reference.size)
    for index in np.flatnonzero(suspicious & (scores >= effect / 2)):
        bins = slice(starts[index], ends[index])
        p_values[index], criticals[index] = _simulated(
            reference[bins], current[bins], float(tables.statistic[index]), significance, seed
        )

    thresholds = _thresholds(scores, tables, p_values <= significance, criticals, effect)
    p_values = np.maximum(p_values, np.finfo(np.float64).tiny)  # no sample makes a change certain
    columns = (scores, thresholds, p_values, tables.n_reference, tables.n_current)
    return [
        _drift(*row, effect=effect, significance=significance)
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


class _Tables(NamedTuple):
    """Pearson's statistic of each feature's 2 x k table and what its null distribution depends on."""

    n_reference: IntArray
    n_current: IntArray
    n: IntArray
    filled: IntArray
    statistic: FloatArray
    mean: FloatArray
    variance: FloatArray
    sparse: NDArray[np.bool_]


def _scores(reference: IntArray, current: IntArray, starts: IntArray) -> FloatArray:
    lengths = np.diff(starts, append=reference.size)
    p = _smoothed_shares(reference, starts, lengths)
    q = _smoothed_shares(current, starts, lengths)
    scores: FloatArray = np.add.reduceat((q - p) * np.log(q / p), starts)
    return scores


def _smoothed_shares(counts: IntArray, starts: IntArray, lengths: IntArray) -> FloatArray:
    totals = np.add.reduceat(counts, starts) + SMOOTHING * lengths
    shares: FloatArray = (counts + SMOOTHING) / np.repeat(totals, lengths)
    return shares


def _tables(reference: IntArray, current: IntArray, starts: IntArray) -> _Tables:
    lengths = np.diff(starts, append=reference.size)
    n_reference = np.add.reduceat(reference, starts)
    n_current = np.add.reduceat(current, starts)
    n = n_reference + n_current
    pooled = reference + current
    occupied = pooled > 0
    filled = np.add.reduceat(occupied.astype(np.int64), starts)

    divisor = np.maximum(n, 1).astype(np.float64)
    product = np.maximum(n_reference, 1).astype(np.float64) * np.maximum(n_current, 1)
    safe_pooled = np.maximum(pooled, 1).astype(np.float64)
    excess = reference - pooled * np.repeat(n_reference / divisor, lengths)
    statistic = np.add.reduceat(excess * excess / safe_pooled, starts) * (divisor * divisor / product)
    least = np.minimum.reduceat(np.where(occupied, safe_pooled, _MORE_THAN_ANY_COUNT), starts)
    sparse = least * np.minimum(n_reference, n_current) < EXPECTED_MIN * divisor

    reciprocals = np.add.reduceat(np.where(occupied, 1.0 / safe_pooled, 0.0), starts)
    mean, variance = conditional_moments(n_reference, n_current, filled, reciprocals)
    return _Tables(n_reference, n_current, n, filled, statistic, mean, variance, sparse)


def conditional_moments(
    n_reference: IntArray, n_current: IntArray, filled: IntArray, reciprocals: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance of Pearson's 2 x k statistic given both margins, if nothing has changed.

    Parameters
    ----------
    n_reference, n_current
        Sample sizes.
    filled
        Number of bins that are not empty in both samples.
    reciprocals
        Sum over these bins of one over the pooled count.

    Returns
    -------
    tuple of arrays
        A variance of 0 says that the statistic is the same for every table with these margins. Populations of up to 3,
        for which the formula has no value, have the variance of the chi-square distribution.
    """
    n = np.maximum((n_reference + n_current).astype(np.float64), 4.0)
    product = np.maximum(n_reference, 1).astype(np.float64) * np.maximum(n_current, 1)
    mean = (filled - 1) * n / (n - 1)
    rows_flat, columns_flat = (n - 2) / (n - 1), (filled - 1) * (n - filled) / (n - 1)
    rows_uneven = (n * n / product - 4.0) / (n - 2)
    columns_uneven = (n * reciprocals - filled * filled.astype(np.float64)) / (n - 2)
    variance = (
        2 * n / (n - 3) * (rows_flat - rows_uneven) * (columns_flat - columns_uneven)
        + n * n / (n - 1) * rows_uneven * columns_uneven
    )
    one_table = (filled < 2) | (np.minimum(n_reference, n_current) < 1)
    small, constant = n_reference + n_current <= 3, variance <= _TIE * mean * mean
    return mean, np.where(one_table, 0.0, np.where(small, 2.0 * mean, np.where(constant, 0.0, variance)))


def _approximated(tables: _Tables, significance: float) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return p-values, critical values and which features only a simulation can decide."""
    half_freedom = np.maximum(tables.filled - 1, 1) / 2.0
    chi_square_p = special.gammaincc(half_freedom, tables.statistic / 2.0)
    chi_square_critical = 2.0 * special.gammainccinv(half_freedom, significance)

    varies = tables.variance > 0.0
    matched = tables.sparse & varies
    mean, variance = np.where(matched, tables.mean, 1.0), np.where(matched, tables.variance, 1.0)
    gamma_p = special.gammaincc(mean * mean / variance, tables.statistic * mean / variance)
    gamma_critical = variance / mean * special.gammainccinv(mean * mean / variance, significance)

    # One bin with a single count can widen the gamma until a change of all other bins drowns in it, and samples of
    # equal size can narrow it below chi-square: the smaller p-value of the two decides whether to look closer.
    least_p = np.minimum(gamma_p, chi_square_p)
    suspicious = matched & ((least_p <= _SUSPICION * significance) | (tables.n <= 3))
    p_values = np.where(varies, np.where(matched, gamma_p, chi_square_p), 1.0)
    return p_values, np.where(matched, np.minimum(gamma_critical, chi_square_critical), chi_square_critical), suspicious


def _simulated(
    reference: IntArray, current: IntArray, statistic: float, significance: float, seed: int
) -> tuple[float, float]:
    """Return the p-value of `statistic` and the value it would have to exceed, from tables with the same margins."""
    size = min(math.ceil(4.0 / significance), SIMULATIONS_MAX)
    counts = np.concatenate([reference, current]).astype("<i8").tobytes()
    name = hashlib.blake2b(counts, digest_size=16, key=str(seed).encode()).digest()
    generator = np.random.default_rng(int.from_bytes(name, "little"))
    simulated = simulated_statistics(reference + current, int(current.sum()), size, generator)
    at_least = int(np.count_nonzero(simulated >= statistic * (1.0 - _TIE)))
    # p is at most the significance exactly if no more than `allowed` simulated statistics reach the observed one.
    allowed = max(math.floor(significance * (size + 1)) - 1, 0)
    return (at_least + 1) / (size + 1), float(np.partition(simulated, size - 1 - allowed)[size - 1 - allowed])


def simulated_statistics(pooled: IntArray, n_current: int, size: int, generator: np.random.Generator) -> FloatArray:
    """Draw Pearson statistics of tables in which the current sample is a random part of the pooled one.

    Parameters
    ----------
    pooled
        Pooled counts per bin, shape ``(k,)``.
    n_current
        Size of the current sample, above 0 and below ``pooled.sum()``.
    size
        Tables to draw.
    generator
        Source of randomness.

    Returns
    -------
    array of float64
        Shape ``(size,)``.

    Notes
    -----
    Bins whose expected counts are below 5 are drawn exactly, one after the other, from the hypergeometric distribution.
    What is left over is a table of dense bins; its own statistic is drawn from the chi-square distribution that it has
    in the limit, which is where the test without simulation would have taken it from.
    """
    n = int(pooled.sum())
    # The statistic is the same whichever of the samples is drawn.
    n_drawn = min(n_current, n - n_current)
    sparse = (pooled > 0) & (pooled * float(n_drawn) < EXPECTED_MIN * n)
    left, drawn = n, np.full(size, n_drawn, dtype=np.int64)
    total = np.zeros(size)
    for count in pooled[sparse].tolist():
        inside = _part(count, left, drawn, generator)
        total += (float(n_drawn) * count - float(n) * inside) ** 2 / count
        left -= count
        drawn -= inside
    if left:
        total += (float(n_drawn) * left - float(n) * drawn) ** 2 / left
        freedom = int(np.count_nonzero(pooled)) - int(np.count_nonzero(sparse)) - 1
        if freedom:
            share = drawn / left
            total += float(n) * n * share * (1.0 - share) * generator.chisquare(freedom, size)
    return total / (float(n - n_drawn) * n_drawn)


def _part(count: int, population: int, drawn: IntArray, generator: np.random.Generator) -> IntArray:
    """Draw how many of `count` marked members of the population are among the `drawn` ones."""
    if population < _HYPERGEOMETRIC_MAX:
        return generator.hypergeometric(count, population - count, drawn)
    # Of so many, drawing with or without putting back differs by less than the smaller part's share.
    inside = generator.binomial(np.minimum(count, drawn), np.maximum(count, drawn) / population)
    return np.maximum(inside, drawn - (population - count))


def _thresholds(
    scores: FloatArray, tables: _Tables, significant: NDArray[np.bool_], criticals: FloatArray, effect: float
) -> FloatArray:
    # The score grows in proportion to the statistic, so the critical score is the score times critical/statistic.
    # Where smoothing makes up most of a score, that ratio means nothing; the sum of both bounds it. The comparison with
    # the score itself must not hang on how a product was rounded.
    balance = 1.0 / np.maximum(tables.n_reference, 1) + 1.0 / np.maximum(tables.n_current, 1)
    bound = scores + balance * criticals
    comparable = (tables.statistic > _TIE) & (scores > 0.0)
    critical_scores = np.minimum(
        np.divide(scores * criticals, tables.statistic, out=bound.copy(), where=comparable), bound
    )
    reached = np.minimum(critical_scores, scores)
    unreached = np.maximum(critical_scores, np.nextafter(scores, np.inf))
    return np.maximum(effect, np.where(significant, reached, unreached))


def _drift(
    score: float,
    threshold: float,
    p_value: float,
    n_reference: int,
    n_current: int,
    *,
    effect: float,
    significance: float,
) -> Drift:
    if not n_reference or not n_current:
        return Drift(0.0, threshold, 1.0, n_reference, n_current, "not_ready")
    level: Level = "ok"
    if p_value <= significance:
        level = "drift" if score >= threshold else "warning" if score >= effect / 2 else "ok"
    return Drift(score, threshold, p_value, n_reference, n_current, level)
