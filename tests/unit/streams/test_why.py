"""Do the parts of a fall of performance add up to it, whatever the metric, and lie where the fall does?"""

import numpy as np
import pytest

from labels_join.terms import Ratio, ratio_of, terms
from streams.judging.why import performance_why
from tests.support.outcomes import vector_of
from tests.support.profiles import event, profile_of

CHANCE = np.random.default_rng(31)
PROFILE = profile_of([event(row, row, float(CHANCE.normal(50, 20))) for row in range(200)], "regression")


def drawn(n: int, share_of_b: float, spread_of_b: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw segments, predictions and labels; errors of `a` have a deviation of 1."""
    is_b, truth = np.arange(n) < share_of_b * n, CHANCE.normal(50, 20, n)
    return is_b, truth + np.where(is_b, spread_of_b, 1.0) * CHANCE.normal(0.5, 1.0, n), truth


def value_of(metric: str, error: np.ndarray, truth: np.ndarray) -> float:
    found = {
        "mae": np.abs(error).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "bias": error.mean(),
        "mape": np.abs(error / truth).mean(),
    }
    return float(found[metric])


@pytest.mark.parametrize("metric", ["mae", "rmse", "bias", "mape"])
@pytest.mark.parametrize(("share_of_b", "spread_of_b", "cause"), [(0.8, 4.0, "inputs"), (0.2, 16.0, "relation")])
def test_errors_that_grow_are_split_by_segments_into_inputs_and_relation(
    metric: str, share_of_b: float, spread_of_b: float, cause: str
) -> None:
    """Those of b are four times as far off as a from the start; then more of them come, or they are off by more."""
    ratio = ratio_of(PROFILE, metric)
    assert ratio is not None
    sides, values = [], []
    for is_b, predicted, truth in (drawn(4000, 0.2, 4.0), drawn(1000, share_of_b, spread_of_b)):
        parts = {"*": np.ones_like(is_b), "plan=a": ~is_b, "plan=b": is_b}
        vectors = {
            name: vector_of(PROFILE, predicted[of], truth[of], np.full(of.sum(), np.nan), [])
            for name, of in parts.items()
        }
        sides.append({name: terms(of, PROFILE, None, metric) for name, of in vectors.items()})
        values.append(value_of(metric, predicted - truth, truth))

    why = performance_why(*sides, ["plan"], ratio, "unknown")

    assert why["baseline"] == pytest.approx(values[0], rel=1e-8)
    assert why["change"] == pytest.approx(values[1] - values[0], rel=1e-7)
    [by_plan] = why["because"]
    assert by_plan["inputs"] + by_plan["relation"] == pytest.approx(why["change"], rel=1e-12)
    told = {of["segment"]: of["inputs"] + of["relation"] for of in by_plan["parts"]}
    assert sum(told.values()) == pytest.approx(why["change"], rel=1e-12)
    if metric != "mape":  # labels near 0 make it swing, whatever else happens
        assert by_plan[cause] == pytest.approx(why["change"], rel=0.25)


def test_a_metric_without_labels_before_is_not_explained() -> None:
    assert performance_why({}, {"*": np.array([[1.0, 2.0]])}, ["plan"], Ratio(), "unknown") == {}
