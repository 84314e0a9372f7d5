"""Metrics equal scikit-learn's and scipy's, and their intervals cover what they promise."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from detectors.metrics import (
    LIMBS,
    STEPS_PER_SCALE,
    Z95,
    binary_metrics,
    error_limbs,
    limbs_value,
    multiclass_metrics,
    regression_metrics,
    roc_auc,
    to_steps,
    wilson,
)


def covered(hits: int, trials: int, share: float) -> bool:
    """Tell whether `hits` is above the 1e-4 quantile of Binomial(trials, share)."""
    return hits >= stats.binom.ppf(1e-4, trials, share)


def labels(generator: np.random.Generator, classes: int, n: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    true = generator.integers(0, classes, n)
    predicted = np.where(generator.random(n) < 0.6, true, generator.integers(0, classes, n))
    return true, predicted, sk.confusion_matrix(true, predicted, labels=range(classes)).T.astype(np.int64)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (81, 263), (15, 148), (29, 29), (5000, 10_000)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_binary_metrics_are_scikit_learns() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        true, predicted, confusion = labels(generator, 2)
        ours = {name: estimate.value for name, estimate in binary_metrics(confusion).items()}
        expected = {
            "accuracy": sk.accuracy_score(true, predicted),
            "precision": sk.precision_score(true, predicted),
            "recall": sk.recall_score(true, predicted),
            "f1": sk.f1_score(true, predicted),
            "specificity": sk.recall_score(true, predicted, pos_label=0),
            **dict(zip(("tn", "fp", "fn", "tp"), sk.confusion_matrix(true, predicted).ravel(), strict=True)),
        }
        assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_multiclass_metrics_are_scikit_learns_macro_averages_also_without_some_classes(classes: int) -> None:
    generator = np.random.default_rng(2)
    for absent in (False, True):
        true, predicted, _ = labels(generator, classes)
        if absent:
            predicted[predicted == 0] = 1
        confusion = sk.confusion_matrix(true, predicted, labels=range(classes + 1)).T.astype(np.int64)
        scores = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
        expected = {"accuracy": sk.accuracy_score(true, predicted)} | {
            f"{how}_{name}": score(true, predicted, average=how, zero_division=0.0)
            for how in ("macro", "weighted")
            for name, score in scores.items()
        }
        ours = {name: estimate.value for name, estimate in multiclass_metrics(confusion).items()}
        assert ours == pytest.approx(expected, abs=1e-12)


def test_auc_is_scikit_learns_of_the_binned_scores_and_within_its_bound_of_the_exact_one() -> None:
    generator = np.random.default_rng(3)
    for bins in (2, 16, 1024):
        true = generator.random(3000) < 0.2
        scores = generator.normal(true * 1.2)
        edges = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]))
        codes = np.searchsorted(edges, scores, side="left")
        histogram = np.stack(
            [np.bincount(codes[true == positive], minlength=bins) for positive in (False, True)], axis=1
        )
        auc = roc_auc(histogram)
        assert auc.value == pytest.approx(sk.roc_auc_score(true, codes), abs=1e-12)
        assert abs(auc.value - sk.roc_auc_score(true, scores)) <= auc.resolution_bound


@pytest.mark.parametrize("positives", [0.5, 0.25, 0.1, 0.01])
@pytest.mark.parametrize("bins", [16, 1024])
def test_the_auc_bound_is_half_the_pairs_of_a_bin_is_attained_and_is_small_where_bins_are_equally_full(
    positives: float, bins: int
) -> None:
    generator = np.random.default_rng(4)
    scores = generator.random(bins * 64)
    true = generator.random(scores.size) < np.clip(2 * positives * scores, 0, 1)
    codes = np.searchsorted(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]), scores, side="left")
    histogram = np.stack([np.bincount(codes[true == positive], minlength=bins) for positive in (False, True)], axis=1)
    auc = roc_auc(histogram)
    shares = histogram / histogram.sum(axis=0)
    assert auc.resolution_bound == pytest.approx((shares[:, 0] * shares[:, 1]).sum() / 2, abs=1e-15)
    assert set(histogram.sum(axis=1)) == {64}
    assert auc.resolution_bound <= 2 / (3 * bins)
    # Within each bin all positives above all negatives, or below: the farthest that binning can have moved the area.
    for sign in (1, -1):
        assert sk.roc_auc_score(true, codes + sign * true / 2) - auc.value == pytest.approx(
            sign * auc.resolution_bound, abs=1e-12
        )


@pytest.mark.parametrize(("positives", "negatives"), [(10, 10), (20, 1000), (100, 100)])
@pytest.mark.parametrize("area", [0.6, 0.8, 0.95, 0.99])
def test_the_auc_interval_covers_also_near_a_perfect_score(positives: int, negatives: int, area: float) -> None:
    generator, hits, trials = np.random.default_rng(4), 0, 300
    classes = np.repeat([1, 0], [positives, negatives])
    for _ in range(trials):
        scores = generator.normal(classes * 2**0.5 * stats.norm.ppf(area))
        ranked = classes[np.argsort(scores)]
        auc = roc_auc(np.stack([1 - ranked, ranked], axis=1))
        hits += auc.low <= area <= auc.high
    assert covered(hits, trials, 0.94)


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize(
    "shares",
    [
        [[0.90, 0.01, 0.002], [0.02, 0.05, 0.003], [0.003, 0.002, 0.01]],
        [[0.50, 0.00, 0.00], [0.00, 0.05, 0.20], [0.00, 0.20, 0.05]],
        [[0.45, 0.20, 0.05], [0.03, 0.10, 0.05], [0.02, 0.05, 0.05]],
    ],
    ids=["a rare class", "two classes taken for each other", "one class preferred"],
)
def test_f1_macro_and_weighted_intervals_cover(shares: list[list[float]], n: int) -> None:
    shares = np.array(shares)
    diagonal, predicted, true = np.diagonal(shares), shares.sum(axis=1), shares.sum(axis=0)
    truth = {
        "accuracy": diagonal.sum(),
        "macro_precision": (diagonal / predicted).mean(),
        "macro_recall": (diagonal / true).mean(),
        "macro_f1": (2 * diagonal / (predicted + true)).mean(),
        "weighted_precision": (diagonal / predicted * true).sum(),
        "weighted_recall": diagonal.sum(),
        "weighted_f1": (2 * diagonal / (predicted + true) * true).sum(),
        "binary f1": 2 * shares[1, 1] / (predicted[1] + true[1]),
    }
    hits = dict.fromkeys(truth, 0)
    generator, trials = np.random.default_rng(5), 1000
    for _ in range(trials):
        confusion = generator.multinomial(n, shares.ravel()).reshape(3, 3)
        others = np.array(
            [[confusion[0, 0], confusion[[0, 2], 1].sum()], [confusion[1, [0, 2]].sum(), confusion[1, 1]]]
        )
        estimates = {**multiclass_metrics(confusion), "binary f1": binary_metrics(others)["f1"]}
        for name, value in truth.items():
            estimate = estimates[name]
            hits[name] += estimate.low is None or estimate.low <= value <= estimate.high
    assert all(covered(count, trials, 0.93) for count in hits.values()), hits


def from_errors(errors: np.ndarray, scale: float = 1.0) -> dict[str, tuple[float, float, float, int]]:
    one, zero = np.ones(errors.size, np.int64), np.zeros(errors.size, np.int64)
    limbs = error_limbs(to_steps(errors, scale / STEPS_PER_SCALE), one, zero, 1)
    sums = [limbs_value(of) for of in limbs.reshape(3, LIMBS)]
    return regression_metrics(errors.size, sums[0], sums[2], scale)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_regression_metrics_are_scikit_learns(scale: float) -> None:
    true, predicted = np.random.default_rng(6).normal(scale=scale, size=(2, 1000))
    ours = from_errors(predicted - true, scale)
    assert ours["mae"][0] == pytest.approx(sk.mean_absolute_error(true, predicted), rel=1e-8)
    assert ours["rmse"][0] == pytest.approx(sk.root_mean_squared_error(true, predicted), rel=1e-8)


def test_the_mae_interval_is_the_normal_one_of_the_absolute_errors() -> None:
    errors = np.random.default_rng(7).laplace(size=400)
    mae = from_errors(errors)["mae"]
    margin = Z95 * stats.sem(np.abs(errors))
    assert mae[1:3] == pytest.approx((mae[0] - margin, mae[0] + margin), rel=1e-8)


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0, 5.0])
def test_the_rmse_interval_takes_its_kurtosis_from_the_generalised_normal_distribution(shape: float) -> None:
    distribution = stats.gennorm(shape)
    rmse, mae = distribution.std(), distribution.expect(np.abs)
    n = 1000
    estimate = regression_metrics(n, round(n * mae * 2**32), round(n * rmse**2 * 2**64), 1.0)["rmse"]
    error = np.sqrt((float(distribution.stats("k")) + 2.0) / n) / 2
    assert np.log(estimate.high / rmse) == pytest.approx(Z95 * error, rel=1e-4)
    assert np.log(rmse / estimate.low) == pytest.approx(Z95 * error, rel=1e-4)


@pytest.mark.parametrize(
    ("draw", "mae", "rmse"),
    [
        (lambda generator: generator.normal(size=200), (2 / np.pi) ** 0.5, 1.0),
        (lambda generator: generator.laplace(size=200), 1.0, 2**0.5),
        (lambda generator: generator.uniform(-1, 1, 200), 0.5, 3**-0.5),
    ],
    ids=["normal", "laplace", "uniform"],
)
def test_regression_intervals_cover_for_light_and_heavy_tails(
    draw: Callable[[np.random.Generator], np.ndarray], mae: float, rmse: float
) -> None:
    generator, trials = np.random.default_rng(8), 1000
    estimates = [from_errors(draw(generator)) for _ in range(trials)]
    assert covered(sum(e["mae"][1] <= mae <= e["mae"][2] for e in estimates), trials, 0.93)
    assert covered(sum(e["rmse"][1] <= rmse <= e["rmse"][2] for e in estimates), trials, 0.93)
