"""Are shares of odd values judged as an exact test would, neither by chance nor by a single row?"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from detectors.reference.building import numeric_feature
from detectors.windows.drift import Drift
from detectors.windows.quality import Odd, excess_p, judge_odd


def odd(*counts: object) -> Odd:
    return Odd(*(np.atleast_1d(np.array(of, np.int64)) for of in counts))


def judged(*counts: int, effect: float = 0.05, significance: float = 1e-5, dependence: float = 1.0) -> Drift:
    [found] = judge_odd(
        odd(*counts), effects=np.array([effect]), significance=significance, dependence=np.array([dependence])
    )
    return found


def test_p_values_are_those_of_fishers_exact_test_and_never_below() -> None:
    chance = np.random.default_rng(1)
    n, m = (np.exp(chance.uniform(1.5, 13.0, 3_000)).astype(np.int64) for _ in range(2))
    x, y = (np.floor(size * chance.uniform(0.0, 1.0, n.size) ** 4).astype(np.int64) for size in (n, m))
    exact = stats.hypergeom.sf(y - 1, n + m, x + y, m)
    found = excess_p(odd(x, n, y, m))
    asked = (y >= 2) & (exact > 1e-250)
    far = asked & (exact < 1e-3)

    assert far.sum() > 500
    assert (found[asked] >= exact[asked] * (1 - 1e-6)).all()
    assert (found[far] <= exact[far] * 1.1).all()


@pytest.mark.parametrize(("n", "share"), [(10, 0.0), (1_000, 0.02), (100_000, 0.02), (100_000, 0.6)])
@pytest.mark.parametrize("m", [50, 2_000, 50_000])
def test_nothing_that_did_not_change_is_called_so_more_often_than_declared(n: int, m: int, share: float) -> None:
    """40,000 pairs of samples, before the effect gate; the binomial bound is of one cell in a million."""
    chance = np.random.default_rng(n + m)
    x, y = chance.binomial(n, share, 40_000), chance.binomial(m, share, 40_000)
    alarms = int((excess_p(odd(x, np.full(x.size, n), y, np.full(x.size, m))) <= 0.01).sum())

    assert alarms <= stats.binom.ppf(1 - 1e-6, 40_000, 0.01)


@pytest.mark.parametrize("n", [10, 1_000])
def test_values_beyond_the_references_are_expected_as_often_as_they_come(n: int) -> None:
    """Of a continuous feature that did not change, whatever its distribution; here with heavy tails."""
    chance = np.random.default_rng(n)
    reference, current = chance.standard_cauchy((4_000, n)), chance.standard_cauchy((4_000, 2_000))
    outside = ((current < reference.min(axis=1)[:, None]) | (current > reference.max(axis=1)[:, None])).sum(axis=1)
    all_alike = [np.full(4_000, size) for size in (1, n, 2_000)]
    alarms = int((excess_p(odd(*all_alike[:2], outside, all_alike[2])) <= 0.01).sum())

    assert 0.4 * 40 <= alarms <= stats.binom.ppf(1 - 1e-6, 4_000, 0.01)
    feature = numeric_feature("x", reference[0], np.zeros(n, np.bool_), 10)
    assert feature.span == (reference[0].min(), reference[0].max())


def test_the_threshold_is_where_the_level_becomes_drift() -> None:
    for size in (30, 500, 20_000):
        levels = [judged(20, 1_000, y, size) for y in range(0, size + 1, max(size // 500, 1))]
        assert all((of.score >= of.threshold) == (of.level == "drift") for of in levels)
        first = next(of for of in levels if of.level == "drift")
        assert max(of.threshold for of in levels if of.level != "drift") <= first.score + 1 / size
        assert all(of.score >= 0.05 and of.p_value <= 1e-5 for of in levels if of.level == "drift")


def test_one_odd_row_is_no_alarm_however_large_the_reference() -> None:
    assert judged(0, 10**9, 1, 1).level == "ok"
    assert judged(0, 10**9, 1, 10).level == "ok"
    assert judged(0, 10**9, 2, 10).level == "drift"


def test_rows_that_go_together_count_as_one() -> None:
    assert judged(20, 10_000, 12, 100).level == "drift"
    assert judged(20, 10_000, 12, 100, dependence=4.0).level == "ok"
    assert judged(20, 10_000, 12, 100, dependence=100.0).level == "ok"


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        ((1_000, 1_000, 500, 500), "ok"),  # always missing, and missing still
        ((1_000, 1_000, 0, 500), "ok"),  # fewer are missing: no harm
        ((0, 0, 300, 500), "not_ready"),
        ((0, 1_000, 0, 0), "not_ready"),
        ((0, 10, 3, 200), "ok"),  # ten rows say little of rare things
        ((0, 10, 200, 200), "drift"),  # but not nothing
    ],
)
def test_references_and_windows_at_their_limits(counts: tuple[int, int, int, int], level: str) -> None:
    found = judged(*counts)
    assert found.level == level
    assert np.isfinite([found.score, found.threshold, found.p_value]).all()


def test_sizes_of_a_billion_rows_stay_finite() -> None:
    sizes: NDArray[np.int64] = np.array([10**3, 10**6, 10**9])
    found = judge_odd(odd(sizes // 50, sizes, sizes // 10, sizes), effects=np.full(3, 0.05), significance=1e-5)
    assert [of.level for of in found] == ["drift"] * 3
