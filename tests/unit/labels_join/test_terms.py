"""Are the sums that a metric is split by those of the metric itself?"""

import math

import numpy as np
import pytest

from labels_join.performance import metrics_of
from labels_join.terms import ratio_of, terms
from tests.support.outcomes import multiclass_profile, vector_of
from tests.support.profiles import event, profile_of

PROFILE = multiclass_profile("a", "b", "c")
NAMES = ["a", "b", "c", "new", "newer"]
OF_CLASSES = [f"{kind}.{name}" for kind in ("precision", "recall", "f1") for name in "abc"]


@pytest.mark.parametrize("metric", ["accuracy", *OF_CLASSES])
def test_the_terms_of_a_multiclass_metric_are_its_ratio(metric: str) -> None:
    """Also with classes that the reference does not know, and pairs without a score."""
    chance = np.random.default_rng(11)
    truth = chance.integers(0, 5, 2_000)
    predicted = np.where(chance.random(2_000) < 0.6, truth, chance.integers(0, 5, 2_000))
    score = np.where(chance.random(2_000) < 0.9, chance.random(2_000), np.nan)
    vector = vector_of(PROFILE, predicted, truth, score, NAMES)
    expected = metrics_of([(vector, PROFILE)], None, [metric])[metric].value

    assert ratio_of(PROFILE, metric) == (1.0, False)
    numerator, denominator = terms(vector, PROFILE, None, metric).sum(axis=0)
    assert numerator / denominator == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["macro_f1", "weighted_recall", "recall.unheard", "specificity"])
def test_what_is_no_ratio_of_sums_is_not_split(metric: str) -> None:
    assert ratio_of(PROFILE, metric) is None


@pytest.mark.parametrize("metric", ["mae", "rmse", "bias", "mape"])
def test_the_terms_of_an_error_are_its_mean_or_that_of_its_square(metric: str) -> None:
    chance = np.random.default_rng(12)
    profile = profile_of([event(row, row, float(chance.normal(50, 20))) for row in range(200)], "regression")
    predicted, truth = chance.normal(50, 20, 500), chance.normal(52, 20, 500)
    vector = vector_of(profile, predicted, truth, np.full(500, np.nan), [])
    error = predicted - truth
    expected = {
        "mae": np.abs(error).mean(),
        "rmse": math.sqrt((error**2).mean()),
        "bias": error.mean(),
        "mape": np.abs(error / truth).mean(),
    }[metric]

    ratio = ratio_of(profile, metric)
    [[total, n]] = terms(vector, profile, None, metric).tolist()
    assert ratio is not None
    assert n == 500
    assert ratio.unit * (math.sqrt(total / n) if ratio.is_root else total / n) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("metric", ["brier", "log_loss"])
def test_the_terms_of_a_loss_are_its_mean_over_what_has_a_score(metric: str) -> None:
    chance = np.random.default_rng(13)
    profile = profile_of([event(row, row, row % 2, score=(row + 0.5) / 100) for row in range(100)])
    score, truth = chance.uniform(0.01, 0.99, 400), chance.integers(0, 2, 400)
    vector = vector_of(profile, truth, truth, np.where(np.arange(400) % 4, score, np.nan), ["0", "1"])
    right = np.where(truth, score, 1 - score)[np.arange(400) % 4 > 0]
    expected = {"brier": (1 - right) ** 2, "log_loss": -np.log(right)}[metric].mean()

    [[total, n]] = terms(vector, profile, "1", metric).tolist()
    assert (ratio_of(profile, metric), n) == ((1.0, False), 300)
    assert total / n == pytest.approx(expected, rel=1e-7)


def test_what_a_float_can_not_hold_is_not_split() -> None:
    huge = profile_of([event(row, row, 1e300 * (row % 7 - 3)) for row in range(60)], "regression")
    assert ratio_of(huge, "rmse") is None
    assert ratio_of(huge, "r2") is None
