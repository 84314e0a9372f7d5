"""Does the demo tell honestly what was found, what was missed and what was a false alarm?"""

from dataclasses import replace

import pytest

from driftline.demo.findings import Cause, Episode, cause_of, false_alarms, findings, found_by, incident_of
from driftline.demo.traffic import HOUR_MS, INCIDENTS, MISSING, RELATION, SHIFT, Incident

START_MS = 1_700_006_400_000


def episode(*names: str, hour: float, kind: str = "drift") -> Episode:
    causes = tuple(Cause(name, f"{name}: evidence") for name in names)
    return Episode(f"{names}-{hour}", kind, START_MS + round(hour * HOUR_MS), None, causes, causes)


@pytest.mark.parametrize("incident", INCIDENTS)
def test_an_incident_is_found_by_the_first_episode_on_what_it_moves_while_it_lasts(incident: Incident) -> None:
    (name, *_) = sorted(incident.shows_in)
    first, later = (episode(name, hour=hour) for hour in (incident.start_hour + 2, incident.end_hour))
    before, after = (episode(name, hour=hour) for hour in (incident.start_hour, incident.end_hour + 1))

    assert found_by(incident, START_MS, [later, first, before, after]) is first
    assert found_by(incident, START_MS, [before, after]) is None


def test_an_episode_on_what_an_incident_only_moves_does_not_find_it() -> None:
    answers = episode("@score", "@prediction", hour=SHIFT.start_hour + 2)

    assert found_by(SHIFT, START_MS, [answers]) is None
    assert incident_of(answers, START_MS) is SHIFT


@pytest.mark.parametrize(
    ("alarm", "incident"),
    [
        (episode("card", "amount", hour=SHIFT.start_hour + 1), SHIFT),
        (episode("account_age_days", hour=MISSING.end_hour + 8), MISSING),
        (episode("recall", hour=RELATION.end_hour, kind="performance"), RELATION),
        (episode("@error.0", hour=RELATION.end_hour + 3), RELATION),
    ],
)
def test_one_cause_that_an_incident_moves_explains_an_episode_also_on_the_way_back(
    alarm: Episode, incident: Incident
) -> None:
    assert incident_of(alarm, START_MS) is incident
    assert false_alarms(START_MS, [alarm]) == []


@pytest.mark.parametrize(
    "alarm",
    [
        episode("amount", hour=SHIFT.start_hour),
        episode("amount", hour=SHIFT.end_hour + 8.01),
        episode("card", hour=SHIFT.start_hour + 1),
        episode("amount", hour=RELATION.start_hour + 2),
    ],
    ids=["before", "long after", "another feature", "another incident"],
)
def test_what_no_incident_explains_is_a_false_alarm(alarm: Episode) -> None:
    assert findings(START_MS, [alarm]) == {
        "detected": [],
        "missed": ["shift", "missing", "relation"],
        "false_alarms": 1,
    }


def test_an_episode_is_told_by_its_clearest_cause_and_the_names_of_the_others() -> None:
    assert episode("amount", "@score", "amount", "card", hour=1).told == "drift of amount: evidence (also @score, card)"


def test_what_became_clearer_later_on_is_told_apart_from_what_opened_an_episode() -> None:
    opened = episode("amount", hour=1)
    worse = replace(opened, causes=(Cause("amount", "amount: more"), Cause("@score", "@score: evidence")))

    assert opened.worst is None
    assert (worse.told, worse.worst) == ("drift of amount: evidence", "amount: more")


def test_recall_without_an_interval_is_told_without_one() -> None:
    stored = {"segment": "country=DE", "metric": "recall", "value": 0.3, "floor": 0.5, "low": None, "high": None}

    assert cause_of(stored) == Cause("recall", "recall in country=DE: 0.30 under 0.50")


def test_of_two_incidents_the_later_one_explains_an_episode_on_what_both_move() -> None:
    assert incident_of(episode("@score", hour=MISSING.start_hour + 1), START_MS) is MISSING


def test_incidents_leave_time_between_them_to_become_normal_again() -> None:
    ends = [incident.end_hour for incident in INCIDENTS]
    starts = [incident.start_hour for incident in INCIDENTS]

    assert all(start - end >= 6 for end, start in zip(ends, starts[1:], strict=False))
