"""Is what is old dropped and counted, also where the horizon was another before, and nothing that may be needed?"""

from __future__ import annotations

import pytest

from driftline.settings.services import RetentionSettings
from driftline.store.connection import Connection, timestamp
from streams.closing.tidy import drop_expired, drop_old_partitions, drop_old_rollups
from streams.monitored import MonitoredModel, register_models
from tests.support.pipelines import DAY, HOUR, MINUTE, START_MS, Lab, lab, prediction, settings_of

pytestmark = pytest.mark.postgres


def horizon(days: int) -> dict[str, object]:
    return {"labels": {"horizon": f"{days}d"}}


async def days_stored(made: Lab) -> list[int]:
    found = await made.rows(
        "select (extract(epoch from event_time) * 1000)::bigint as ms from driftline.prediction order by 1"
    )
    return [(row["ms"] - START_MS) // DAY for row in found]


async def filled(connection: Connection, horizon_days: int, *days: int, after: Lab | None = None) -> Lab:
    """Store predictions of some days while the model has this horizon; the log goes on after an earlier one."""
    made = await lab(connection, horizon(horizon_days))
    made.next = {} if after is None else after.next
    for day in days:
        assert await made.commit("predictions", prediction(f"p{horizon_days}-{day}", day * DAY))
    return made


async def as_configured(connection: Connection, name: str, horizon_days: int) -> MonitoredModel:
    return (await register_models(connection, settings_of(name, horizon(horizon_days))))[name]


async def test_partitions_of_an_earlier_horizon_go_when_the_present_one_has_passed(connection: Connection) -> None:
    made = await filled(connection, 20, 0, 11)
    await filled(connection, 4, 12, 17, after=made)
    model = await as_configured(connection, "m", 4)

    found = {}
    for day in (13, 15, 17, 18, 22):
        await drop_old_partitions(connection, {"m": model}, {"m": START_MS + day * DAY})
        found[day] = await days_stored(made)

    # Partitions are half a horizon wide: days -6 to 4 and 4 to 14 of the earlier one, 12 to 14 and 16 to 18 of this
    # one. They go when all that may be in them is older than four days.
    assert found == {13: [11, 12, 17], 15: [11, 12, 17], 17: [11, 12, 17], 18: [17], 22: []}


async def test_a_longer_horizon_keeps_what_was_stored_under_a_shorter_one(connection: Connection) -> None:
    made = await filled(connection, 4, 0)
    model = await as_configured(connection, "m", 20)

    await drop_old_partitions(connection, {"m": model}, {"m": START_MS + 15 * DAY})
    assert await days_stored(made) == [0]
    await drop_old_partitions(connection, {"m": model}, {"m": START_MS + 23 * DAY})
    assert await days_stored(made) == []


async def test_models_that_share_a_horizon_wait_for_one_another(connection: Connection) -> None:
    made = await filled(connection, 4, 0)
    models = {name: await as_configured(connection, name, 4) for name in ("m", "other")}
    late = START_MS + 15 * DAY

    for behind in (None, START_MS + 3 * DAY):
        await drop_old_partitions(connection, models, {"m": late, "other": behind})
        assert await days_stored(made) == [0]
    await drop_old_partitions(connection, models, {"m": late, "other": late})
    assert await days_stored(made) == []


async def test_rollups_stay_as_long_as_a_label_or_a_window_may_reach_them(connection: Connection) -> None:
    made = await filled(connection, 4, 0)
    await made.close()

    await drop_old_rollups(connection, made.model, START_MS + 4 * DAY + 2 * MINUTE)
    assert await made.count("rollup") == 1
    await drop_old_rollups(connection, made.model, START_MS + 4 * DAY + 2 * MINUTE + 1)
    assert await made.count("rollup") == 0


# What was found is kept for as long as `retention` says.

RETENTION = RetentionSettings.model_validate(
    {"verdicts": "2h", "performance": "4h", "episodes": "6h", "messages": "3d"}
)


async def judged(connection: Connection) -> Lab:
    """Verdicts and metrics of windows that end 1 to 9 hours after the start, of all traffic and of a segment."""
    made = await lab(connection, {"segments": ["c"]})
    model_id = made.model.model_id
    await made.model.admit(connection, "version", ["v1"])
    await made.model.admit_segments(connection, ["c=a"])
    made.model.codes.clear()
    await made.model.refresh_names(connection)
    code = made.model.names("segment").index("c=a")
    for segment in (-1, code):
        await connection.execute(
            "insert into driftline.verdict (model_id, version, segment, feature, detector, window_start, window_end,"
            " score, threshold, n_reference, n_current, level, profile_id)"
            " select %s, 0, %s, 'x', 'psi', at - interval '1h', at, 0, 1, 1, 1, 'ok', 1"
            " from generate_series(%s::timestamptz + interval '1h', %s::timestamptz + interval '9h', '1h') at",
            [model_id, segment, timestamp(START_MS), timestamp(START_MS)],
        )
        await connection.execute(
            "insert into driftline.performance (model_id, version, segment, window_start, window_end, basis, metric,"
            " n_predictions, n_labelled)"
            " select %s, 0, %s, at - interval '1h', at, 'cohort', 'recall', 1, 1"
            " from generate_series(%s::timestamptz + interval '1h', %s::timestamptz + interval '9h', '1h') at",
            [model_id, segment, timestamp(START_MS), timestamp(START_MS)],
        )
    return made


async def drop(made: Lab, at_ms: int | None, rows_max: int = 1000) -> None:
    watermark = None if at_ms is None else START_MS + at_ms
    models = {"m": made.model}
    await drop_expired(made.connection, RETENTION, models, {"m": watermark}, ["m.predictions"], rows_max=rows_max)


async def hours_left(made: Lab, table: str) -> list[int]:
    found = await made.rows(
        f"select (extract(epoch from window_end) * 1000)::bigint as ms from driftline.{table} order by 1"
    )
    return [(row["ms"] - START_MS) // HOUR for row in found]


async def test_results_go_when_they_were_kept_for_long_enough_by_event_time(connection: Connection) -> None:
    made = await judged(connection)

    await drop(made, None)
    assert len(await hours_left(made, "verdict")) == 18
    await drop(made, 9 * HOUR)

    assert await hours_left(made, "verdict") == [7, 7, 8, 8, 9, 9]
    assert await hours_left(made, "performance") == [5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
    assert await made.counts() == {"expired_verdict": 12, "expired_performance": 8}


async def test_no_more_goes_at_once_than_the_bound_and_the_rest_goes_next_time(connection: Connection) -> None:
    made = await judged(connection)

    left = []
    for _ in range(4):
        await drop(made, 9 * HOUR, rows_max=5)
        left.append(len(await hours_left(made, "verdict")))

    assert left == [13, 8, 6, 6]
    assert (await made.counts())["expired_verdict"] == 12


async def test_closed_episodes_and_old_requests_go_and_open_episodes_stay(connection: Connection) -> None:
    made = await judged(connection)
    for number, closed_h in enumerate((1, 4, None)):
        closed = None if closed_h is None else timestamp(START_MS + closed_h * HOUR)
        await connection.execute(
            "insert into driftline.episode (episode_id, model_id, version, kind, severity, opened_at, closed_at)"
            " values (gen_random_uuid(), %s, 'v1', 'drift', 'warning', %s, %s)",
            [made.model.model_id, timestamp(START_MS), closed],
        )
        await connection.execute(
            "insert into driftline.retraining (request_id, model, version, state, requested_at)"
            " values (%s, 'm', 'v1', 'requested', %s)",
            [f"r{number}", timestamp(START_MS + number * 4 * HOUR)],
        )

    await drop(made, 9 * HOUR)

    assert await made.rows("select closed_at is null as open from driftline.episode order by 1") == [
        {"open": False},
        {"open": True},
    ]
    assert await made.rows("select request_id from driftline.retraining order by 1") == [
        {"request_id": "r1"},
        {"request_id": "r2"},
    ]
    counts = await made.counts()
    assert (counts["expired_episode"], counts["expired_request"]) == (1, 1)


async def test_what_detectors_remember_goes_when_nothing_came_of_a_version_for_long_enough(
    connection: Connection,
) -> None:
    """Of `old` the last prediction is in the first hour, of `v1` in the sixth."""
    made = await lab(connection, {"labels": None, "performance": None, "windows": {"length": "1h", "slide": "1h"}})
    for hour in range(6):
        rows = [(row, version) for row in range(40) for version in (("old", "v1") if hour == 0 else ("v1",))]
        events = [
            prediction(f"{version}.{hour}.{row}", hour * HOUR + row * MINUTE, row % 2, version=version)
            for row, version in rows
        ]
        await made.commit("predictions", *events)
        await made.close((hour + 1) * HOUR)

    async def remembered(table: str) -> set[str]:
        found = await made.rows(
            f"select distinct n.name from driftline.{table} s join driftline.name n"
            " on n.model_id = s.model_id and n.kind = 'version' and n.code = s.version"
        )
        return {row["name"] for row in found}

    # As if it had been written before anybody noted when something was seen: it counts as seen by now.
    await connection.execute("update driftline.swing set seen_through = null")
    await drop(made, None)
    assert await remembered("detector_state") == {"old", "v1"}
    await drop(made, 6 * HOUR)
    assert (await remembered("detector_state"), await remembered("swing")) == ({"v1"}, {"old", "v1"})
    await drop(made, 8 * HOUR + 1)
    assert (await remembered("detector_state"), await remembered("swing")) == (set(), set())
    assert (await made.counts())["expired_state"] == 4


async def test_what_a_period_cost_goes_with_the_episodes_it_is_held_against(connection: Connection) -> None:
    made = await judged(connection)
    await connection.execute(
        "insert into driftline.alarm_spending"
        " (model_id, version, period_start, period_end, budget, looks, expected_e12)"
        " select %s, 0, at - interval '2h', at, 1, 1, 1"
        " from generate_series(%s::timestamptz + interval '2h', %s::timestamptz + interval '8h', '2h') at",
        [made.model.model_id, timestamp(START_MS), timestamp(START_MS)],
    )

    await drop(made, 10 * HOUR)

    found = await made.rows("select period_end as at from driftline.alarm_spending order by 1")
    assert [row["at"] // HOUR for row in found] == [4, 6, 8]
    assert (await made.counts())["expired_spending"] == 1


async def test_old_messages_go_with_their_deliveries_unless_somebody_waits_for_one(connection: Connection) -> None:
    made = await lab(connection)
    # By id: days ago it was written; whether it left; whether its webhook has it.
    messages = {
        "young": (1, True, True),
        "done": (5, True, True),
        "unsent": (5, False, True),
        "untold": (5, True, False),
    }
    for name, (days, published, delivered) in messages.items():
        await connection.execute(
            "insert into driftline.outbox (event_id, type, topic, model, version, segment, occurred_at, created_at,"
            " published_at, payload) values (%s, 't', 't', 'm', 'v1', '*', now(), now() - make_interval(days => %s),"
            " case when %s then now() end, '{}')",
            [name, days, published],
        )
        await connection.execute(
            "insert into driftline.delivery (event_id, webhook, sequence, delivered_at)"
            " select event_id, 'w', sequence, case when %s then now() end from driftline.outbox where event_id = %s",
            [delivered, name],
        )

    await drop(made, 0)

    left = [{"event_id": name} for name in ("unsent", "untold", "young")]
    assert await made.rows("select event_id from driftline.outbox order by 1") == left
    assert await made.rows("select event_id from driftline.delivery order by 1") == left
    assert await made.counts() == {"expired_message": 1}


async def test_old_dead_letters_of_our_topics_go_published_or_not(connection: Connection) -> None:
    made = await lab(connection)
    for days, topic in ((29, "m.predictions"), (31, "m.predictions"), (31, "another's")):
        await connection.execute(
            "insert into driftline.dead_letter (at, reason, detail, topic, partition, record_offset, element)"
            " values (now() - make_interval(days => %s), 'not_json', '', %s, 0, 0, 0)",
            [days, topic],
        )

    await drop(made, 0)

    assert await made.count("dead_letter") == 2
    assert await made.rows("select model, n from driftline.v_counts where reason = 'expired_dead_letter'") == [
        {"model": "*", "n": 1}
    ]
