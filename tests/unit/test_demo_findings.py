"""Does the demo tell honestly what was found, what was missed and what was a false alarm?"""

import pytest

from driftline.demo.findings import MATURE_MS, Drift, Recall, false_alarms, first_sight
from driftline.demo.traffic import HOUR_MS, MISSING, RELATION, SHIFT, Incident

START_MS = 1_700_006_400_000


def at(hour: float) -> int:
    return START_MS + round(hour * HOUR_MS)


def drift(feature: str, start_hour: float, end_hour: float, *, segment: str = "*", detector: str = "psi") -> Drift:
    return Drift(segment, feature, detector, at(start_hour), at(end_hour), 0.4, 0.1)


def recall(hour: int, low: float | None, high: float | None) -> Recall:
    return Recall(at(hour), at(hour + 1), low, high)


CALM = [recall(hour, 0.6, 0.8) for hour in range(3)]


@pytest.mark.parametrize("incident", [SHIFT, MISSING])
def test_an_incident_is_found_by_the_first_verdict_on_its_feature_while_it_lasts(incident: Incident) -> None:
    first, later = (drift(incident.watched, hour, hour + 1) for hour in (incident.start_hour, incident.start_hour + 1))
    before = drift(incident.watched, incident.start_hour - 1, incident.start_hour)
    after = drift(incident.watched, incident.end_hour, incident.end_hour + 1)

    sight = first_sight(incident, START_MS, [later, first, before, after], [])

    assert sight is not None
    assert sight.end_ms == first.end_ms
    assert first_sight(incident, START_MS, [before, after], []) is None


def test_a_verdict_on_another_feature_finds_nothing() -> None:
    assert first_sight(SHIFT, START_MS, [drift("card", 8, 9), drift("@score", 8, 9)], []) is None


def test_of_verdicts_on_one_window_all_traffic_is_told_before_its_parts_and_the_clearest_first() -> None:
    part = drift("amount", 8, 9, segment="country=DE")
    faint = Drift("*", "amount", "adwin", at(8), at(9), 0.11, 0.1)

    sight = first_sight(SHIFT, START_MS, [part, faint, drift("amount", 8, 9)], [])

    assert sight is not None
    assert sight.told == "psi on amount: 0.40, threshold 0.10"
    alone = first_sight(SHIFT, START_MS, [part], [])
    assert alone is not None
    assert alone.told == "psi on amount in country=DE: 0.40, threshold 0.10"


def test_a_changed_relation_is_found_by_the_misses_or_by_recall_whichever_shows_it_first() -> None:
    fallen = [*CALM, recall(24, 0.1, 0.59)]
    misses = drift("@error.1", 26, 27, detector="adwin")

    by_recall = first_sight(RELATION, START_MS, [], fallen)
    by_misses = first_sight(RELATION, START_MS, [misses], fallen)

    assert by_recall is not None
    assert by_recall.end_ms == at(25) + MATURE_MS
    assert by_misses is not None
    assert by_misses.end_ms == at(27)


@pytest.mark.parametrize(
    "recalls",
    [
        [*CALM, recall(24, 0.3, 0.61)],
        [*CALM, recall(24, None, None)],
        [recall(24, 0.1, 0.2)],
        [*CALM, recall(20, 0.1, 0.2)],
    ],
    ids=["intervals overlap", "nothing is known", "nothing to compare with", "before it began"],
)
def test_recall_that_is_not_clearly_lower_finds_nothing(recalls: list[Recall]) -> None:
    assert first_sight(RELATION, START_MS, [], recalls) is None


def test_what_an_incident_moves_is_no_false_alarm_while_it_lasts_and_while_it_goes_back() -> None:
    explained = [
        drift("amount", 8, 9),
        drift("@score", 9, 10),
        drift("amount", 15, 16, detector="adwin"),
        drift("amount", 7, 10, segment="country=NL"),
        drift("@error.0", 30, 31),
    ]

    assert false_alarms(START_MS, explained) == []


def test_what_no_incident_explains_is_a_false_alarm() -> None:
    alarms = [
        drift("amount", 6, 7),
        drift("card", 8, 9),
        drift("amount", 16, 17),
        drift("@score", 30, 31),
    ]

    assert false_alarms(START_MS, alarms) == alarms


def test_the_warm_up_is_not_judged() -> None:
    assert false_alarms(START_MS, [drift("card", 1, 2)]) == []
    assert len(false_alarms(START_MS, [drift("card", 2, 3)])) == 1
