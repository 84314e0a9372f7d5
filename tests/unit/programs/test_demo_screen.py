"""Is the demo told in words, and does its screen fit every terminal?"""

from dataclasses import replace

import pytest

from driftline.demo.findings import Cause, Episode
from driftline.demo.pace import Pace
from driftline.demo.receiver import Received
from driftline.demo.screen import Moment, Paper, screen
from driftline.demo.seen import Feature, Recall, Retraining, Seen
from driftline.demo.stage import news
from driftline.demo.story import Line, ending, lines, status
from driftline.demo.traffic import HOUR_MS, HOURS, SHIFT

START_MS = 1_700_006_400_000
NOTHING = Seen(0, 0, 0, None, (), (), (), (), {}, 0, ())


def at(hour: float) -> int:
    return START_MS + round(hour * HOUR_MS)


def recall(hour: int, value: float | None, coverage: float) -> Recall:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return Recall(at(hour), at(hour + 1), value, low, high, coverage)


DRIFTED = (Cause("amount", "amount: psi 0.28 over 0.10"),)
DRIFT = Episode("e1", "drift", at(8), at(12), DRIFTED, DRIFTED)
LOST = (Cause("recall", "recall: 0.29 [0.18, 0.43] under 0.50"),)
LOSS = Episode("e2", "performance", at(32), None, LOST, LOST)
WORSE = replace(LOSS, causes=(Cause("recall", "recall: 0.20 [0.10, 0.33] under 0.50"),))
BUSY = Seen(
    predictions=31_204,
    labels_joined=28_771,
    windows=35,
    closed_through_ms=at(35),
    features=(
        Feature("amount", "psi", 0.281, 0.1, "drift"),
        Feature("@score", "psi", 0.09, 0.1, "warning"),
        Feature("a_feature_with_a_very_long_name_indeed", "adwin", 0.03, 0.12, "ok"),
        Feature("far", "adwin", 80.0, 0.1, "drift"),
    ),
    recalls=(recall(34, None, 0.0), recall(33, 0.31, 0.62), recall(32, 0.29, 0.98), recall(31, 0.72, 1.0)),
    episodes=(DRIFT, LOSS),
    retrainings=(
        Retraining("r1", "e1", "succeeded", at(8), at(8), '{"version": "v2"}'),
        Retraining("r2", "e2", "requested", at(32), None, None),
    ),
    events={
        "driftline.drift.detected": 1,
        "driftline.drift.recovered": 1,
        "driftline.performance.degraded": 1,
        "driftline.retraining.requested": 2,
    },
    unpublished=1,
    received=(
        Received("m1", "driftline.drift.detected", is_signed=True),
        Received("m2", "driftline.drift.recovered", is_signed=False),
    ),
)
NOW_MS = 36 * HOUR_MS


def shown(seen: Seen, width: int, height: int, *, is_ascii: bool = False, offset_ms: int = NOW_MS) -> list[str]:
    told = lines(seen, START_MS, offset_ms)
    moment = Moment(seen, START_MS, offset_ms, 2_012.4, told)
    return screen(moment, Paper(width, height, is_ascii)).plain.split("\n")


@pytest.mark.parametrize("seen", [NOTHING, BUSY], ids=["nothing yet", "busy"])
@pytest.mark.parametrize("width", [1, 20, 40, 80, 120, 250])
@pytest.mark.parametrize("height", [1, 5, 24, 31, 32, 40, 80])
def test_the_screen_fits_every_terminal(seen: Seen, width: int, height: int) -> None:
    rows = shown(seen, width, height)

    assert len(rows) <= height
    assert max(map(len, rows)) <= width


def test_at_eighty_columns_nothing_that_counts_is_cut_off() -> None:
    text = "\n".join(shown(BUSY, 80, 24))

    for words in (
        "day 2 12:00",
        "31,204 predictions (2,012/s), 28,771 labels joined, 35 hours judged",
        "0.28 of 0.10 psi   DRIFT",
        "0.09 of 0.10 psi   WARNING",
        "0.03 of 0.12 adwin ok",
        "recall by hour of payment, judged 2 h after its end; │ is its floor 0.50",
        "0.31 [0.21, 0.41]  62% of labels, 1 h to wait",
        "0.29 [0.19, 0.39]  98% of labels, BELOW floor",
        "day 1 08:00 to day 1 12:00  drift of amount: psi 0.28 over 0.10",
        "day 2 08:00 OPEN            loss of recall: 0.29 [0.18, 0.43] under 0.50",
        "retrain on what came since: same inputs, another meaning",
        "2 requested, 1 finished",
        "2 received, 1 signatures verified",
    ):
        assert words in text


def test_without_unicode_the_screen_is_ascii() -> None:
    assert "\n".join(shown(BUSY, 120, 40, is_ascii=True)).isascii()


def test_a_part_keeps_its_place_while_it_fills() -> None:
    def titles(rows: list[str]) -> list[int]:
        return [place for place, row in enumerate(rows) if row.startswith("──")]

    assert titles(shown(NOTHING, 80, 24)) == titles(shown(BUSY, 80, 24))


def test_the_newest_of_what_happened_is_never_cut_off() -> None:
    assert "retrain  the drift of day 1 08:00: succeeded, version v2" in shown(BUSY, 80, 24)[-1]


def test_the_story_is_told_in_the_order_of_event_time_and_in_ascii() -> None:
    told = [str(line) for line in lines(BUSY, START_MS, NOW_MS)]

    assert told == [
        "day 1 06:00  script   amounts grow by half",
        "day 1 08:00  FOUND    drift of amount: psi 0.28 over 0.10, told at day 2 12:00",
        "day 1 08:00  retrain  requested for the drift of day 1 08:00, told at day 2 12:00",
        "day 1 10:00  script   amounts are as before",
        "day 1 12:00  over     the drift of day 1 08:00 is over, told at day 2 12:00",
        "day 1 17:00  script   account_age_days is empty in 4 of 10 events",
        "day 1 21:00  script   account_age_days is filled in again",
        "day 2 05:00  script   fraudsters change their ways, the model does not",
        "day 2 08:00  FOUND    loss of recall: 0.29 [0.18, 0.43] under 0.50, told at day 2 12:00",
        "day 2 08:00  retrain  requested for the loss of day 2 08:00, told at day 2 12:00",
        "day 2 11:00  script   fraudsters are back at their old ways",
        "day 2 12:00  retrain  the drift of day 1 08:00: succeeded, version v2",
        "day 2 12:00  webhook  driftline.drift.detected received, signature verified",
        "day 2 12:00  webhook  driftline.drift.recovered received, SIGNATURE WRONG, not believed",
    ]
    assert "".join(told).isascii()


def test_each_line_is_told_once_though_its_moment_or_words_change() -> None:
    told: dict[str, Line] = {}
    first = news(told, lines(BUSY, START_MS, NOW_MS))
    over = replace(WORSE, closed_ms=at(40))

    again = news(told, lines(replace(BUSY, episodes=(DRIFT, over)), START_MS, NOW_MS + HOUR_MS))

    assert len(first) == 14
    assert [line.key for line in again] == ["over e2"]


def test_the_status_says_what_is_nearest_to_drift_and_how_mature_recall_is() -> None:
    assert status(BUSY, START_MS, NOW_MS).splitlines() == [
        "day 2 12:00  status   31,204 predictions, 28,771 labels joined; nearest to drift: amount 0.28 >= 0.10, "
        "@score 0.09 < 0.10, a_feature_with_a_very_long_name_indeed 0.03 < 0.12",
        "                      payments from day 2 08:00 on: recall 0.29 [0.19, 0.39], 98% of labels in, "
        "BELOW its floor 0.50",
    ]
    assert status(NOTHING, START_MS, 0) == "day 1 00:00  status   0 predictions, 0 labels joined"


def test_the_end_tells_of_each_incident_what_was_found_and_what_to_do() -> None:
    told = "\n".join(ending(BUSY, START_MS, kept=True))

    assert (
        "found     day 1 08:00 to day 1 12:00, 2 h after it began\n             drift of amount: psi 0.28 over 0.10"
        in told
    )
    assert "retraining (trains nothing here): succeeded, version v2" in told
    assert "found     day 2 08:00 still open, 3 h after it began" in told
    assert told.count("MISSED") == 1
    assert told.count("to do") == 3
    assert "False alarms (episodes that nothing in the script explains): 0" in told
    assert "The webhook received 2 messages; 1 signatures were verified." in told
    assert "your database" in told
    assert "your database" not in "\n".join(ending(BUSY, START_MS, kept=False))
    assert told.isascii()
    assert max(map(len, told.splitlines())) <= 80


def test_the_end_tells_what_opened_an_episode_and_what_was_clearest() -> None:
    told = "\n".join(ending(replace(BUSY, episodes=(DRIFT, WORSE)), START_MS, kept=False))

    assert (
        "             loss of recall: 0.29 [0.18, 0.43] under 0.50\n"
        "             at its clearest recall: 0.20 [0.10, 0.33] under 0.50" in told
    )
    assert told.count("at its clearest") == 1


def test_what_opens_after_an_incident_is_explained_only_where_something_did() -> None:
    later = replace(DRIFT, episode_id="e4", opened_ms=at(11), closed_ms=at(13))

    without, having = (
        "\n".join(ending(replace(BUSY, episodes=episodes), START_MS, kept=False))
        for episodes in ((DRIFT, LOSS), (DRIFT, later, LOSS))
    )

    assert "way back" not in without
    assert "later     day 1 11:00 to day 1 13:00, 5 h after it began" in having
    assert "labels come late, and the way back\nto normal is a change, too" in having


def test_a_false_alarm_is_told_as_one() -> None:
    causes = (Cause("card", "card: psi 0.12 over 0.10"),)
    alarm = Episode("e3", "drift", at(3), None, causes, causes)

    told = ending(replace(BUSY, episodes=(DRIFT, alarm)), START_MS, kept=False)

    assert "False alarms (episodes that nothing in the script explains): 1" in told
    assert "   day 1 03:00  drift of card: psi 0.12 over 0.10" in told


def test_what_began_is_counted_and_not_its_end() -> None:
    counts = BUSY.counts()

    assert (counts["drift_events"], counts["performance_events"], counts["retraining_requests"]) == (1, 1, 2)
    assert (counts["retrainings_finished"], counts["webhooks_verified"]) == (1, 1)


def test_the_script_waits_for_a_worker_that_is_far_behind_and_never_goes_back() -> None:
    pace = Pace(speed=HOUR_MS, last_ms=HOURS * HOUR_MS)

    ahead = pace.after(20.0, judged_ms=0)
    waiting = ahead.after(1.0, judged_ms=0)
    going_on = waiting.after(1.0, judged_ms=SHIFT.start_hour * HOUR_MS)
    over = going_on.after(100.0, judged_ms=HOURS * HOUR_MS)

    assert ahead.offset_ms == waiting.offset_ms == pace.lead_ms < SHIFT.end_hour * HOUR_MS
    assert going_on.offset_ms == ahead.offset_ms + HOUR_MS
    assert over.is_over
    assert over.offset_ms == HOURS * HOUR_MS
    assert over.after(1.0, judged_ms=0).offset_ms == over.offset_ms
