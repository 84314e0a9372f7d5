"""How surprising is a table of two histograms if nothing has changed? Tables of many features at once.

Each feature of a window is a 2 x k table: counts of the reference and of the current sample over the same bins. Given
both margins, "nothing has changed" means that the current sample is a random part of the two together. That is all a
null distribution needs: Pearson's statistic has exact moments, and any other statistic is simulated from such parts.

Invariants: a feature's result depends on its own counts and the seed only; nothing is NaN; no global generator is used.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

EXPECTED_MIN = 5.0
FEW_BINS = 3
"""A statistic of so few bins has so few values that chi-square, which has them all, is off by up to a quarter."""

TIES_COUNT = 2.0 / 3.0
"""What a simulated statistic counts that equals the observed one. Where statistics have few values all of it, the
classic p-value, alarms half as often as declared and less, and half of it, the mid-p-value, up to a fifth too often;
two thirds keep two bins of 50 rows and more between 0.3 and 1.1 times a significance of 0.1 to 5 %."""

SIMULATIONS_MAX = 100_000
SIGNIFICANCE_MIN = 1.0 / SIMULATIONS_MAX
DRAWS_MAX = 2**25
"""Bins times tables that one simulation may draw, a few seconds' worth; beyond it the approximation stands."""

SUSPICION = 10.0
"""A table is simulated only if its approximate p-value is at most this many times the significance."""

TIE = 1e-9
"""Two simulated statistics of the same table differ by rounding only; they must count as equal."""

# Above this, in the smaller sample, a count's steps of one are fine enough for the normal distribution.
_EXACT_MAX = 2048
# numpy draws hypergeometric variates from populations below this size only.
_HYPERGEOMETRIC_MAX = 10**9
# A shuffle needs a place for each row.
_SHUFFLED_MAX = 2**20
_MORE_THAN_ANY_COUNT = 2.0**63
_LEAST = float(np.finfo(np.float64).tiny)

Statistics = Callable[[IntArray, int, int, np.random.Generator], FloatArray]
"""Draws statistics of tables with equal margins, called as `simulated_statistics`; several have a row each."""


class Tables(NamedTuple):
    """Pearson's statistic of each feature's 2 x k table and what its null distribution depends on."""

    n_reference: IntArray
    n_current: IntArray
    n: IntArray
    filled: IntArray
    statistic: FloatArray
    mean: FloatArray
    variance: FloatArray
    sparse: BoolArray
    coarse: BoolArray
    """Whether the statistic has so few values that it matters which."""


def tables_of(reference: IntArray, current: IntArray, starts: IntArray) -> Tables:
    """Return what Pearson's test needs of many features; parameters as for `detectors.windows.drift.judge`."""
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
    smaller = np.minimum(n_reference, n_current)
    sparse = least * smaller < EXPECTED_MIN * divisor
    coarse = (filled <= FEW_BINS) & (smaller <= _EXACT_MAX)

    reciprocals = np.add.reduceat(np.where(occupied, 1.0 / safe_pooled, 0.0), starts)
    mean, variance = conditional_moments(n_reference, n_current, filled, reciprocals)
    return Tables(n_reference, n_current, n, filled, statistic, mean, variance, sparse, coarse)


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
    small, constant = n_reference + n_current <= 3, variance <= TIE * mean * mean
    return mean, np.where(one_table, 0.0, np.where(small, 2.0 * mean, np.where(constant, 0.0, variance)))


def approximate(tables: Tables, statistic: FloatArray, significance: float) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return p-values and critical values of Pearson's statistic, and which features only a simulation can decide.

    Parameters
    ----------
    tables
        What the null distributions depend on.
    statistic
        Observed values, shape ``(features,)``: those of the tables, or smaller ones if their rows are not independent.
    significance
        The p-value of the critical values.
    """
    half_freedom = np.maximum(tables.filled - 1, 1) / 2.0
    chi_square_p = special.gammaincc(half_freedom, statistic / 2.0)
    chi_square_critical = 2.0 * special.gammainccinv(half_freedom, significance)

    varies = tables.variance > 0.0
    matched = tables.sparse & varies
    mean, variance = np.where(matched, tables.mean, 1.0), np.where(matched, tables.variance, 1.0)
    gamma_p = special.gammaincc(mean * mean / variance, statistic * mean / variance)
    gamma_critical = variance / mean * special.gammainccinv(mean * mean / variance, significance)

    # One bin with a single count can widen the gamma until a change of all other bins drowns in it, and samples of
    # equal size can narrow it below chi-square: the smaller p-value of the two decides whether to look closer.
    least_p = np.minimum(gamma_p, chi_square_p)
    suspicious = matched & ((least_p <= SUSPICION * significance) | (tables.n <= 3))
    # Chi-square is off by a quarter where there are few values, so only p-values near the significance are in doubt.
    is_near = np.abs(np.log(np.maximum(chi_square_p, _LEAST) / significance)) <= math.log(SUSPICION)
    suspicious |= tables.coarse & ~matched & varies & is_near
    p_values = np.where(varies, np.where(matched, gamma_p, chi_square_p), 1.0)
    return p_values, np.where(matched, np.minimum(gamma_critical, chi_square_critical), chi_square_critical), suspicious


def simulate(
    reference: IntArray,
    current: IntArray,
    observed: tuple[float, ...],
    statistics: Statistics,
    *,
    significance: float,
    seed: int,
) -> tuple[float, float] | None:
    """Return the p-value of an observed statistic and the value it would have to reach, from tables with equal margins.

    Parameters
    ----------
    reference, current
        One feature's counts, shape ``(k,)``.
    observed
        The statistics of this table: tables are more extreme by the first, those that are equal in it by the second.
    statistics
        Draws such statistics of tables.
    significance
        The p-value at which the statistic would be critical.
    seed
        Names the random numbers together with the counts.

    Returns
    -------
    tuple of float, or None
        None where a simulation would have to draw more than `DRAWS_MAX` counts.
    """
    size = min(math.ceil(4.0 / significance), SIMULATIONS_MAX)
    if size * reference.size > DRAWS_MAX:
        return None
    counts = np.concatenate([reference, current]).astype("<i8").tobytes()
    name = hashlib.blake2b(counts, digest_size=16, key=str(seed).encode()).digest()
    generator = np.random.default_rng(int.from_bytes(name, "little"))
    simulated = np.atleast_2d(statistics(reference + current, int(current.sum()), size, generator))
    reached, equal = 0.0, np.ones(size, dtype=np.bool_)
    for drawn, own in zip(simulated, observed, strict=True):
        reached += np.count_nonzero(equal & (drawn > own * (1.0 + TIE)))
        equal &= np.abs(drawn - own) <= TIE * own
    reached += TIES_COUNT * np.count_nonzero(equal)
    # Without ties, p is at most the significance exactly if no more than `allowed` statistics reach the observed one.
    allowed = max(math.floor(significance * (size + 1)) - 1, 0)
    return (reached + 1.0) / (size + 1), float(np.partition(simulated[0], size - 1 - allowed)[size - 1 - allowed])


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
    Bins whose expected counts are below 5, and all where they are few, are drawn exactly, one after the
    other, from the hypergeometric distribution.
    What is left over is a table of dense bins; its own statistic is drawn from the chi-square distribution that it has
    in the limit, which is where the test without simulation would have taken it from.
    """
    n = int(pooled.sum())
    # The statistic is the same whichever of the samples is drawn.
    n_drawn = min(n_current, n - n_current)
    is_coarse = n_drawn <= _EXACT_MAX and np.count_nonzero(pooled) <= FEW_BINS
    exact = (pooled > 0) & (is_coarse | (pooled * float(n_drawn) < EXPECTED_MIN * n))
    counts = pooled[exact]
    left = n - int(counts.sum())
    inside, drawn = _parts(counts, left, n_drawn, size, generator)
    total: FloatArray = ((float(n_drawn) * counts - float(n) * inside) ** 2 / counts).sum(axis=1)
    if left:
        total += (float(n_drawn) * left - float(n) * drawn) ** 2 / left
        freedom = int(np.count_nonzero(pooled)) - int(np.count_nonzero(exact)) - 1
        if freedom:
            share = drawn / left
            total += float(n) * n * share * (1.0 - share) * generator.chisquare(freedom, size)
    return total / (float(n - n_drawn) * n_drawn)


def simulated_tables(pooled: IntArray, n_current: int, size: int, generator: np.random.Generator) -> FloatArray:
    """Draw current counts of tables in which the current sample is a random part of the pooled one.

    Parameters are those of `simulated_statistics`.

    Returns
    -------
    array of float64
        Shape ``(size, k)``.

    Notes
    -----
    Counts are hypergeometric where a bin is sparse, or the smaller sample has at most 2,048 rows, so that steps of one
    matter. The rest is drawn from the normal distribution that it has in the limit, given its total.
    """
    n = int(pooled.sum())
    n_drawn = min(n_current, n - n_current)
    exact = (pooled > 0) & ((n_drawn <= _EXACT_MAX) | (pooled * float(n_drawn) < EXPECTED_MIN * n))
    left = n - int(pooled[exact].sum())
    tables = np.zeros((size, pooled.size))
    tables[:, exact], drawn = _parts(pooled[exact], left, n_drawn, size, generator)
    dense = np.flatnonzero((pooled > 0) & ~exact)
    if dense.size:
        weights, share = pooled[dense] / left, (drawn / left)[:, None]
        noise = generator.normal(size=(size, dense.size)) * np.sqrt(weights)
        noise -= weights * noise.sum(axis=1, keepdims=True)
        tables[:, dense] = share * pooled[dense] + np.sqrt(left * share * (1.0 - share)) * noise
    return tables if n_drawn == n_current else pooled - tables


def statistics_of(tables: FloatArray, pooled: IntArray, n_current: int) -> FloatArray:
    """Return Pearson's statistic of each of many current samples, shape ``(size, k)``, out of one pooled sample."""
    n = float(pooled.sum())
    excess = tables - pooled * (n_current / n)
    total: FloatArray = (excess * excess / np.maximum(pooled, 1)).sum(axis=1)
    return total * (n * n / (n_current * (n - n_current)))


def _parts(
    counts: IntArray, left: int, n_drawn: int, size: int, generator: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Draw how many of each bin's rows, shape ``(size, k)``, and of all those left over, are among the drawn ones."""
    n = int(counts.sum()) + left
    if n < _HYPERGEOMETRIC_MAX:
        # To count what a shuffle drew costs a step a row; to draw bin after bin, as much as ten of them a bin.
        is_shuffled = n <= _SHUFFLED_MAX and n + size * n_drawn < 10 * size * counts.size
        method: Literal["count", "marginals"] = "count" if is_shuffled else "marginals"
        drawn = generator.multivariate_hypergeometric([*counts.tolist(), left], n_drawn, size, method=method)
        return drawn[:, :-1], drawn[:, -1]
    inside, rest = np.zeros((size, counts.size), dtype=np.int64), np.full(size, n_drawn, dtype=np.int64)
    for place, count in enumerate(counts.tolist()):
        # Of so many, drawing with or without putting back differs by less than the smaller part's share.
        chosen = generator.binomial(np.minimum(count, rest), np.maximum(count, rest) / n)
        inside[:, place] = np.maximum(chosen, rest - (n - count))
        rest -= inside[:, place]
        n -= count
    return inside, rest
