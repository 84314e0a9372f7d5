"""Window statistics are significant by chance as often as they declare; `make calibrate` counts the whole grid."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.calibration import Cell, count
from detectors.windows.distances import Histograms
from detectors.windows.drift import judge

LEAST = {0.9: 0.38}
"""Of the declared rate, where less than half of it alarms: `docs/statistics.md` says so."""

SIZES = [(10_000, 50), (1_000, 1_000), (1_000_000, 1_000_000)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("detector", ["psi", "linf", "ks", "wasserstein"])
def test_false_alarms_are_half_to_a_tenth_more_than_declared_and_after_the_gate_never_more(
    detector: str, sizes: tuple[int, int]
) -> None:
    found = count(Cell(detector, 12, *sizes, "uneven", 0.05, 20))
    # 2,000 verdicts; one test of 12 misses each bound in 1 of 100,000 runs, were the rate exactly there.
    assert stats.binom.ppf(1e-5, 2_000, 0.5 * 0.05) <= found.significant
    assert found.significant <= stats.binom.ppf(1 - 1e-5, 2_000, 1.1 * 0.05)
    # Verdicts of the real path with the default gate: these are judged anew, and promised as often as declared at most.
    assert found.drift <= stats.binom.ppf(1 - 1e-5, 2_000, 0.05)


def test_a_largest_difference_of_500_categories_and_50_rows_alarms_though_it_has_a_handful_of_values() -> None:
    found = count(Cell("linf", 500, 50, 50, "even", 0.05, 15))
    assert stats.binom.ppf(1e-5, 1_500, 0.5 * 0.05) <= found.significant
    assert found.significant <= stats.binom.ppf(1 - 1e-5, 1_500, 1.1 * 0.05)


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("significance", [0.05, 0.01])
@pytest.mark.parametrize("detector", ["psi", "linf", "ks", "wasserstein"])
def test_two_bins_of_50_rows_alarm_as_often_as_declared_though_few_tables_are_possible(
    detector: str, significance: float, share: float
) -> None:
    rows = np.arange(51)
    chance = stats.binom.pmf(rows, 50, share)
    of_reference, of_current = np.nonzero(np.outer(chance, chance) > 1e-6)  # the rest is less than a thousandth
    reference, current = (np.stack([of, 50 - of], axis=1).ravel() for of in (of_reference, of_current))
    starts = 2 * np.arange(of_current.size)
    jumps = np.tile([1.0, 0.0], of_current.size)
    every = Histograms(reference, current, starts, np.zeros(reference.size), jumps)
    judged = judge(detector, every, effect=1e-12, significance=significance, seed=1)
    is_significant = np.array([found.p_value <= significance for found in judged])
    realised = (chance[of_reference] * chance[of_current] * is_significant).sum()
    assert LEAST.get(share, 0.5) * significance <= realised <= 1.1 * significance
