"""Is it told, and told once, when predictions or labels stop coming, come in masses, or come of a stale version?"""

import random
from typing import Any

import pytest

from driftline.store.connection import Connection
from retraining.words import cause_in_words
from tests.support.decisions import UNLABELLED, everything, labels_of, told
from tests.support.pipelines import MINUTE, Event, Lab, lab, prediction

pytestmark = pytest.mark.postgres

TRAFFIC: dict[str, Any] = {"traffic": {"history": "10m"}, "quality": {"checks": []}, "drift": {"detectors": []}}


def minute(number: int, n: float = 40, version: str = "v1") -> list[Event]:
    chance = random.Random(number)
    n_rows = max(round(n + chance.gauss(0, n**0.5)), 1)
    return [
        prediction(f"t{number}.{row}", number * MINUTE + row * MINUTE // n_rows, row % 2, version=version)
        for row in range(n_rows)
    ]


async def come(made: Lab, *minutes: list[Event]) -> None:
    await made.commit("predictions", *(event for events in minutes for event in events))


async def of_traffic(made: Lab, **equal: object) -> list[tuple[str, float, str]]:
    rows = await made.drift(**equal)
    return [
        (row["detector"], row["window_end"] / MINUTE, row["level"])
        for row in rows
        if row["detector"].startswith("traffic.")
    ]


async def episode_of(made: Lab) -> dict[str, Any]:
    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "traffic"]
    return episode


@pytest.mark.parametrize(("n", "words"), [(4, "5 predictions, expected 39"), (400, "416 predictions, expected 39")])
async def test_a_drop_and_a_burst_are_told_in_the_first_windows_after_them(
    connection: Connection, n: int, words: str
) -> None:
    made = await lab(connection, UNLABELLED | TRAFFIC)
    await come(made, *(minute(number, n if 20 <= number < 23 else 40) for number in range(30)))
    await made.close(30 * MINUTE)

    assert [end for _, end, level in await of_traffic(made) if level == "drift"] == [21, 22, 23]
    assert await told(made, "traffic") == [("traffic.detected", 22), ("traffic.recovered", 25)]
    [cause] = (await episode_of(made))["causes"]
    assert words in cause_in_words(cause)
    assert {row["kind"] for row in (await everything(made))["v_episodes"]} >= {"traffic"}
    assert (await everything(made))["v_retraining"] == []


async def test_silence_is_told_of_once_the_log_has_gone_on_and_not_after_its_end(connection: Connection) -> None:
    """Another model of the same topic moves the watermark; of this one nothing comes from minute 20 to 40."""
    made = await lab(connection, UNLABELLED | TRAFFIC)
    await come(made, *map(minute, range(20)))
    await made.close(20 * MINUTE)
    assert await told(made) == []
    await made.close(21 * MINUTE)
    assert await told(made) == []
    await made.close(22 * MINUTE)
    assert await told(made) == [("traffic.detected", 22)]
    await made.close(40 * MINUTE)
    assert [end for _, end, level in await of_traffic(made) if level == "drift"] == [21, 22, 23]
    await come(made, *map(minute, range(40, 44)))
    await made.close(44 * MINUTE)

    assert await told(made) == [("traffic.detected", 22), ("traffic.recovered", 42)]
    [cause] = (await episode_of(made))["causes"]
    assert cause_in_words(cause) == "0 predictions, expected 39"


async def test_silence_is_told_alike_however_the_log_was_cut(connection: Connection) -> None:
    """At once or minute by minute, of one log with a gap."""
    found = []
    for name, step in (("whole", 60), ("cut", 1)):
        made = await lab(connection, UNLABELLED | TRAFFIC, name=name)
        for number in (*range(20), *range(30, 36)):
            await come(made, minute(number))
            if number % step == 0:
                await made.close((number + 1) * MINUTE)
        await made.close(36 * MINUTE)
        rows = [{**row, "model": ""} for row in await made.drift()]
        found.append((rows, await told(made)))

    assert found[0] == found[1]
    assert found[0][1] == [("traffic.detected", 22), ("traffic.recovered", 32)]


async def test_a_new_version_that_takes_over_is_no_drop(connection: Connection) -> None:
    made = await lab(connection, UNLABELLED | TRAFFIC)
    await come(made, *(minute(number, version="v1" if number < 20 else "v2") for number in range(30)))
    await made.close(30 * MINUTE)

    assert {level for _, _, level in await of_traffic(made)} == {"ok"}
    assert await told(made) == []


async def test_labels_that_stop_are_told_and_those_of_predictions_that_stopped_are_not(connection: Connection) -> None:
    made = await lab(connection, TRAFFIC | {"drift": {"detectors": ["psi"]}})
    minutes = [minute(number, 40 if number < 32 else 2) for number in range(40)]
    await come(made, *minutes)
    labelled = [events for number, events in enumerate(minutes) if not 20 <= number < 24]
    await made.commit("labels", *(label for events in labelled for label in labels_of(events, 2 * MINUTE)))
    await made.close(40 * MINUTE)

    alarms = [row for row in await of_traffic(made) if row[2] == "drift"]
    # Those of minutes 20 to 23 would have come two minutes later; from minute 32 on there is little to be labelled.
    assert [end for name, end, _ in alarms if name == "traffic.labels"] == [23, 24, 25, 26]
    assert {end for name, end, _ in alarms if name == "traffic.volume"} == set(range(33, 41))
    assert await told(made, "traffic") == [
        ("traffic.detected", 24),
        ("traffic.recovered", 28),
        ("traffic.detected", 34),
    ]


async def test_predictions_that_come_twice_are_told_and_count_once(connection: Connection) -> None:
    """One in a hundred does all along; from minute 20 to 23 one in three."""
    made = await lab(connection, TRAFFIC)
    sent = []
    for number in range(30):
        events = minute(number, 100)
        sent += [again for row, event in enumerate(events) for again in [event] * (1 + (row % 100 == 7))]
        sent += events[::3] if 20 <= number < 24 else []
    sent.sort(key=lambda event: event["timestamp"])
    await come(made, sent[:1500], sent[1500:2100])
    await come(made, sent[2100:])
    await made.close(30 * MINUTE)

    of_repeats = await of_traffic(made, detector="traffic.duplicates")
    assert [end for _, end, level in of_repeats if level == "drift"] == [21, 22, 23, 24]
    assert await told(made) == [("traffic.detected", 22), ("traffic.recovered", 26)]
    [cause] = (await episode_of(made))["causes"]
    assert "of the predictions came twice, before 1." in cause_in_words(cause)
    [counted] = await made.rows("select sum(n_predictions)::int as n from driftline.v_traffic where segment = '*'")
    assert counted["n"] == len({event["prediction_id"] for event in sent})
    assert await made.count("extra") == 0


async def test_repeats_that_end_break_their_row_and_close_their_episode(connection: Connection) -> None:
    """No repeat at all before, nor after: in minutes 15, 20 and 21."""
    made = await lab(connection, TRAFFIC | {"traffic": {"checks": ["duplicates"], "history": "10m"}})
    for number in range(26):
        events = minute(number, 100)
        twice = 3 if number in (15, 20, 21) else 1_000
        await come(made, [again for row, event in enumerate(events, 1) for again in [event] * (1 + (row % twice == 0))])
    await made.close(26 * MINUTE)

    assert [end for _, end, level in await of_traffic(made) if level == "drift"] == [16, 21, 22]
    assert await told(made) == [("traffic.detected", 22), ("traffic.recovered", 24)]


async def test_a_new_feature_is_told_by_name_and_what_always_came_beside_the_features_is_not(
    connection: Connection,
) -> None:
    """`trace` is in every event, `age` in most from minute 15 to 24; the reference knows neither."""
    made = await lab(connection, UNLABELLED | TRAFFIC)

    def of(number: int) -> list[Event]:
        events = minute(number, 2_000)
        for row, event in enumerate(events):
            new = {"age": row} if 15 <= number < 25 and row % 10 else {}
            event["features"] = {**event["features"], "trace": str(row), "list": [1], "gone": None, **new}
        return events

    for number in range(30):
        await come(made, of(number))
    await made.close(30 * MINUTE)

    rows = await made.drift(detector="traffic.new_features")
    assert {row["feature"] for row in rows} == {"age"}
    alarms = [row["window_end"] / MINUTE for row in rows if row["level"] == "drift"]
    assert alarms[:2] == [16, 17]
    assert set(alarms) <= set(range(16, 26))
    assert await told(made, "detected") == [("traffic.detected", 17)]
    [cause] = (await episode_of(made))["causes"]
    assert cause_in_words(cause).startswith("new feature age: ")
    assert 0.4 < cause["current_share"] <= 1
    assert cause["reference_share"] == 0
    assert (await everything(made))["v_retraining"] == []


async def test_names_of_new_features_are_bounded_and_counted(connection: Connection) -> None:
    """Every event carries a feature of its own."""
    made = await lab(connection, UNLABELLED | TRAFFIC, limits={"new_features_max": 3})
    for number in range(12):
        events = minute(number, 1_000)
        for row, event in enumerate(events):
            event["features"] = {**event["features"], f"user{number}.{row}": 1}
        await come(made, events)
    await made.close(12 * MINUTE)

    [stored] = await made.rows("select extras from driftline.traffic")
    assert len({name for of in stored["extras"].values() for name in of["new"]}) == 3
    assert 50 < (await made.counts())["new_feature_beyond_limit"] < 250
    assert await told(made) == []


async def test_a_stale_version_is_told_until_there_is_a_new_one(connection: Connection) -> None:
    traffic = {"checks": ["model"], "model_age_max": "5m", "history": "10m"}
    made = await lab(connection, UNLABELLED | TRAFFIC | {"traffic": traffic})
    await come(made, *(minute(number, version="v1" if number < 8 else "v2") for number in range(12)))
    await made.close(12 * MINUTE)

    assert [(end, level) for _, end, level in await of_traffic(made)] == [
        *((end, "ok") for end in range(1, 5)),
        *((end, "drift") for end in range(5, 9)),
        *((end, "ok") for end in range(9, 13)),
    ]
    assert await told(made) == [("traffic.detected", 6), ("traffic.recovered", 10)]
    [cause] = (await episode_of(made))["causes"]
    assert cause_in_words(cause) == "no new version for 0.0 days"


async def test_traffic_as_ever_is_told_of_by_nobody(connection: Connection) -> None:
    made = await lab(connection, UNLABELLED | TRAFFIC)
    await come(made, *(minute(number, 40 + 15 * (number % 10 > 6)) for number in range(40)))
    await made.close(40 * MINUTE)

    assert {level for _, _, level in await of_traffic(made)} == {"ok"}
    assert await told(made) == []
    [spent] = await made.rows("select looks, expected from driftline.v_alarms")
    assert 0 < spent["expected"] < 1
