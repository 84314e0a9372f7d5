"""Are there partitions where events lie, each once, and do they go only when all in them is old?"""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest

from driftline.store.connection import Connection, connect, the_row

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HORIZONS_S = [1, 2, 3, 61, 3_601, 86_399, 30 * 86_400, 2**31 - 1]
STRETCHES = [
    (datetime(2016, 1, 1, tzinfo=UTC), timedelta(0)),
    (datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC), timedelta(milliseconds=2)),
    (datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC), timedelta(seconds=3)),
    (datetime(1907, 3, 1, tzinfo=UTC), timedelta(seconds=1)),
]


async def ensure(connection: Connection, horizon_s: int, first: datetime, last: datetime) -> int:
    made = await the_row(connection, "ensure_partitions", parent="label", horizon_s=horizon_s, first=first, last=last)
    return int(made[0])


async def drop(connection: Connection, horizon_s: int, before: datetime) -> int:
    dropped = await the_row(connection, "drop_partitions", parent="label", horizon_s=horizon_s, before=before)
    return int(dropped[0])


async def add_label(connection: Connection, horizon_s: int, at: datetime) -> None:
    await connection.execute(
        "insert into driftline.label values (%s, 1, gen_random_uuid(), %s, 1, 'NaN', false, null)", [horizon_s, at]
    )


async def spans(connection: Connection, horizon_s: int) -> list[tuple[datetime, datetime]]:
    """The stretches of the time partitions of one horizon, as the server itself describes them."""
    bounds = await connection.execute(
        "select pg_get_expr(c.relpartbound, c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = to_regclass(%s)",
        [f"driftline.label_{horizon_s}"],
    )
    told = [re.findall(r"'([^']+)'", bound) for (bound,) in await bounds.fetchall()]
    return sorted((datetime.fromisoformat(first), datetime.fromisoformat(end)) for first, end in told)


@pytest.mark.parametrize(("first", "length"), STRETCHES)
async def test_partitions_cover_the_stretch_that_was_asked_for_and_are_half_a_horizon_wide(
    connection: Connection, first: datetime, length: timedelta
) -> None:
    for horizon_s in HORIZONS_S:
        made = await ensure(connection, horizon_s, first, first + length)

        found = await spans(connection, horizon_s)
        assert made == len(found) + 1  # and the partition of the horizon itself
        assert {end - start for start, end in found} == {timedelta(seconds=max(horizon_s / 2, 1))}
        assert found[0][0] <= first < found[0][1]
        assert found[-1][0] <= first + length < found[-1][1]
        assert all(one[1] == next_one[0] for one, next_one in pairwise(found))
        for at in (first, first + length):
            await add_label(connection, horizon_s, at)


async def test_partitions_that_are_there_are_left_alone(connection: Connection) -> None:
    first = datetime(2020, 1, 1, tzinfo=UTC)
    await ensure(connection, 86_400, first, first + 3 * DAY)
    before = await spans(connection, 86_400)

    assert await ensure(connection, 86_400, first, first + 3 * DAY) == 0
    assert await ensure(connection, 86_400, first + DAY, first + 4 * DAY) == 2
    assert set(before) < set(await spans(connection, 86_400))


async def test_several_at_once_make_each_partition_once(connection: Connection, postgres_url: str) -> None:
    first = datetime(2020, 1, 1, tzinfo=UTC)
    others = [await connect(postgres_url) for _ in range(4)]
    try:
        made = await asyncio.gather(
            *(ensure(other, 86_400, first, first + (number + 2) * DAY) for number, other in enumerate(others))
        )
    finally:
        for other in others:
            await other.close()

    found = await spans(connection, 86_400)
    assert sum(made) == len(found) + 1
    assert found[-1][1] > first + 5 * DAY


async def test_models_of_different_horizons_have_partitions_of_their_own(connection: Connection) -> None:
    first = datetime(2020, 1, 1, tzinfo=UTC)
    for horizon_s in (3_600, 86_400):
        await ensure(connection, horizon_s, first, first)
        await add_label(connection, horizon_s, first)

    await drop(connection, 3_600, first + DAY)

    assert await spans(connection, 3_600) == []
    assert len(await spans(connection, 86_400)) == 1


@pytest.mark.parametrize(("first", "length"), STRETCHES)
async def test_partitions_are_dropped_when_they_lie_wholly_before(
    connection: Connection, first: datetime, length: timedelta
) -> None:
    for horizon_s in HORIZONS_S:
        await ensure(connection, horizon_s, first, first + length + timedelta(seconds=3))
        there = await spans(connection, horizon_s)
        end = there[0][1]

        assert await drop(connection, horizon_s, end - timedelta(microseconds=1)) == 0
        assert await spans(connection, horizon_s) == there
        assert await drop(connection, horizon_s, end) == 1
        assert await spans(connection, horizon_s) == there[1:]


async def test_dropping_where_nothing_ever_was_is_no_error(connection: Connection) -> None:
    assert await drop(connection, 86_400, EPOCH) == 0


@pytest.mark.parametrize("function", ["ensure_partitions", "drop_partitions"])
async def test_only_the_three_partitioned_tables_can_be_named(connection: Connection, function: str) -> None:
    arguments = "timestamptz 'epoch', timestamptz 'epoch'" if function == "ensure_partitions" else "timestamptz 'epoch'"

    with pytest.raises(psycopg.errors.RaiseException, match="no partitioned table model"):
        await connection.execute(f"select driftline.{function}('model', 1, {arguments})".encode())
