"""Are the sums that a metric is split by those of the metric itself?"""

import numpy as np
import pytest

from labels_join.performance import metrics_of
from labels_join.terms import is_ratio, terms
from tests.support.outcomes import multiclass_profile, vector_of

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

    assert is_ratio(PROFILE, metric)
    numerator, denominator = terms(vector, PROFILE, None, metric).sum(axis=0)
    assert numerator / denominator == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["macro_f1", "weighted_recall", "recall.unheard", "specificity"])
def test_what_is_no_ratio_of_sums_is_not_split(metric: str) -> None:
    assert not is_ratio(PROFILE, metric)
