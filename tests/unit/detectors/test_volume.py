"""Are counts judged against those before as their own swings allow, and never without effect?"""

import math

import numpy as np
import pytest
from scipy import stats

from detectors.windows.volume import DAY_MS, PAST_MIN, Volume, judge_volume

HOUR_MS = 3_600_000


def judged(past: list[int], now: int, *, factor: float = 4.0, significance: float = 1e-5, **rest: object) -> Volume:
    stretches = [(hour * HOUR_MS, n) for hour, n in enumerate(past)]
    at_ms = len(past) * HOUR_MS
    found = judge_volume(stretches, at_ms, now, HOUR_MS, factor=factor, significance=significance, **rest)  # type: ignore[arg-type]
    assert found is not None
    assert all(math.isfinite(of) for of in (found.expected, found.score, found.threshold, found.p_value))
    assert (found.score >= found.threshold) == (found.level == "drift")
    return found


def daily(days: int, seed: int, peak: float = 1_000.0, swing: float = 0.1) -> list[int]:
    """Hours of a week whose nights have a twentieth of the noon's traffic, and which swings beyond chance."""
    chance = np.random.default_rng(seed)
    noon = [peak * (0.05 + 0.95 * math.sin(math.pi * (hour % 24) / 24) ** 2) for hour in range(24 * days)]
    return [int(chance.poisson(mean * math.exp(chance.normal(0, swing)))) for mean in noon]


def test_the_p_value_is_that_of_one_more_observation_of_students_t() -> None:
    past = [900, 1_100, 1_000, 950, 1_050, 1_020, 980, 1_003]
    stable = [2 * math.sqrt(n + 3 / 8) for n in past]
    spread = np.std(stable, ddof=1) * math.sqrt(1 + 1 / 8)
    t = (2 * math.sqrt(700 + 3 / 8) - np.mean(stable)) / spread

    assert judged(past, 700).p_value == pytest.approx(2 * stats.t.sf(abs(t), 7), rel=1e-9)


@pytest.mark.parametrize(("mean", "dispersion"), [(5, 0.0), (200, 0.0), (2_000, 0.0), (200, 0.05), (2_000, 0.2)])
@pytest.mark.parametrize("n_past", [8, 168])
def test_traffic_that_did_not_change_is_rarely_called_so(mean: int, dispersion: float, n_past: int) -> None:
    """2,000 counts, of a Poisson distribution or of a negative binomial one, before the gate on the effect."""
    chance = np.random.default_rng(mean + n_past)
    rates = chance.gamma(1 / dispersion, mean * dispersion, (2_000, n_past + 1)) if dispersion else mean
    counts = chance.poisson(rates, (2_000, n_past + 1)).tolist()
    alarms = sum(judged(of[:-1], of[-1]).p_value <= 0.01 for of in counts)

    assert alarms <= stats.binom.ppf(1 - 1e-6, 2_000, 0.01)


def test_a_night_is_no_drop_and_a_day_without_events_is_one() -> None:
    week = daily(14, 1)
    for hour in range(24 * 7, 24 * 14):
        assert judged(week[hour - 24 * 7 : hour], week[hour]).level == "ok"
    noon = 24 * 13 + 12
    assert judged(week[noon - 24 * 7 : noon], 0).level == "drift"
    assert judged(week[noon - 24 * 7 : noon], 8 * week[noon]).level == "drift"


def test_less_than_a_factor_is_no_matter_however_sure_it_is() -> None:
    past = [100_000 + hour % 3 for hour in range(100)]
    levels = [judged(past, n).level for n in (100_000, 60_000, 30_000, 20_000)]
    assert levels == ["ok", "ok", "warning", "drift"]


def test_one_event_is_nothing_and_too_few_stretches_say_nothing() -> None:
    assert judged([0] * 50, 1).level == "ok"
    assert judged([3, 0, 1, 2, 1, 0, 2, 4], 0).level == "ok"
    assert judge_volume([(0, 5)] * (PAST_MIN - 1), 1, 0, 1, factor=4.0, significance=0.01) is None


def test_labels_of_predictions_that_were_never_made_are_not_missed() -> None:
    past = [500 + hour % 5 for hour in range(50)]
    assert judged(past, 5, bursts=False).level == "drift"
    assert judged(past, 5, bursts=False, scale=0.01).level == "ok"
    assert judged(past, 50_000, bursts=False).level == "ok"


def test_stretches_that_do_not_divide_a_day_are_compared_with_the_nearest_of_each_day() -> None:
    length = DAY_MS // 24 + 60_000
    past = [(at * length, 1_000) for at in range(168)]
    found = judge_volume(past, 168 * length, 0, length, factor=4.0, significance=1e-5)
    assert found is not None
    assert found.level == "drift"
