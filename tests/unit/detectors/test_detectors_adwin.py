"""Adaptive windows behave on the streams that make other implementations go wrong."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from detectors.reference.building import numeric_feature
from detectors.reference.profile import standardised_steps
from detectors.sequential.adwin import EVENTS_MAX, AdwinBank
from detectors.sequential.cuts import AdwinSpec, Cut

ONE = np.ones(1)
FLAGS = AdwinSpec()


def share_bank(effect: float = 0.0, spec: AdwinSpec = FLAGS) -> AdwinBank:
    return AdwinBank(spec, ONE, ONE, ONE * effect)


def looked_at(bank: AdwinBank, counts: np.ndarray, sums: np.ndarray, squares: np.ndarray, start_ms: int = 0) -> Cut:
    """Add a pane; return what changed, or, where nothing did, how the windows stand."""
    cut = bank.update(counts, sums, squares, start_ms)
    return cut if cut.detected.any() else bank.clearest()


def share_pane(bank: AdwinBank, n: int, ones: int, start_ms: int = 0) -> Cut:
    return looked_at(bank, np.array([n]), np.array([ones]), np.array([ones]), start_ms)


def standardised_alarms(values: np.ndarray, reference: np.ndarray, effect: float = 0.0, each: int = 100) -> list[int]:
    """Return the panes of `each` values at which the series of standardised means is cut."""
    feature = numeric_feature("x", reference, np.zeros(reference.size, bool), 10)
    bank = AdwinBank(FLAGS, ONE * 16, ONE / 4096, ONE * effect)
    alarms = []
    for pane, chunk in enumerate(np.split(values, np.arange(each, values.size, each))):
        steps, known = standardised_steps(feature, chunk), np.isfinite(chunk)
        cut = bank.update(*(np.array([total]) for total in (known.sum(), steps.sum(), (steps * steps).sum())))
        if cut.detected[0]:
            alarms.append(pane)
    return alarms


def test_one_nan_or_infinity_does_not_blind_the_window_to_a_later_jump() -> None:
    generator = np.random.default_rng(1)
    values = np.concatenate([generator.normal(size=5000), generator.normal(100, 1, size=5000)])
    values[[10, 20, 30]] = np.nan, np.inf, -np.inf
    assert standardised_alarms(values, generator.normal(size=1000)) == [50]


def test_one_change_is_alarmed_once() -> None:
    generator = np.random.default_rng(2)
    counts = []
    for _ in range(20):
        bank = share_bank()
        ones = [*generator.binomial(100, 0.2, 100), *generator.binomial(100, 0.5, 100)]
        counts.append(sum(bool(share_pane(bank, 100, int(count)).detected[0]) for count in ones))
    assert counts == [1] * 20


def test_negative_values_are_values_like_any_other() -> None:
    generator = np.random.default_rng(3)
    values = np.concatenate([generator.normal(-5, 1, 5000), generator.normal(-6, 1, 5000)])
    assert standardised_alarms(values, generator.normal(-5, 1, 1000))[0] in (50, 51)


def test_the_same_jump_is_found_at_every_scale_and_offset() -> None:
    generator = np.random.default_rng(4)
    reference, values = generator.normal(size=1000), generator.normal(size=4000)
    values[2000:] += 0.5
    alarms = [
        standardised_alarms(values * scale + offset, reference * scale + offset)
        for scale, offset in ((1.0, 0.0), (1e-3, 0.0), (1e3, 0.0), (-1.0, 0.0), (1.0, 1e6))
    ]
    assert alarms[0]
    assert alarms == [alarms[0]] * 5


def test_with_a_clock_of_32_verdicts_come_every_32_panes_only() -> None:
    every_pane, every_32 = share_bank(), share_bank(spec=AdwinSpec(clock=32))
    alarms: dict[str, list[int]] = {"1": [], "32": []}
    for pane in range(200):
        ones = 20 if pane < 100 else 80
        for name, bank in (("1", every_pane), ("32", every_32)):
            if share_pane(bank, 100, ones).detected[0]:
                alarms[name].append(pane)
    assert alarms == {"1": [100], "32": [127]}


def test_small_noise_on_a_large_offset_keeps_an_exact_variance() -> None:
    # Steps of 10^8 and noise of one step: squares of 10^16, whose float sum would lose the noise.
    reported = []
    for offset in (0, 10**8):
        bank = AdwinBank(FLAGS, ONE * 10, ONE, ONE * 0)
        noise = np.random.default_rng(6).integers(-1, 2, (60, 10))
        for row in noise:
            steps = row + offset
            cut = looked_at(bank, np.array([10]), np.array([steps.sum()]), np.array([(steps * steps).sum()]))
        reported.append((cut.gap[0], cut.epsilon[0]))
    assert reported[0] == pytest.approx(reported[1], abs=1e-6)


def test_after_a_cut_the_newer_part_but_its_first_pane_is_kept_and_goes_on_being_compared() -> None:
    bank = share_bank()
    for _ in range(50):
        share_pane(bank, 100, 10)
    assert not share_pane(bank, 100, 20).detected[0]
    cut = share_pane(bank, 100, 45)
    assert (cut.detected[0], cut.n_old[0], cut.n_new[0]) == (True, 5000, 200)
    following = share_pane(bank, 100, 45)
    assert not following.detected[0]
    # Of the 200 events the pane of 20 is gone, which may hold the change; the other has no new grace period.
    assert (following.n_old[0], following.n_new[0]) == (100, 100)
    assert [bool(share_pane(bank, 100, 5).detected[0]) for _ in range(2)] == [True, False]


def test_a_significant_but_small_change_is_no_change_below_the_effect() -> None:
    by_effect = {}
    for effect in (0.0, 0.05):
        bank, alarms = share_bank(effect), 0
        for hour in range(96):
            alarms += bool(share_pane(bank, 100_000, 20_000 + 2_000 * (hour % 24 < 12)).detected[0])
        by_effect[effect] = alarms
    # Seven times day turns into night or night into day.
    assert by_effect == {0.0: 7, 0.05: 0}


def test_the_gap_is_newer_minus_older_and_epsilon_at_least_the_effect() -> None:
    bank = share_bank(effect=0.3)
    for _ in range(20):
        share_pane(bank, 10_000, 5_000)
    cut = share_pane(bank, 10_000, 3_000)
    assert cut.gap[0] == pytest.approx(-0.2)
    assert cut.epsilon[0] == 0.3
    assert not cut.detected[0]
    assert share_pane(bank, 10_000, 1_000).detected[0]


def test_the_estimated_time_of_change_is_the_start_of_the_newer_parts_first_pane() -> None:
    bank = share_bank()
    for pane in range(60):
        cut = share_pane(bank, 1000, 100 if pane < 59 else 500, start_ms=60_000 * pane)
    assert cut.detected[0]
    assert cut.since_ms[0] == 59 * 60_000


def test_a_pane_without_events_changes_nothing_and_is_not_kept() -> None:
    bank, other = share_bank(), share_bank()
    for ones in (10, 12, 8):
        share_pane(bank, 100, ones)
        share_pane(other, 100, ones)
        empty = other.update(*(np.array([0]) for _ in range(3)))
        assert (empty.detected[0], empty.gap[0], empty.n_old[0]) == (False, 0.0, 0)
    assert bank.snapshot() == other.snapshot()


def test_a_series_without_events_is_not_tested_while_its_neighbour_is() -> None:
    bank = AdwinBank(FLAGS, np.ones(2), np.ones(2), np.zeros(2))
    for _ in range(20):
        cut = looked_at(bank, np.array([100, 0]), np.array([50, 0]), np.array([50, 0]))
    assert cut.n_old.tolist()[1] == cut.n_new.tolist()[1] == 0
    assert cut.n_old[0] + cut.n_new[0] == 2000
    assert np.isfinite([cut.gap, cut.epsilon]).all()


def test_too_small_windows_are_not_tested() -> None:
    cut = share_pane(share_bank(), 1000, 500)
    assert (cut.detected[0], cut.n_old[0], cut.n_new[0], cut.epsilon[0]) == (False, 0, 0, 1.0)
    bank = share_bank()
    cuts = [share_pane(bank, 1, index % 2) for index in range(12)]
    assert [cut.n_old[0] > 0 for cut in cuts] == [False] * 10 + [True] * 2


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        share_pane(share_bank(), -1, 0)


def test_the_state_grows_with_the_logarithm_of_the_panes() -> None:
    bank = share_bank()
    sizes = []
    for pane in range(1, 4097):
        share_pane(bank, 10, 5)
        if pane & (pane - 1) == 0 and pane >= 64:
            sizes.append(bank.buckets)
    assert max(second - first for first, second in pairwise(sizes)) <= 6
    assert len(bank.snapshot()) < 3000


def test_a_window_forgets_its_oldest_buckets_beyond_the_bound_of_events() -> None:
    bank = AdwinBank(FLAGS, np.ones(2), np.ones(2), np.ones(2))
    each = np.array([EVENTS_MAX // 8, 100])
    for _ in range(40):
        cut = looked_at(bank, each, each // 2, each // 2)
        assert cut.n_old[0] + cut.n_new[0] <= EVENTS_MAX
    assert cut.n_old[0] + cut.n_new[0] > EVENTS_MAX // 4
    assert cut.n_old[1] + cut.n_new[1] == 4000


def test_the_largest_window_of_the_largest_steps_does_not_overflow() -> None:
    bank = AdwinBank(FLAGS, ONE * 16, ONE / 4096, ONE * 0)
    n = EVENTS_MAX // 16
    for sign in (1, -1) * 7:
        cut = looked_at(bank, np.array([n]), np.array([sign * n * 2**15]), np.array([n * 2**30]))
        assert np.isfinite(cut.gap).all()
        assert np.isfinite(cut.epsilon).all()
    assert abs(cut.gap[0]) <= 16


def test_a_snapshot_of_another_specification_or_a_broken_one_is_refused() -> None:
    bank = share_bank()
    share_pane(bank, 10, 5)
    snapshot = bank.snapshot()
    for spec, effects in ((AdwinSpec(delta=0.01), ONE * 0), (FLAGS, ONE)):
        with pytest.raises(ValueError, match="another specification"):
            AdwinBank.restore(spec, ONE, ONE, effects, snapshot)
    for broken in (b"", snapshot[:-8], snapshot + b"12345678"):
        with pytest.raises(ValueError, match="incomplete"):
            AdwinBank.restore(FLAGS, ONE, ONE, ONE * 0, broken)


def test_false_cuts_of_an_unchanged_stream_are_rarer_than_delta_a_pane() -> None:
    generator, series, panes = np.random.default_rng(8), 200, 400
    bank = AdwinBank(FLAGS, np.ones(series), np.ones(series), np.zeros(series))
    alarms = 0
    for _ in range(panes):
        ones = generator.binomial(50, 0.3, series)
        alarms += int(bank.update(np.full(series, 50), ones, ones).detected.sum())
    # 80,000 tests at delta = 0.002; the bound is the 1 - 1e-6 quantile at a hundredth of delta.
    assert alarms <= stats.binom.ppf(1 - 1e-6, series * panes, 0.002 / 100)


@pytest.mark.parametrize(("correlation", "cuts_a_stream_max"), [(0.0, 0.0), (0.5, 0.2), (0.9, 60.0)])
def test_events_that_resemble_their_neighbours_are_cut_seldom_up_to_the_stated_limit(
    correlation: float, cuts_a_stream_max: float
) -> None:
    # First-order autoregressive streams of 300,000 events each. Event by event, river cuts 94 times at a correlation
    # of 0.5 and 1,887 times at 0.9; panes average most of that away, and the effect of the default settings the rest.
    generator, streams, each, panes = np.random.default_rng(12), 10, 1000, 300
    noise = generator.normal(0, (1 - correlation**2) ** 0.5, (streams, each * (panes + 1)))
    values = lfilter([1.0], [1.0, -correlation], noise, axis=1)[:, each:]
    steps = np.rint(np.clip(values, -8, 8) * 4096).astype(np.int64).reshape(streams, panes, each)
    bank = AdwinBank(FLAGS, np.full(streams, 16.0), np.full(streams, 1 / 4096), np.full(streams, 0.25))
    cuts = 0
    for pane in range(panes):
        inside = steps[:, pane]
        cut = bank.update(np.full(streams, each), inside.sum(axis=1), (inside * inside).sum(axis=1))
        cuts += int(cut.detected.sum())
    assert cuts <= cuts_a_stream_max * streams
