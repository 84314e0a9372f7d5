"""Is the share of labels that is in by each age what cohorts that grew up say, and is it told when none did?"""

import numpy as np
import pytest

from detectors.reference.profile import Profile
from labels_join.delays import (
    MATURE_SHARE,
    SPARSE,
    YOUNG,
    DelayCurves,
    Delays,
    DelaySpec,
    by_score_of,
    delay_curves,
    strata_of,
)
from tests.support.late_labels import DAY, LATE_POSITIVES, SPEC, history
from tests.support.outcomes import multiclass_profile, vector_of
from tests.support.profiles import event, profile_of


def watched(seed: int, days: int) -> Delays:
    """Watch a deployment for some days, two of its labels' classes and scores."""
    return history(LATE_POSITIVES, np.random.default_rng(seed), days)


@pytest.mark.parametrize("days", [12, 62, 87])
def test_with_less_history_than_the_horizon_it_says_that_it_can_not_know(days: int) -> None:
    assert delay_curves(SPEC, watched(1, days), days * DAY) == YOUNG


def test_a_class_of_which_next_to_no_label_grew_up_is_not_known() -> None:
    delays = watched(2, 122)
    for block in delays.blocks.values():
        block[:, 1] = 0
    assert delay_curves(SPEC, delays, 122 * DAY) == SPARSE
    first = min(delays.blocks)
    delays.blocks[first][0, 1, 0] = 29
    assert delay_curves(SPEC, delays, 122 * DAY) == SPARSE


def test_only_groups_of_scores_with_enough_labels_have_delays_of_their_own() -> None:
    curves = delay_curves(SPEC, watched(3, 182), 182 * DAY)
    assert isinstance(curves, DelayCurves)
    # Next to no positive has a score in the lowest quarter, and no prediction is without one.
    assert curves.has_own.tolist() == [[True, True, True, True, False], [False, True, True, True, False]]
    of_class = curves.share[:, 1, 4]
    np.testing.assert_array_equal(curves.share[:, 1, 0], of_class)
    assert (curves.share[:, 1, 3] != of_class).any()


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
    delays = watched(5, 182)
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


def test_pairs_with_a_score_are_told_apart_by_bin_and_true_class() -> None:
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    profile = profile_of([event(0, 0, 1, label=row % 2, score=p) for row, p in enumerate(scores)])
    vector = vector_of(profile, [0, 1, 1, 0], [1, 0, 1, 1], [0.0, 0.0, 0.99, np.nan], ["0", "1"])
    by_score = by_score_of(vector, profile, "1")
    assert by_score.shape == (len(profile.score_edges) + 1, 2)
    assert (by_score[0].tolist(), by_score[-1].tolist(), by_score.sum()) == ([1, 1], [0, 1], 3)
    assert by_score_of(vector, profile, "0")[-1].tolist() == [1, 0]
