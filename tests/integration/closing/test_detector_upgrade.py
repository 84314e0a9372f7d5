"""Is a sequential detector's state never continued under other settings or another reference, and is that told?"""

from __future__ import annotations

from typing import Any

import pytest

from driftline.store.connection import Connection
from tests.support.pipelines import MINUTE, Lab, lab, prediction, put_reference_in_force, reference_events

pytestmark = pytest.mark.postgres


def settings(delta: float) -> dict[str, Any]:
    return {"drift": {"detectors": ["adwin"], "adwin": {"delta": delta}}, "labels": None}


async def see_a_minute(made: Lab, minute: int) -> int:
    """Commit a minute of 60 events, close it, and return how many events the detector of `x` looks back on."""
    rows = [prediction(f"{minute}-{row}", minute * MINUTE + row * 1000, features={"x": 0.5}) for row in range(60)]
    await made.commit("predictions", *rows)
    await made.close((minute + 1) * MINUTE)
    found = await made.drift(window_end=(minute + 1) * MINUTE, feature="x")
    return sum(row["n_reference"] + row["n_current"] for row in found)


async def begun_anew(made: Lab) -> int:
    found = await made.rows("select sum(n)::int as n from driftline.v_counts where reason = 'detector_begun_anew'")
    return found[0]["n"] or 0


async def test_another_spec_or_reference_begins_anew_and_is_counted_once(connection: Connection) -> None:
    made = await lab(connection, settings(0.002))
    assert [await see_a_minute(made, minute) for minute in range(3)] == [60, 120, 180]

    restarted = await lab(connection, settings(0.002))
    restarted.next = made.next
    assert await see_a_minute(restarted, 3) == 240
    assert await begun_anew(made) == 0

    upgraded = await lab(connection, settings(0.01))
    upgraded.next = made.next
    assert [await see_a_minute(upgraded, minute) for minute in (4, 5)] == [60, 120]
    assert await begun_anew(made) == 1

    await put_reference_in_force(upgraded, reference_events(300))
    assert [await see_a_minute(upgraded, minute) for minute in (6, 7)] == [60, 120]
    assert await begun_anew(made) == 2
