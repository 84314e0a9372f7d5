"""Error sums are exact whatever the order and batching, and intervals always hold their value."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.metrics import (
    LIMBS,
    STEPS_MAX,
    binary_metrics,
    error_limbs,
    limbs_value,
    multiclass_metrics,
    regression_metrics,
    roc_auc,
    times,
)

steps = st.lists(st.integers(-STEPS_MAX, STEPS_MAX) | st.integers(-9, 9), max_size=40)
counts = st.integers(0, 30) | st.integers(0, 10**9)


def limbs_of(values: np.ndarray) -> np.ndarray:
    return error_limbs(values, np.ones(len(values), np.int64), np.zeros(len(values), np.int64), 1)[0]


def sums(limbs: np.ndarray) -> list[int]:
    return [limbs_value(part) for part in limbs.reshape(3, LIMBS)]


@given(steps, st.lists(st.integers(0, 40), max_size=5), st.randoms())
@settings(deadline=None)
def test_merged_error_sums_are_those_of_one_batch_in_any_order(values: list[int], cuts: list[int], random) -> None:
    shuffled = random.sample(values, len(values))
    bounds = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    batches = [np.array(shuffled[low:high], dtype=np.int64) for low, high in pairwise(bounds)]
    merged = sum((limbs_of(batch) for batch in batches), start=np.zeros(3 * LIMBS, dtype=np.int64))
    assert sums(merged) == [sum(map(abs, values)), sum(values), sum(value * value for value in values)]


@given(steps, steps)
@settings(deadline=None)
def test_what_is_taken_back_leaves_the_rest(kept: list[int], taken: list[int]) -> None:
    both, back = (limbs_of(np.array(values, dtype=np.int64)) for values in (kept + taken, taken))
    assert sums(both - back) == sums(limbs_of(np.array(kept, dtype=np.int64)))


@given(st.lists(counts, min_size=9, max_size=9))
@settings(deadline=None)
def test_classification_intervals_hold_their_value(cells: list[int]) -> None:
    confusion = np.array(cells, dtype=np.int64).reshape(3, 3)
    estimates = [*multiclass_metrics(confusion).values(), *binary_metrics(confusion[:2, :2]).values()]
    total = max(1, int(confusion[:2, :2].sum()))
    counts_of = binary_metrics(confusion[:2, :2])
    estimates = [of for of in estimates if of not in [counts_of[name] for name in ("tp", "fp", "fn", "tn")]]
    estimates += [times(counts_of[name], 1 / total) for name in ("tp", "fp", "fn", "tn")]
    for value, low, high, n, reason in estimates:
        assert (value is None) == (n == 0) == (reason is not None)
        assert value is None or 0 <= low <= value + 1e-12 <= high + 2e-12 <= 1 + 4e-12


@given(st.lists(st.tuples(counts, counts), max_size=20))
@settings(deadline=None)
def test_auc_intervals_hold_their_value_and_mirror_with_the_classes(bins: list[tuple[int, int]]) -> None:
    histogram = np.array(bins, dtype=np.int64).reshape(-1, 2)
    auc, mirrored = roc_auc(histogram), roc_auc(histogram[:, ::-1])
    assert (auc.value is None) == (histogram.sum(axis=0).min() == 0)
    if auc.value is not None:
        assert 0 <= auc.low <= auc.value <= auc.high <= 1
        assert np.isclose(mirrored.value, 1 - auc.value)
        assert np.isclose(mirrored.low, 1 - auc.high, atol=1e-9)


@given(steps.filter(len))
@settings(deadline=None)
def test_regression_intervals_hold_their_value(values: list[int]) -> None:
    n, absolute, square = len(values), sum(map(abs, values)), sum(value * value for value in values)
    for value, low, high, size, _ in regression_metrics(n, absolute, square, 0.5).values():
        assert size == n
        assert np.isfinite(value)
        assert low is None if n == 1 else low <= value <= high
