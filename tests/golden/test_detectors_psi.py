"""PSI and its test agree with the textbook, with scipy, with exact enumeration and with simulation."""

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy import stats

from detectors.windows import drift
from detectors.windows.distances import histograms, psi
from detectors.windows.tables import conditional_moments, simulated_statistics

START = np.zeros(1, dtype=np.int64)


def pearson(reference: np.ndarray, current: np.ndarray) -> float:
    table = np.stack([reference, current])[:, reference + current > 0]
    return float(stats.chi2_contingency(table, correction=False).statistic)


def every_table(pooled: list[int], n_current: int) -> tuple[np.ndarray, np.ndarray]:
    """Return statistic and probability of every 2 x k table with these margins."""
    rows = []
    for current in product(*(range(count + 1) for count in pooled)):
        if sum(current) == n_current:
            ways = np.prod([comb(count, inside) for count, inside in zip(pooled, current, strict=True)])
            rows.append((pearson(np.array(pooled) - current, np.array(current)), ways / comb(sum(pooled), n_current)))
    statistics, shares = np.array(rows).T
    return statistics, shares


def test_psi_is_the_direct_formula_with_half_a_count_added_to_every_bin() -> None:
    generator = np.random.default_rng(1)
    for k in (2, 5, 14):
        reference, current = generator.integers(0, 500, k), generator.integers(0, 50, k)
        p, q = (reference + 0.5) / (reference.sum() + 0.5 * k), (current + 0.5) / (current.sum() + 0.5 * k)
        assert psi(reference, current) == pytest.approx(sum((q - p) * np.log(q / p)), rel=1e-12)


def test_dense_p_values_are_scipys_chi_square_test_of_the_pooled_non_empty_bins() -> None:
    generator = np.random.default_rng(2)
    for _ in range(50):
        reference = np.append(generator.integers(50, 500, 8), [0, 0])
        current = np.append(generator.integers(20, 200, 8), [0, 0])
        verdict = drift.judge("psi", histograms(reference, current, START), effect=0.1, significance=0.01, seed=1)[0]
        expected = stats.chi2_contingency(np.stack([reference, current])[:, :8], correction=False)
        assert verdict.p_value == pytest.approx(max(expected.pvalue, np.finfo(float).tiny), rel=1e-9)


def test_the_threshold_is_the_score_times_critical_over_statistic_when_that_exceeds_the_gate() -> None:
    reference, current = np.array([500, 500, 500, 500]), np.array([55, 45, 60, 40])
    verdict = drift.judge("psi", histograms(reference, current, START), effect=0.0, significance=0.01, seed=1)[0]
    ratio = stats.chi2.isf(0.01, 3) / pearson(reference, current)
    assert verdict.threshold == pytest.approx(verdict.score * ratio, rel=1e-9)


@pytest.mark.parametrize(("pooled", "n_current"), [([3, 4, 2], 4), ([5, 1, 2, 3], 3), ([6, 2], 3), ([1, 1, 1, 1], 2)])
def test_conditional_moments_are_those_of_the_enumerated_tables(pooled: list[int], n_current: int) -> None:
    statistics, shares = every_table(pooled, n_current)
    mean = float(statistics @ shares)
    n_reference = np.array([sum(pooled) - n_current])
    reciprocals = np.array([sum(1 / count for count in pooled)])
    moments = conditional_moments(n_reference, np.array([n_current]), np.array([len(pooled)]), reciprocals)
    assert moments[0][0] == pytest.approx(mean, rel=1e-12)
    assert moments[1][0] == pytest.approx(float((statistics - mean) ** 2 @ shares), rel=1e-9, abs=1e-9)


def test_conditional_moments_are_those_of_simulated_tables_of_real_size() -> None:
    pooled, n_current = np.array([700, 650, 400, 90, 12, 3, 1]), 300
    draws = np.random.default_rng(3).multivariate_hypergeometric(pooled, n_current, size=100_000)
    n = pooled.sum()
    statistics = ((n_current * pooled - n * draws) ** 2 / pooled).sum(axis=1) / (n_current * (n - n_current))
    mean, variance = conditional_moments(
        np.array([n - n_current]), np.array([n_current]), np.array([7]), np.array([(1 / pooled).sum()])
    )
    # Four standard errors of the simulated mean and variance.
    assert abs(statistics.mean() - mean[0]) < 4 * statistics.std() / 100_000**0.5
    fourth = ((statistics - statistics.mean()) ** 4).mean()
    assert abs(statistics.var() - variance[0]) < 4 * ((fourth - statistics.var() ** 2) / 100_000) ** 0.5


@pytest.mark.parametrize(("pooled", "n_current"), [([4, 3, 2, 6], 5), ([2, 2, 9], 6), ([14, 1, 1], 3)])
def test_simulated_statistics_have_the_distribution_of_the_enumerated_tables(pooled: list[int], n_current: int) -> None:
    statistics, shares = every_table(pooled, n_current)
    size = 40_000
    simulated = simulated_statistics(np.array(pooled), n_current, size, np.random.default_rng(4))
    for statistic in np.unique(statistics.round(9)):
        tail = float(shares[statistics >= statistic - 1e-6].sum())
        observed = np.count_nonzero(simulated >= statistic - 1e-6)
        # Each of about 30 tails within its two-sided 1e-6 binomial bounds.
        assert stats.binom.ppf(5e-7, size, min(tail, 1)) <= observed <= stats.binom.ppf(1 - 5e-7, size, min(tail, 1))


def test_simulating_only_sparse_bins_gives_the_tails_of_simulating_all_of_them() -> None:
    pooled, n_current, size = np.array([900, 1100, 1000, 800, 9, 2, 1]), 400, 100_000
    n = pooled.sum()
    draws = np.random.default_rng(5).multivariate_hypergeometric(pooled, n_current, size=size)
    whole = ((n_current * pooled - n * draws) ** 2 / pooled).sum(axis=1) / (n_current * (n - n_current))
    part = simulated_statistics(pooled, n_current, size, np.random.default_rng(6))
    for tail in (0.5, 0.1, 0.01, 0.001):
        observed = np.count_nonzero(part >= np.quantile(whole, 1 - tail)) / size
        # Both sides are estimates: five standard errors of their difference.
        assert observed == pytest.approx(tail, abs=5 * (2 * tail / size) ** 0.5)


FALSE_ALARM_GRID = [(200, 200), (200, 1000), (1000, 200), (1000, 1000), (5000, 200), (5000, 1000), (5000, 5000)]


@pytest.mark.parametrize("rare", [(0.0, 0.0), (0.001, 0.0005)], ids=["dense", "sparse"])
@pytest.mark.parametrize("significance", [0.05, 0.01])
def test_false_alarms_before_the_effect_gate_are_as_often_as_the_significance_says(
    rare: tuple[float, float], significance: float
) -> None:
    repetitions, shares = 2000, np.array([*[0.1] * 10, *rare])
    shares /= shares.sum()
    generator = np.random.default_rng(20)
    total = 0
    for n_reference, n_current in FALSE_ALARM_GRID:
        reference = generator.multinomial(n_reference, shares, size=repetitions).ravel()
        current = generator.multinomial(n_current, shares, size=repetitions).ravel()
        starts = np.arange(0, repetitions * 12, 12)
        verdicts = drift.judge(
            "psi", histograms(reference, current, starts), effect=0.0, significance=significance, seed=1
        )
        alarms = sum(verdict.level == "drift" for verdict in verdicts)
        # A cell's alarms lie below the 1 - 1e-4 quantile of Binomial(2000, 1.2 significance): the chi-square tail is
        # an approximation at 20 expected a bin, and a fifth more than nominal is what we allow it.
        assert alarms <= stats.binom.ppf(1 - 1e-4, repetitions, 1.2 * significance)
        total += alarms
    rows = repetitions * len(FALSE_ALARM_GRID)
    assert stats.binom.ppf(1e-4, rows, 0.8 * significance) <= total
    assert total <= stats.binom.ppf(1 - 1e-4, rows, 1.1 * significance)


def test_false_alarms_with_the_effect_gate_are_rare_where_psi_alone_would_cry_wolf() -> None:
    # 100 rows a side and 10 bins: PSI above 0.1 by chance in most windows.
    generator = np.random.default_rng(21)
    shares = np.array([*[0.1] * 10, 0.0, 0.0])
    reference, current = (generator.multinomial(100, shares, size=2000).ravel() for _ in range(2))
    verdicts = drift.judge(
        "psi", histograms(reference, current, np.arange(0, 24_000, 12)), effect=0.1, significance=0.01, seed=1
    )
    assert sum(verdict.score >= 0.1 for verdict in verdicts) > 1400
    assert sum(verdict.level == "drift" for verdict in verdicts) <= stats.binom.ppf(1 - 1e-4, 2000, 0.012)
