"""Is what is old dropped, also where the configuration had another horizon before, and nothing that may be needed?"""

from __future__ import annotations

import pytest

from driftline.store.connection import Connection
from streams.monitored import MonitoredModel, register_models
from streams.tidy import drop_old_partitions, drop_old_rollups
from tests.support.pipelines import DAY, MINUTE, START_MS, Lab, lab, prediction, settings_of

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
