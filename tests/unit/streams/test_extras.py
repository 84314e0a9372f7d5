"""Do repeats and new features alarm when their share grows, as seldom as declared if not, within their bounds?"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from driftline.settings.quality import TrafficSettings
from streams.decode.unknown import SAMPLE_SHARE
from streams.judging.extras import (
    ALL_PREDICTIONS,
    NOTHING,
    Beside,
    Extras,
    added,
    extras_from_json,
    extras_to_json,
    judge_extras,
    marked,
)
from streams.judging.traffic import Counted, Traffic
from streams.judging.verdicts import Verdict

HOUR = 3_600_000
SETTINGS = TrafficSettings.model_validate({"checks": ["duplicates", "new_features"], "history": "10h"})
N_PAST = 40


def traffic(per_stretch: int, n_past: int = N_PAST) -> Traffic:
    """So many stretches of an hour, and one that was just completed."""
    stretches = [Counted(place * HOUR, per_stretch) for place in range(n_past + 1)]
    return Traffic(HOUR, (n_past + 1) * HOUR, True, stretches[-1], tuple(stretches[:-1]))


def judged(extras: Extras, of: Traffic, significance: float = 1e-5) -> dict[str, Verdict]:
    verdicts, _ = judge_extras(extras, of, SETTINGS, significance, has_labels=True, names_max=50)
    return {verdict.feature: verdict for verdict in verdicts}


def repeats(counts: list[int]) -> Extras:
    return {place * HOUR: Beside(repeats=n) for place, n in enumerate(counts) if n}


def test_a_share_that_grows_is_drift_and_scores_are_shares() -> None:
    said = judged(repeats([10] * N_PAST + [200]), traffic(1_000))[ALL_PREDICTIONS]

    assert (said.level, said.shares) == ("drift", (pytest.approx(10 / 1_010), pytest.approx(200 / 1_200)))
    assert said.score == pytest.approx(200 / 1_200 - 10 / 1_010)
    assert (said.n_reference, said.n_current) == (N_PAST * 1_010, 1_200)


def test_the_p_value_is_fishers_exact_one_where_shares_swing_by_chance_only() -> None:
    chance = np.random.default_rng(5)
    counts = chance.binomial(1_000, 0.01, N_PAST).tolist()
    said = judged(repeats([*counts, 60]), traffic(1_000))[ALL_PREDICTIONS]
    spread = max(np.var(counts, ddof=1) / (np.mean(counts) * 0.99), 1.0)
    expected = stats.hypergeom.sf(59, sum(counts) + 1_000 * N_PAST + 1_060, sum(counts) + 60, 1_060)

    # Rounded against an alarm, and divided by what the share swings beyond chance.
    assert expected <= said.p_value
    assert np.log10(said.p_value) == pytest.approx(np.log10(expected) / spread, abs=3)


def test_a_share_that_always_swings_alarms_no_more_than_its_swings_allow() -> None:
    """Every fifth stretch has a tenth that came twice: no news in any of them."""
    counts = [100 if place % 5 == 0 else 10 for place in range(N_PAST + 1)]

    assert judged(repeats(counts), traffic(1_000))[ALL_PREDICTIONS].level != "drift"


@pytest.mark.parametrize("per_stretch", [300, 5_000])
def test_unchanged_shares_alarm_no_more_often_than_declared(per_stretch: int) -> None:
    """With next to no gate: at 1 %, at most 1 % of 600 stretches have anything to say, within three deviations."""
    settings = TrafficSettings.model_validate({"checks": ["new_features"], "history": "10h", "new_features": 1e-9})
    chance = np.random.default_rng(per_stretch)
    n_low = 0
    for _ in range(600):
        new = chance.binomial(per_stretch, 0.3 * SAMPLE_SHARE, N_PAST + 1).tolist()
        extras = {place * HOUR: Beside(new={"x": n}) for place, n in enumerate(new) if n}
        verdicts, _ = judge_extras(extras, traffic(per_stretch), settings, 0.01, has_labels=False, names_max=1)
        n_low += len(verdicts)

    assert 0 < n_low <= 6 + 3 * 6**0.5


_NONE = Verdict("x", "traffic.new_features", 0.0, 1.0, 1.0, 0, 0, "ok")


@pytest.mark.parametrize(("per_stretch", "found"), [(300, 0.1), (1_000, 0.95)])
def test_a_feature_that_all_predictions_begin_to_carry_is_found(per_stretch: int, found: float) -> None:
    chance = np.random.default_rng(3)
    carried = chance.binomial(per_stretch, SAMPLE_SHARE, 400).tolist()
    levels = [
        judged({N_PAST * HOUR: Beside(new={"x": n})}, traffic(per_stretch)).get("x", _NONE).level for n in carried
    ]

    assert levels.count("drift") >= found * 400


def test_what_always_came_says_nothing() -> None:
    extras = {place * HOUR: Beside(new={"x": 10}) for place in range(N_PAST + 1)}

    assert set(judged(extras, traffic(1_000))) == {ALL_PREDICTIONS}


def test_one_odd_event_never_alarms() -> None:
    extras: Extras = {N_PAST * HOUR: Beside(repeats=1, new={"x": 1})}

    assert {verdict.level for verdict in judged(extras, traffic(2)).values()} == {"ok"}


def test_stretches_without_any_predictions_are_not_ready_and_raise_nothing() -> None:
    extras: Extras = {N_PAST * HOUR: Beside(new={"x": 9})}

    assert {verdict.level for verdict in judged({}, traffic(0)).values()} == {"not_ready"}
    assert {verdict.level for verdict in judged(extras, traffic(0)).values()} == {"not_ready"}


def test_what_is_remembered_is_bounded_and_goes_with_its_stretch() -> None:
    of = traffic(100, 3)
    found = [(place * HOUR + 5, f"n{name}", 1) for place in range(4) for name in range(10)]
    extras, beyond = added({-HOUR: Beside(repeats=7)}, [*found, (9 * HOUR, "z", 1), (2 * HOUR, None, 3)], of, 4)

    assert {name for beside in extras.values() for name in beside.new} == {"n0", "n1", "n2", "n3"}
    assert (set(extras), beyond) == ({0, HOUR, 2 * HOUR, 3 * HOUR}, 4 * 6)
    assert extras[2 * HOUR].repeats == 3
    assert extras_from_json(extras_to_json(extras)) == extras
    assert extras_from_json(None) == {}


def test_odd_stretches_are_no_measure_until_they_are_usual() -> None:
    of, extras = traffic(1_000), dict(repeats([0] * N_PAST + [300]))
    extras = dict(marked(extras, of, judged(extras, of).values()))
    assert extras[N_PAST * HOUR].odd == (ALL_PREDICTIONS,)

    few = {**extras, **{place * HOUR: Beside(300, odd=(ALL_PREDICTIONS,)) for place in range(30, 40)}}
    many = {**extras, **{place * HOUR: Beside(300, odd=(ALL_PREDICTIONS,)) for place in range(20, 40)}}
    assert judged(few, of)[ALL_PREDICTIONS].level == "drift"
    assert judged(many, of)[ALL_PREDICTIONS].level != "drift"


def test_nothing_is_said_before_enough_is_known_or_in_the_middle_of_a_stretch() -> None:
    extras = repeats([0] * N_PAST + [300])

    assert judged(extras, traffic(1_000, 5)) == {}
    assert judged(extras, replace(traffic(1_000), through_ms=N_PAST * HOUR + 5)) == {}
    assert Beside() == NOTHING
