"""Are metrics of weighted counts scikit-learn's with these weights, and do they move by as much as their slopes say?"""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from sklearn import metrics as sk

from detectors.metrics import Sloped, area_slopes, average_precision_slopes, mean_slopes, share_slopes

Metric = Callable[[np.ndarray], float]
STEP = 1e-4


def moves_as_told(metric: Metric, sloped: Callable[[np.ndarray], Sloped | None], counts: np.ndarray) -> None:
    """Compare with a metric of [cells …] weights, and with its differences around them."""
    found = sloped(counts)
    assert found is not None
    assert found.value == pytest.approx(metric(counts), abs=1e-12)
    assert found.slopes.shape == counts.shape
    for cell in product(*map(range, counts.shape)):
        apart = np.zeros(counts.shape)
        apart[cell] = STEP
        expected = (metric(counts + apart) - metric(counts - apart)) / (2 * STEP)
        assert found.slopes[cell] == pytest.approx(expected, abs=1e-7), cell


def of_classes(metric: Callable[..., float], **how: object) -> Metric:
    def of(confusion: np.ndarray) -> float:
        predicted, true = np.indices(confusion.shape).reshape(2, -1)
        return metric(true, predicted, sample_weight=confusion.ravel(), **how)

    return of


def share_of(cell: tuple[int, int]) -> Metric:
    return lambda confusion: confusion[cell] / confusion.sum()


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("accuracy", of_classes(sk.accuracy_score)),
        ("precision", of_classes(sk.precision_score)),
        ("recall", of_classes(sk.recall_score)),
        ("specificity", of_classes(sk.recall_score, pos_label=0)),
        ("f1", of_classes(sk.f1_score)),
        ("tp", share_of((1, 1))),
        ("fp", share_of((1, 0))),
        ("fn", share_of((0, 1))),
        ("tn", share_of((0, 0))),
    ],
)
def test_metrics_of_two_classes(name: str, metric: Metric) -> None:
    counts = np.random.default_rng(1).uniform(1, 9, (2, 2))
    moves_as_told(metric, lambda of: share_slopes(name, of, ("negative", "positive")), counts)


@pytest.mark.parametrize("how", ["macro", "weighted"])
@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_means_of_several_classes(how: str, kind: str) -> None:
    counts = np.random.default_rng(2).uniform(1, 9, (4, 4))
    metric = of_classes(getattr(sk, f"{kind}_score"), average=how)
    moves_as_told(metric, lambda of: share_slopes(f"{how}_{kind}", of, ("a", "b", "c")), counts)


@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_metrics_of_one_class(kind: str) -> None:
    counts = np.random.default_rng(3).uniform(1, 9, (3, 3))
    metric = of_classes(getattr(sk, f"{kind}_score"), average="macro", labels=[1])
    moves_as_told(metric, lambda of: share_slopes(f"{kind}.b", of, ("a", "b", "c")), counts)


def of_bins(metric: Callable[..., float]) -> Metric:
    def of(histogram: np.ndarray) -> float:
        score, true = np.indices(histogram.shape).reshape(2, -1)
        return metric(true, score, sample_weight=histogram.ravel())

    return of


@pytest.mark.parametrize(
    ("metric", "sloped"),
    [(sk.roc_auc_score, area_slopes), (sk.average_precision_score, average_precision_slopes)],
)
def test_areas_of_binned_scores(metric: Callable[..., float], sloped: Callable[[np.ndarray], Sloped]) -> None:
    moves_as_told(of_bins(metric), sloped, np.random.default_rng(4).uniform(1, 9, (7, 2)))


def test_empty_bins_leave_areas_alone() -> None:
    some = np.array([[5.0, 1.0], [2.0, 2.0], [1.0, 6.0]])
    apart = np.zeros((8, 2))
    apart[[1, 4, 6]] = some
    for sloped in (area_slopes, average_precision_slopes):
        assert sloped(apart).value == pytest.approx(sloped(some).value)
        assert sloped(apart).slopes[[1, 4, 6]] == pytest.approx(sloped(some).slopes)
        assert np.isfinite(sloped(apart).slopes).all()


def test_a_mean_of_weighted_values() -> None:
    chance = np.random.default_rng(5)
    values = chance.normal(size=6)
    moves_as_told(
        lambda of: float(np.average(values, weights=of)), lambda of: mean_slopes(of, values), chance.uniform(1, 9, 6)
    )


@pytest.mark.parametrize("name", ["roc_auc", "mae", "recall.d", "reward_mean", "macro_reward"])
def test_what_is_no_metric_of_counts_has_none(name: str) -> None:
    assert share_slopes(name, np.ones((3, 3)), ("a", "b")) is None


def test_what_is_not_defined_has_none() -> None:
    nothing_flagged = np.array([[90.0, 10.0], [0.0, 0.0]])
    assert share_slopes("precision", nothing_flagged, ("negative", "positive")) is None
    assert share_slopes("recall", nothing_flagged, ("negative", "positive")) == (
        0.0,
        pytest.approx(np.array([[0, 0], [0, 0.1]])),
    )
    unknown = np.zeros((3, 3))
    unknown[2, 0] = 5.0
    assert share_slopes("weighted_precision", unknown, ("a", "b")).value == 0.0
