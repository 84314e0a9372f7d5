"""Is a partition left out of the watermark exactly while nothing is left to be read of it?"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from driftline.store.connection import Connection
from tests.support.desk import Desk, a_desk
from tests.support.pipelines import START_MS, prediction

pytestmark = pytest.mark.postgres

SECOND = 1_000


@pytest.fixture
async def four(connection: Connection, postgres_url: str) -> AsyncIterator[Desk]:
    """A model without labels whose predictions come in four partitions; windows of a minute."""
    model = {"labels": None, "performance": None, "windows": {"out_of_orderness": "0s", "idle_after": "1ms"}}
    async with a_desk(connection, postgres_url, 4, **model) as made:
        yield made


async def test_windows_wait_for_partitions_that_said_nothing_until_these_are_idle(four: Desk) -> None:
    await four.read(0, *(prediction(f"p{second}", second * SECOND) for second in range(0, 200, 5)))
    assert await four.closed_through() is None

    await four.ends({0: 40, 1: 0, 2: 0})  # nobody looked at partition 3
    assert await four.closed_through() is None

    await four.ends({3: 0})
    assert await four.closed_through() == 180 * SECOND


async def test_a_partition_that_is_behind_is_never_idle_and_one_that_was_idle_is_no_longer(four: Desk) -> None:
    await four.read(0, prediction("a", 0), prediction("b", 70 * SECOND))
    await four.ends({0: 2, 1: 0, 2: 0, 3: 0})
    assert await four.closed_through() == 60 * SECOND

    # Partition 1 gets an event; before it is read, partition 0 goes on by an hour.
    await four.read(2, prediction("c", 3_600 * SECOND))
    await four.ends({0: 3, 1: 1, 2: 0, 3: 0})
    assert await four.closed_through() == 60 * SECOND

    await four.read(0, prediction("d", 80 * SECOND), partition=1)
    assert await four.closed_through() == 60 * SECOND
    await four.ends({0: 3, 1: 1, 2: 0, 3: 0})
    assert await four.closed_through() == 3_600 * SECOND


async def test_a_partition_whose_worker_is_dead_is_never_idle_though_it_was_read_to_its_end_once(four: Desk) -> None:
    await four.read(0, prediction("a", 0), prediction("b", 70 * SECOND))
    await four.ends({0: 2, 1: 0, 2: 0, 3: 0})

    # From here on nobody looks at partition 3; whoever lives goes on.
    await four.read(2, prediction("c", 3_600 * SECOND))
    await four.ends({0: 3, 1: 0, 2: 0})

    assert await four.closed_through() == 60 * SECOND


async def test_idle_is_only_promised_for_what_others_had_read_before_the_ends_were_asked_for(four: Desk) -> None:
    await four.read(0, prediction("a", 0), prediction("b", 70 * SECOND))

    later = START_MS / 1000

    def meanwhile() -> None:
        nonlocal later
        later += 3_600
        four.do(f"update driftline.stream_offset set newest_event = to_timestamp({later}) where partition = 0")

    await four.ends({1: 0, 2: 0, 3: 0}, meanwhile)

    # During the first look the others came to the first hour, during the second to another one: that is not promised.
    assert await four.closed_through() == 3_600 * SECOND
