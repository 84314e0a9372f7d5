"""Are metrics of binned scores scikit-learn's within the bound that is stated, and do their intervals cover?"""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from detectors.metrics import (
    STEPS_PER_SCALE,
    average_precision,
    bias,
    calibration_error,
    mean,
    r_squared,
    times,
)


def covered(hits: int, trials: int, share: float) -> bool:
    """Tell whether `hits` is above the 1e-4 quantile of Binomial(trials, share)."""
    return bool(hits >= stats.binom.ppf(1e-4, trials, share))


def binned(true: np.ndarray, scores: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's bin, and [bins, true] counts."""
    codes = np.searchsorted(edges, scores, side="left")
    return codes, np.stack([np.bincount(codes[true == side], minlength=len(edges) + 1) for side in (0, 1)], axis=1)


def quantile_edges(scores: np.ndarray, bins: int) -> np.ndarray:
    return np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]))


@pytest.mark.parametrize("bins", [1, 2, 16, 1024])
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_average_precision_is_scikit_learns_of_the_bins_and_within_its_bound_of_the_exact_one(
    bins: int, share: float
) -> None:
    chance = np.random.default_rng(1)
    for _ in range(5):
        true = (chance.random(3_000) < share).astype(int)
        scores = stats.norm.cdf(chance.normal(true * 1.2))
        codes, histogram = binned(true, scores, quantile_edges(scores, bins))
        found = average_precision(histogram)
        assert found.value == pytest.approx(sk.average_precision_score(true, codes), abs=1e-12)
        assert abs(found.value - sk.average_precision_score(true, scores)) <= found.resolution_bound + 1e-12
        # The bound is that of the best and the worst order within bins.
        apart = np.arange(true.size) / (3 * true.size)
        extremes = [sk.average_precision_score(true, codes + true * shift) for shift in (0.5, apart - 0.5)]
        assert found.resolution_bound == pytest.approx(max(abs(end - found.value) for end in extremes), abs=1e-12)


def test_average_precision_without_positives_is_none_and_without_negatives_is_one() -> None:
    assert average_precision(np.array([[3, 0], [4, 0]])) == (None, None, None, None)
    assert average_precision(np.zeros((4, 2), np.int64)) == (None, None, None, None)
    assert average_precision(np.array([[0, 3], [0, 4]]))[0] == 1.0


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_interval_of_average_precision_covers(share: float) -> None:
    chance, hits, trials = np.random.default_rng(2), 0, 300
    true = (np.arange(200_000) < share * 200_000).astype(int)
    truth = sk.average_precision_score(true, chance.normal(true * 1.2))
    for _ in range(trials):
        drawn = (chance.random(1_000) < share).astype(int)
        found = average_precision(binned(drawn, chance.normal(drawn * 1.2), np.linspace(-3, 4, 500))[1])
        hits += found.low <= truth <= found.high
    assert covered(hits, trials, 0.93)


def grouped_error(true: np.ndarray, scores: np.ndarray, edges: np.ndarray, n_groups: int) -> float:
    """Compute the error from the scores themselves, in the same groups of bins."""
    codes = np.searchsorted(edges, scores, side="left")
    groups = np.searchsorted(np.arange(n_groups) * (len(edges) + 1) // n_groups, codes, side="right") - 1
    return sum(
        abs(true[groups == group].mean() - scores[groups == group].mean()) * (groups == group).mean()
        for group in np.unique(groups)
    )


@pytest.mark.parametrize("bins", [4, 100, 1024])
def test_calibration_error_is_within_its_bound_of_that_of_the_scores_themselves(bins: int) -> None:
    chance = np.random.default_rng(3)
    for power in (1.0, 1.5):
        scores = chance.random(4_000) ** 2
        true = (chance.random(4_000) < scores**power).astype(int)
        edges = quantile_edges(chance.random(9_000) ** 2, bins)
        found = calibration_error(binned(true, scores, edges)[1], edges)
        exact = grouped_error(true, scores, edges, min(15, len(edges) + 1))
        assert abs(found.value - exact) <= found.resolution_bound + 1e-12
        assert found.resolution_bound < 1.0 / bins


def test_the_interval_of_calibration_error_holds_the_true_one_also_where_it_is_0() -> None:
    chance, trials = np.random.default_rng(4), 200
    edges = np.linspace(0, 1, 1025)[1:-1]
    for power, truth in ((1.0, 0.0), (2.0, 1 / 6)):  # the mean of s - s² over [0, 1] is 1/6
        hits = 0
        for _ in range(trials):
            scores = chance.random(1_000)
            true = (chance.random(1_000) < scores**power).astype(int)
            found = calibration_error(binned(true, scores, edges)[1], edges)
            hits += found.low <= truth <= found.high
            assert 0 <= found.low <= found.value <= found.high
        assert covered(hits, trials, 0.95)


def test_calibration_error_of_nothing_is_none_and_of_one_bin_a_number() -> None:
    assert calibration_error(np.zeros((3, 2), np.int64), np.array([0.2, 0.7])) == (None, None, None, None)
    assert calibration_error(np.array([[3, 1]]), np.array([])).value == pytest.approx(abs(0.25 - 0.5))


def test_a_mean_has_the_normal_interval_of_its_values() -> None:
    values = np.random.default_rng(5).gamma(2.0, size=400)
    found = mean(400, values.sum(), (values**2).sum(), "no values")
    margin = 1.959963984540054 * stats.sem(values)
    assert found[:3] == pytest.approx((values.mean(), values.mean() - margin, values.mean() + margin), rel=1e-9)
    assert times(found, 400.0).value == pytest.approx(values.sum())
    assert mean(0, 0.0, 0.0, "no values") == (None, None, None, 0, "no values")
    assert mean(1, 2.0, 4.0, "no values")[:3] == (2.0, None, None)


def steps(values: np.ndarray, scale: float) -> list[int]:
    return [round(float(value) / scale * STEPS_PER_SCALE) for value in values]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_r2_and_bias_are_scikit_learns(scale: float) -> None:
    chance = np.random.default_rng(6)
    truth = chance.normal(7.0, 2.0, 500) * scale
    predicted = truth + chance.normal(0.3, 1.0, 500) * scale
    errors, labels = steps(predicted - truth, scale), steps(truth - 6.0 * scale, scale)
    sums = 500, sum(map(abs, errors)), sum(q * q for q in errors)
    found = r_squared(*sums, sum(labels), sum(q * q for q in labels))
    assert found.value == pytest.approx(sk.r2_score(truth, predicted), abs=1e-9)
    assert found.low < found.value < found.high < 1
    off = bias(500, sum(errors), sums[2], scale)
    assert off.value == pytest.approx((predicted - truth).mean(), rel=1e-8)
    assert off.high - off.value == pytest.approx(1.959963984540054 * stats.sem(predicted - truth), rel=1e-6)


def test_r2_of_equal_labels_is_none_and_of_no_error_one() -> None:
    assert r_squared(3, 3, 3, 30, 300) == (None, None, None, 3, "all labels are the same")
    assert r_squared(0, 0, 0, 0, 0).reason == "no labels"
    assert r_squared(2, 0, 0, 10, 100)[:3] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_the_interval_of_r2_covers_for_normal_labels(noise: float) -> None:
    chance, hits, trials = np.random.default_rng(7), 0, 400
    for _ in range(trials):
        predicted = chance.normal(size=300)
        truth = predicted + noise * chance.normal(size=300)
        errors, labels = steps(predicted - truth, 1.0), steps(truth, 1.0)
        sums = 300, sum(map(abs, errors)), sum(q * q for q in errors)
        found = r_squared(*sums, sum(labels), sum(q * q for q in labels))
        hits += found.low <= 1 - noise**2 / (1 + noise**2) <= found.high
    assert covered(hits, trials, 0.93)
