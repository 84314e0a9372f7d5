"""Are metrics corrected for late labels what all labels will say, and does it say so when that can't be known?"""

import numpy as np
import pytest

from detectors.reference.profile import Profile
from driftline.settings.metrics import Metric
from labels_join.delays import (
    MATURE_SHARE,
    NO_LABEL,
    SPARSE,
    TOO_YOUNG,
    YOUNG,
    DelayCurves,
    Delays,
    DelaySpec,
    corrected,
    delay_curves,
    strata_of,
)
from labels_join.performance import metrics_of
from tests.support.outcomes import multiclass_profile, vector_of

DAY = 86_400_000
SPEC = DelaySpec(DAY, 90 * DAY)
CLASSES = ("negative", "positive")
A_DAY = 4_000
POSITIVE, RECALL, FALSE_ALARMS = 0.05, 0.6, 0.0169
MEAN_DELAY_DAYS = (2.0, 20.0)
"""Of 5 % positives six in ten are found; their labels take 20 days, the negatives' two."""

TRUTH = {
    "precision": POSITIVE * RECALL / (POSITIVE * RECALL + (1 - POSITIVE) * FALSE_ALARMS),
    "recall": RECALL,
    "specificity": 1 - FALSE_ALARMS,
    "accuracy": POSITIVE * RECALL + (1 - POSITIVE) * (1 - FALSE_ALARMS),
}


def came_at(chance: np.random.Generator, n: int, mean_days: float) -> np.ndarray:
    """Return how many of a day's labels are in by the first slide, and how many with each later one."""
    made, delay = chance.random(n), chance.exponential(mean_days, n)
    age = np.floor(made + delay).astype(int)
    return np.bincount(age[delay <= 90], minlength=92)


def day_of(chance: np.random.Generator) -> np.ndarray:
    """Draw a day's pairs: [predicted, true, age]."""
    pairs = np.zeros((2, 2, 92), np.int64)
    n_positive = chance.binomial(A_DAY, POSITIVE)
    for true, n, flagged in ((0, A_DAY - n_positive, FALSE_ALARMS), (1, n_positive, RECALL)):
        n_flagged = chance.binomial(n, flagged)
        for predicted, size in ((0, n - n_flagged), (1, n_flagged)):
            pairs[predicted, true] = came_at(chance, size, MEAN_DELAY_DAYS[true])[:92]
    return pairs


def watched(seed: int, days: int, age_days: int) -> tuple[Delays, np.ndarray]:
    """Watch some days, and one more until it has some age: what is counted by then, and that day's labelled pairs."""
    chance, delays = np.random.default_rng(seed), Delays(0)
    now = days + age_days + 1
    pairs = np.zeros((2, 2, 92), np.int64)
    for day in range(now):
        drawn = day_of(chance)
        drawn[:, :, max(0, now - day) :] = 0  # not in yet
        for age in np.flatnonzero(drawn.sum(axis=(0, 1))):
            strata = np.zeros((2, 5), np.int64)
            strata[:, 0], strata[:, 3] = drawn[0, :, age], drawn[1, :, age]
            delays.add(SPEC, SPEC.block_of(day * DAY), SPEC.age_index(int(age) * DAY), strata)
        if day == days:
            pairs = drawn
    by_group = np.zeros((2, 2, 5), np.int64)
    by_group[0, :, 0], by_group[1, :, 3] = pairs[0].sum(axis=1), pairs[1].sum(axis=1)
    return delays, by_group


def test_two_weeks_on_precision_is_corrected_without_bias_and_with_intervals_that_cover() -> None:
    naive, found, within, sizes = [], [], [], []
    for seed in range(60):
        delays, pairs = watched(seed, 180, 14)
        curves = delay_curves(SPEC, delays, 195 * DAY)
        assert isinstance(curves, DelayCurves)
        of = corrected(curves, [(14 * DAY, pairs)], TRUTH, CLASSES)
        table = pairs.sum(axis=2)
        naive.append(table[1, 1] / table[1].sum())
        found.append([of.metrics[name].value for name in TRUTH])
        within.append([of.metrics[name].low <= truth <= of.metrics[name].high for name, truth in TRUTH.items()])
        assert of.expected_coverage == pytest.approx(0.97, abs=0.02)
        assert of.mature_after_ms == pytest.approx(59 * DAY, abs=9 * DAY)  # exp(-59 / 20) is 5 %
        assert of.reason is None
        sizes.append(of.metrics["precision"].n)
    bias = np.mean(found, axis=0) - list(TRUTH.values())
    assert np.mean(naive) < TRUTH["precision"] - 0.15
    assert np.abs(bias).max() <= 0.02
    assert np.mean(within) >= 0.93
    # Each positive that is in stands for two: they tell less than as many pairs of which all are in.
    whole = A_DAY * (POSITIVE * RECALL + (1 - POSITIVE) * FALSE_ALARMS)
    assert 0.5 * whole < np.mean(sizes) < 0.85 * whole


@pytest.mark.parametrize("days", [10, 60, 85])
def test_with_less_history_than_the_horizon_it_says_that_it_can_not_know(days: int) -> None:
    delays, pairs = watched(1, days, 1)
    curves = delay_curves(SPEC, delays, (days + 2) * DAY)
    assert curves == YOUNG
    assert corrected(curves, [(DAY, pairs)], TRUTH, CLASSES) == ({}, None, None, YOUNG)


def test_a_class_of_which_next_to_no_label_grew_up_is_not_known() -> None:
    delays, _ = watched(2, 120, 1)
    for block in delays.blocks.values():
        block[:, 1] = 0
    assert delay_curves(SPEC, delays, 122 * DAY) == SPARSE
    first = min(delays.blocks)
    delays.blocks[first][0, 1, 0] = 29
    assert delay_curves(SPEC, delays, 122 * DAY) == SPARSE


def test_labels_that_can_hardly_be_in_are_not_made_up_for() -> None:
    delays, _ = watched(3, 180, 1)
    curves = delay_curves(SPEC, delays, 182 * DAY)
    assert isinstance(curves, DelayCurves)
    nothing = np.zeros((2, 2, 5), np.int64)
    of = corrected(curves, [(0, nothing)], TRUTH, CLASSES)
    assert (of.metrics, of.reason) == ({}, TOO_YOUNG)
    assert of.expected_coverage == pytest.approx(0.2, abs=0.05)


def test_a_window_without_a_label_says_so() -> None:
    delays, _ = watched(3, 180, 1)
    curves = delay_curves(SPEC, delays, 182 * DAY)
    assert isinstance(curves, DelayCurves)
    assert corrected(curves, [], TRUTH, CLASSES) == ({}, None, curves.mature_after_ms, NO_LABEL)


def test_when_all_labels_are_in_nothing_is_corrected() -> None:
    delays, pairs = watched(4, 180, 14)
    curves = delay_curves(SPEC, delays, 195 * DAY)
    assert isinstance(curves, DelayCurves)
    of = corrected(curves, [(90 * DAY, pairs)], ["precision", "f1", "roc_auc"], CLASSES)
    table = pairs.sum(axis=2)
    assert of.metrics.keys() == {"precision", "f1"}
    assert of.metrics["precision"].value == pytest.approx(table[1, 1] / table[1].sum())
    assert of.expected_coverage == pytest.approx(1.0)


@pytest.mark.parametrize("predicted", [[2, 2, 0, 1, 1, 0], [2, 2, 2]])
def test_once_all_labels_are_in_the_correction_is_the_metric_itself_also_where_nobody_knows_the_classes(
    predicted: list[int],
) -> None:
    profile = multiclass_profile("ant", "bee")
    truth = [2, 3, 0, 0, 1, 3][: len(predicted)]
    vector = vector_of(profile, predicted, truth, [np.nan] * len(truth), ["ant", "bee", "cat", "dog"])
    all_in, certain = np.ones((len(SPEC.ages_ms), 3, 5)), np.zeros((len(SPEC.ages_ms), 3, 5))
    curves = DelayCurves(SPEC, all_in, certain, all_in[:, 0, 0], 0)
    wanted: list[Metric] = ["accuracy", "macro_recall", "macro_precision", "macro_f1"]

    of = corrected(curves, [(90 * DAY, strata_of(vector, profile, None))], wanted, profile.classes)
    told = {name: found.value for name, found in metrics_of([(vector, profile)], None, wanted).items()}
    assert {name: found.value for name, found in of.metrics.items()} == pytest.approx(
        {name: value for name, value in told.items() if value is not None}
    )
    assert (of.expected_coverage, of.reason) == (1.0, None)


def test_shares_by_age_are_the_reverse_product_limit_of_cohorts_that_are_old_enough() -> None:
    # Three blocks of a tenth; the young ones can't say how many slow labels there are.
    spec = DelaySpec(1, 3)
    assert (spec.ages_ms.tolist(), spec.block_ms) == ([0, 1, 2, 3], 1)
    delays = Delays(0)
    for start, by_age in ((0, [40, 30, 20, 10]), (1, [80, 60, 40]), (2, [40, 30])):
        for age, n in enumerate(by_age):
            delays.add(spec, start, age, np.array([[n]]))
    curves = delay_curves(spec, delays, 4)
    assert isinstance(curves, DelayCurves)
    last = 1 - 10 / 100
    third = 1 - (20 + 40) / (90 + 180)
    second = 1 - (30 + 60 + 30) / (70 + 140 + 70)
    expected = [second * third * last, third * last, last, 1.0]
    assert curves.share[:, 0, 0] == pytest.approx(expected)
    assert curves.of_all == pytest.approx(expected)
    assert curves.at(1)[2] == pytest.approx(third * last)
    assert curves.mature_after_ms == 3
    assert last < MATURE_SHARE


def test_cohorts_from_before_the_watch_are_left_out_and_old_ones_are_forgotten() -> None:
    delays, _ = watched(5, 180, 1)
    early, since = dict(delays.blocks), 60 * DAY
    late = Delays(since, {start: block for start, block in delays.blocks.items() if start >= since})
    one, other = (delay_curves(SPEC, Delays(since, dict(of)), 182 * DAY) for of in (early, late.blocks))
    assert isinstance(one, DelayCurves)
    assert isinstance(other, DelayCurves)
    np.testing.assert_array_equal(one.share, other.share)
    gone = delays.forget(SPEC, 300 * DAY)
    assert gone
    assert all(start + SPEC.block_ms < 120 * DAY for start in gone)
    assert min(delays.blocks) + 2 * SPEC.block_ms >= 118 * DAY - SPEC.block_ms
    assert len(delays.blocks) <= 2 * 32 + 4


def test_ages_and_blocks_are_bounded_whatever_the_horizon() -> None:
    for grain_ms, horizon_ms in ((60_000, 30 * DAY), (3_600_000, 366 * 10 * DAY), (DAY, DAY), (7 * DAY, DAY)):
        spec = DelaySpec(grain_ms, horizon_ms)
        ages = spec.ages_ms
        assert ages[0] == 0
        assert ages[-1] >= horizon_ms
        assert (np.diff(ages) > 0).all()
        assert (ages % grain_ms == 0).all()
        assert len(ages) < 120
        assert horizon_ms / spec.block_ms < 66


def test_pairs_are_told_apart_by_class_and_quarter_of_the_scores() -> None:
    many: Profile = multiclass_profile("ant", "bee", "cat")
    vector = vector_of(many, [0, 1, 1, 3], [0, 1, 2, 3], [np.nan] * 4, ["ant", "bee", "cat", "odd"])
    strata = strata_of(vector, many, None)
    assert strata.shape == (4, 4, 5)
    assert strata[:, :, 4].tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert strata.sum() == 4
