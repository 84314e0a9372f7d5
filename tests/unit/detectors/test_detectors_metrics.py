"""A metric is a number with an interval where it is defined, and None where it is not."""

import math

import numpy as np
import pytest

from detectors.metrics import (
    LIMBS,
    STEPS_MAX,
    STEPS_PER_SCALE,
    Binned,
    average_precision,
    binary_metrics,
    error_limbs,
    limbs_value,
    multiclass_metrics,
    regression_metrics,
    roc_auc,
    to_steps,
    wilson,
)


def test_the_positive_class_may_be_either_index() -> None:
    confusion = np.array([[50, 10], [5, 35]])
    assert binary_metrics(confusion, 1)["recall"].value == 35 / 45
    assert binary_metrics(confusion, 0)["recall"].value == 50 / 55
    assert binary_metrics(confusion, 1)["precision"].value == 35 / 40
    assert binary_metrics(confusion[::-1, ::-1], 0) == binary_metrics(confusion, 1)


def test_metrics_without_a_denominator_are_none_and_not_zero() -> None:
    nothing = binary_metrics(np.zeros((2, 2), dtype=np.int64))
    assert set(nothing.values()) == {(None, None, None, 0, "no labels")}
    nobody_positive = binary_metrics(np.array([[10, 0], [0, 0]]))
    assert nobody_positive["accuracy"].value == 1.0
    assert {name: nobody_positive[name][3:] for name in ("precision", "recall", "f1")} == {
        "precision": (0, "nothing was predicted to be of the positive class"),
        "recall": (0, "no label is of the positive class"),
        "f1": (0, "no label is of the positive class, and nothing was predicted to be of the positive class"),
    }
    assert binary_metrics(np.array([[0, 3], [0, 4]]))["specificity"].reason == "no label is of the negative class"
    missed = binary_metrics(np.array([[10, 3], [0, 0]]))
    assert (missed["precision"].value, missed["recall"].value, missed["f1"].value) == (None, 0.0, 0.0)
    for found in (multiclass_metrics(np.zeros((3, 3), dtype=np.int64)), regression_metrics(0, 0, 0, 1.0)):
        assert set(found.values()) == {(None, None, None, 0, "no labels")}


@pytest.mark.parametrize("histogram", [[[0, 0]], [[5, 0], [3, 0]], [[0, 7]], np.zeros((0, 2))])
def test_auc_of_one_class_or_none_is_none(histogram: list[list[int]]) -> None:
    assert roc_auc(np.array(histogram, dtype=np.int64)) == Binned(None, None, None, None)


def test_auc_of_perfect_reversed_and_blind_scores() -> None:
    perfect = roc_auc(np.array([[20, 0], [0, 20]]))
    assert (perfect.value, perfect.high, perfect.resolution_bound) == (1.0, 1.0, 0.0)
    assert perfect.low is not None
    assert 0.85 < perfect.low < 0.97
    reversed_scores = roc_auc(np.array([[0, 20], [20, 0]]))
    assert (reversed_scores.value, reversed_scores.low) == (0.0, 0.0)
    assert reversed_scores.high == pytest.approx(1 - perfect.low)
    blind = roc_auc(np.array([[20, 20]]))
    assert (blind.value, blind.resolution_bound) == (0.5, 0.5)


@pytest.mark.parametrize(("rows", "value"), [([[0, 1], [10**6, 0]], 1e-6), ([[0, 1], [1, 0], [0, 10**6]], 1.0)])
def test_a_lonely_row_below_a_million_leaves_average_precision_unsure_but_defined(
    rows: list[list[int]], value: float
) -> None:
    found = average_precision(np.array(rows))
    assert found.value == pytest.approx(value, abs=1e-8)
    assert found.low == pytest.approx(0.0, abs=1e-300)
    assert found.high == pytest.approx(1.0)


def test_auc_counts_may_multiply_beyond_64_bits() -> None:
    auc = roc_auc(np.array([[10**12, 0], [0, 10**12], [10**12, 10**12]]))
    assert auc.value == pytest.approx(0.25 * (1 + 0 + 1 + 0.5))
    assert auc.resolution_bound == 0.125


def test_intervals_hold_their_value_and_stay_in_range() -> None:
    for n in (1, 2, 10, 1000):
        for successes in {0, n // 3, n}:
            low, high = wilson(successes, n)
            assert 0 <= low <= successes / n <= high <= 1
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0


def test_classes_that_never_occur_do_not_lower_a_macro_average() -> None:
    confusion = np.zeros((5, 5), dtype=np.int64)
    confusion[:2, :2] = [[40, 10], [5, 45]]
    assert multiclass_metrics(confusion) == multiclass_metrics(confusion[:2, :2])


def test_a_class_that_was_never_predicted_scores_zero_precision_with_an_unknown_bound() -> None:
    precision = multiclass_metrics(np.array([[50, 5], [0, 0]]))["macro_precision"]
    assert precision.value == 50 / 55 / 2
    assert precision.high is not None
    assert precision.high > 0.9


def test_errors_are_clipped_to_a_million_scales_and_nan_is_refused() -> None:
    steps = to_steps(np.array([0.0, 1.0, -2.0, 1e300, -np.inf, np.inf]), 2.0 / STEPS_PER_SCALE)
    assert steps.tolist() == [0, 2**31, -(2**32), STEPS_MAX, -STEPS_MAX, STEPS_MAX]
    assert to_steps(np.array([1e308]), 1e-300).tolist() == [STEPS_MAX]
    with pytest.raises(ValueError, match="number"):
        to_steps(np.array([1.0, np.nan]), 1.0)


def limbs_of(steps: np.ndarray) -> np.ndarray:
    return error_limbs(steps, np.ones(len(steps), np.int64), np.zeros(len(steps), np.int64), 1)[0]


def test_error_sums_of_the_largest_steps_are_exact() -> None:
    steps = np.full(1000, -STEPS_MAX)
    sums = [limbs_value(limbs) for limbs in limbs_of(steps).reshape(3, LIMBS)]
    assert sums == [1000 * STEPS_MAX, -1000 * STEPS_MAX, 1000 * STEPS_MAX**2]
    assert np.abs(limbs_of(steps)).max() < 2**32
    assert not limbs_of(np.zeros(0, dtype=np.int64)).any()


def test_a_single_error_has_no_interval_and_equal_errors_a_zero_width_mae() -> None:
    assert regression_metrics(1, 2**32, 2**64, 3.0)["mae"] == (3.0, None, None, 1, "a single value has no interval")
    equal = regression_metrics(4, 4 * 2**32, 4 * 2**64, 3.0)
    assert equal["mae"][:4] == (3.0, 3.0, 3.0, 4)
    assert equal["rmse"].value == 3.0
    zero = regression_metrics(4, 0, 0, 3.0)
    assert zero["mae"] == zero["rmse"] == (0.0, 0.0, 0.0, 4, None)
    assert not any(
        math.isnan(number) for estimate in (*equal.values(), *zero.values()) for number in estimate[:4] if number
    )
