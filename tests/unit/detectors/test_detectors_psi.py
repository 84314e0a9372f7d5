"""PSI behaves on the inputs that make other implementations go wrong."""

import numpy as np
import pytest
from scipy import stats

from detectors.reference.building import numeric_feature
from detectors.reference.profile import FeatureProfile, bin_numeric
from detectors.windows import drift
from detectors.windows.distances import histograms, psi
from detectors.windows.drift import Drift
from detectors.windows.tables import SIGNIFICANCE_MIN

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]


def judge(reference: list[int], current: list[int], effect: float = 0.1, significance: float = 0.01) -> Drift:
    counts = np.array(reference, dtype=np.int64), np.array(current, dtype=np.int64)
    return drift.judge(
        "psi", histograms(*counts, np.zeros(1, dtype=np.int64)), effect=effect, significance=significance, seed=7
    )[0]


def counts_of(feature: FeatureProfile, values: list[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> Ints:
    array = np.asarray(values, dtype=np.float64)
    return np.bincount(bin_numeric(feature, array, np.isnan(array)), minlength=feature.n_bins)


def test_one_outlier_in_current_cannot_hide_a_shift_because_edges_come_from_the_reference() -> None:
    generator = np.random.default_rng(1)
    feature = numeric_feature("x", generator.normal(size=5000), np.zeros(5000, bool), 10)
    shifted = generator.normal(1.0, size=1000)
    reference = np.array(feature.counts)
    without, with_outlier = (
        psi(reference, counts_of(feature, values)) for values in (shifted, np.append(shifted[1:], 1e4))
    )
    assert with_outlier == pytest.approx(without, rel=0.02)
    assert with_outlier > 0.8


def test_the_number_of_bins_is_what_was_asked_for() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    for bins in (2, 10, 50):
        assert numeric_feature("x", values, np.zeros(1000, bool), bins).n_bins == bins + 2


def test_psi_of_unchanged_data_is_near_its_null_mean_also_with_empty_bins() -> None:
    generator = np.random.default_rng(2)
    shares = np.array([*[0.1] * 10, 0.0, 0.0])
    scores = [psi(generator.multinomial(1000, shares), generator.multinomial(200, shares)) for _ in range(300)]
    assert np.mean(scores) == pytest.approx((1 / 1000 + 1 / 200) * 9, rel=0.2)


def test_an_empty_bin_contributes_a_bounded_amount() -> None:
    assert psi(np.array([100] * 10), np.array([111] * 9 + [0])) < 0.6
    assert psi(np.array([10**9, 0]), np.array([0, 10**9])) < 50


def test_no_sample_size_makes_unchanged_data_drift_or_hides_a_change() -> None:
    generator = np.random.default_rng(9)
    reference = generator.normal(size=20_000)
    feature = numeric_feature("x", reference, np.zeros(reference.size, bool), 10)
    counts = list(feature.counts)
    for n in (10, 30, 100, 1000, 10_000, 100_000):
        unchanged = [judge(counts, counts_of(feature, generator.normal(size=n)).tolist()) for _ in range(50)]
        # At a significance of a hundredth, 5 of 50 windows are the 1 - 1e-4 quantile.
        assert sum(verdict.level == "drift" for verdict in unchanged) <= stats.binom.ppf(1 - 1e-4, 50, 0.01)
        moved = judge(counts, counts_of(feature, generator.normal(2.0, 1.0, size=n)).tolist())
        assert moved.level == "drift"


def test_hundreds_of_categories_are_not_drift_by_their_number() -> None:
    # 500 categories at 5,000 rows a side: PSI is about 0.2 by chance alone, twice the gate.
    generator = np.random.default_rng(10)
    shares = np.append(generator.dirichlet(np.full(500, 2.0)), [0.0, 0.0])
    reference, current = (generator.multinomial(5000, shares, size=400).ravel() for _ in range(2))
    starts = np.arange(0, reference.size, 502)
    verdicts = drift.judge("psi", histograms(reference, current, starts), effect=0.1, significance=0.01, seed=1)
    assert sum(verdict.score >= 0.1 for verdict in verdicts) == 400
    assert sum(verdict.level == "drift" for verdict in verdicts) <= stats.binom.ppf(1 - 1e-4, 400, 0.012)


def test_windows_share_their_bins_so_the_whole_never_exceeds_the_worst_of_them() -> None:
    # PSI is convex in the current shares: true of any windows over the same bins, and of none over bins of their own.
    generator = np.random.default_rng(11)
    feature = numeric_feature("x", generator.normal(size=5000), np.zeros(5000, bool), 10)
    windows = [counts_of(feature, generator.normal(shift, 1.0, 2000)) for shift in np.linspace(0, 1, 30)]
    reference = np.array(feature.counts)
    scores = [psi(reference, window) for window in windows]
    assert min(scores) < psi(reference, np.sum(windows, axis=0)) < max(scores)


def test_missing_values_are_a_category_so_from_none_to_95_percent_null_is_drift() -> None:
    generator = np.random.default_rng(3)
    feature = numeric_feature("x", generator.normal(size=5000), np.zeros(5000, bool), 10)
    current = generator.normal(size=1000)
    current[:950] = np.nan
    assert judge(list(feature.counts), counts_of(feature, current).tolist()).level == "drift"


def test_one_new_value_in_a_million_does_not_alarm() -> None:
    verdict = judge([500_000, 500_000, 0, 0], [500_000, 499_999, 0, 1], effect=0.0)
    assert verdict.level == "ok"
    assert verdict.p_value > 0.1


def test_one_unseen_category_in_a_small_window_does_not_alarm() -> None:
    # Chi-square would say p = 1e-43; the chance that one of 100,001 rows falls among the last 500 is 0.005.
    verdict = judge([50_000, 49_501, 0, 0], [250, 249, 0, 1], effect=0.0, significance=0.001)
    assert verdict.level == "ok"
    assert 0.001 < verdict.p_value < 0.02


def test_a_stray_count_does_not_blind_the_test_to_a_change_of_all_other_bins() -> None:
    generator = np.random.default_rng(4)
    current = generator.multinomial(300, np.array([0.02, 0.18, *[0.1] * 8])).tolist()
    with_stray = judge([*[100_000] * 10, 1, 0], [*current, 0, 0], effect=0.05, significance=0.001)
    assert with_stray.level == "drift"


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        ([100, 0, 0], [100, 0, 0]),
        ([100, 0, 0], [1, 0, 0]),
        ([0, 100, 0], [0, 100, 0]),
        ([1, 0, 0], [1, 0, 0]),
        ([10**12, 0, 0], [10**12, 0, 0]),
        ([100, 100, 0], [50, 50, 0]),
    ],
)
def test_a_constant_single_or_all_null_feature_is_ok_and_never_nan(reference: list[int], current: list[int]) -> None:
    verdict = judge(reference, current)
    assert verdict.level == "ok"
    assert np.isfinite([verdict.score, verdict.threshold, verdict.p_value]).all()


def test_zero_inflated_and_discrete_features_drift_when_their_zeros_vanish() -> None:
    generator = np.random.default_rng(5)
    values = np.where(generator.random(5000) < 0.7, 0.0, generator.poisson(3, 5000) + 1.0)
    feature = numeric_feature("x", values, np.zeros(5000, bool), 10)
    same, moved = values[:1000], np.where(values[:1000] == 0, 1.0, values[:1000])
    assert judge(list(feature.counts), counts_of(feature, same).tolist()).level == "ok"
    assert judge(list(feature.counts), counts_of(feature, moved).tolist()).level == "drift"


def test_simulation_leaves_the_global_generator_alone_and_its_p_is_above_zero() -> None:
    before = np.random.get_state(legacy=True)[1].tolist()  # noqa: NPY002
    verdict = judge([1000, 1000, 2, 0], [0, 100, 2, 0])
    assert np.random.get_state(legacy=True)[1].tolist() == before  # noqa: NPY002
    assert verdict.p_value == pytest.approx(1 / 401)


def test_p_is_above_zero_however_large_the_change() -> None:
    verdict = judge([10**6, 10**6], [10**6, 10**3])
    assert verdict.p_value > 0
    assert verdict.level == "drift"


def test_a_verdict_depends_on_its_own_counts_and_seed_only() -> None:
    features = [
        ([1000, 990, 3, 1], [60, 101, 1, 0]),
        ([500, 400, 0, 0], [40, 90, 0, 3]),
        ([900, 900, 1, 1], [9, 40, 2, 0]),
    ]

    def together(order: list[int], seed: int = 7) -> dict[int, Drift]:
        reference, current = (np.concatenate([features[i][side] for i in order]) for side in (0, 1))
        starts = np.arange(0, 4 * len(order), 4)
        verdicts = drift.judge("psi", histograms(reference, current, starts), effect=0.1, significance=0.01, seed=seed)
        return dict(zip(order, verdicts, strict=True))

    alone = {index: together([index])[index] for index in range(3)}
    assert together([0, 1, 2]) == together([2, 0, 1]) == alone
    assert together([0, 1, 2], seed=8) != alone


def test_without_data_on_either_side_a_verdict_is_not_ready() -> None:
    for reference, current in (([0, 0], [5, 5]), ([5, 5], [0, 0]), ([0, 0], [0, 0]), ([0, 0, 0], [0, 2, 1])):
        verdict = judge(reference, current)
        assert (verdict.level, verdict.score, verdict.p_value) == ("not_ready", 0.0, 1.0)
        assert np.isfinite(verdict.threshold)
    empty = np.zeros(0, dtype=np.int64)
    assert drift.judge("psi", histograms(empty, empty, empty), effect=0.1, significance=0.01, seed=1) == []


def test_drift_needs_effect_and_evidence_and_half_the_effect_is_a_warning() -> None:
    levels = {
        "small but certain": judge([10**6] * 10, [10**6] * 9 + [10**6 - 10**4]).level,
        "large but uncertain": judge([20] * 10, [20] * 5 + [5] * 5, significance=0.0001).level,
        "half the gate and certain": judge([10**5, 10**5], [62_500, 37_500]).level,
        "both": judge([10**5, 10**5], [70_000, 30_000]).level,
    }
    assert levels == {
        "small but certain": "ok",
        "large but uncertain": "ok",
        "half the gate and certain": "warning",
        "both": "drift",
    }


def test_reaching_the_gate_exactly_is_drift() -> None:
    score = psi(np.array([10**5, 10**5]), np.array([70_000, 30_000]))
    verdict = judge([10**5, 10**5], [70_000, 30_000], effect=score)
    assert (verdict.level, verdict.threshold) == ("drift", score)
    assert judge([10**5, 10**5], [70_000, 30_000], effect=float(np.nextafter(score, 1))).level == "warning"


def test_a_significance_that_simulation_cannot_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="significance"):
        judge([1, 1], [1, 1], significance=SIGNIFICANCE_MIN / 2)
    sparse = judge([10**5, 10**5, 3, 0], [10, 990, 3, 3], significance=SIGNIFICANCE_MIN)
    assert sparse.level == "drift"


def test_populations_of_a_billion_are_simulated_too() -> None:
    verdict = judge([10**9, 10**9, 40, 0], [900, 100, 3, 0], significance=0.001)
    assert verdict.level == "drift"
    assert verdict.p_value == pytest.approx(1 / 4001)
