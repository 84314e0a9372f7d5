"""Do closed windows become the episodes, messages and requests that a careful reader of the log would make?"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from driftline.store.connection import Connection
from tests.support.pipelines import MINUTE, START_MS, Event, Lab, lab, migrated, prediction

pytestmark = pytest.mark.postgres


@pytest_asyncio.fixture
async def store(postgres_url: str) -> AsyncIterator[Connection]:
    async with migrated(postgres_url) as connection:
        yield connection


def minute(number: int, shift: float = 0.0, n: int = 200) -> list[Event]:
    """A minute of predictions: `x` spread evenly over 0 to 1, as in the reference, or shifted."""
    return [
        prediction(
            f"p{number}-{row}",
            number * MINUTE + row * (MINUTE // n),
            row % 2,
            features={"x": row / n + shift, "c": "ab"[row % 2]},
            score=(row + 0.5) / n,
        )
        for row in range(n)
    ]


async def told(made: Lab) -> list[tuple[str, int, Any]]:
    """Which messages were made, in order: type, minute, and the names of their causes."""
    found = await made.rows(
        "select type, occurred_at as at, payload from driftline.v_events order by occurred_at, type"
    )
    return [
        (
            row["type"].removeprefix("driftline."),
            row["at"] / MINUTE,
            sorted({cause.get("feature") or cause["metric"] for cause in row["payload"]["data"]["causes"]}),
        )
        for row in found
    ]


async def test_a_planted_drift_makes_one_episode_one_event_and_one_request_and_recovers(store: Connection) -> None:
    made = await lab(store, {"drift": {"detectors": ["psi"]}, "labels": None, "performance": None})
    for number in range(12):
        await made.commit("predictions", *minute(number, shift=0.5 if 3 <= number < 8 else 0.0))
    await made.close()

    assert await told(made) == [
        ("drift.detected", 5, ["x"]),
        ("retraining.requested", 5, ["x"]),
        ("drift.recovered", 10, ["x"]),
    ]
    [episode] = await made.rows("select * from driftline.v_episodes")
    assert (episode["opened_at"] - START_MS, episode["closed_at"] - START_MS) == (5 * MINUTE, 10 * MINUTE)
