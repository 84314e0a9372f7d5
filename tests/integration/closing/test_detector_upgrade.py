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


async def told(made: Lab) -> list[dict[str, Any]]:
    query = "select payload from driftline.v_events where type = 'driftline.detectors.reset' order by occurred_at"
    return [row["payload"] for row in await made.rows(query)]


async def test_another_spec_or_reference_begins_anew_and_is_counted_and_told_once(connection: Connection) -> None:
    made = await lab(connection, settings(0.002))
    assert [await see_a_minute(made, minute) for minute in range(3)] == [60, 120, 180]

    restarted = await lab(connection, settings(0.002))
    restarted.next = made.next
    assert await see_a_minute(restarted, 3) == 240
    assert (await begun_anew(made), await told(made)) == (0, [])

    upgraded = await lab(connection, settings(0.01))
    upgraded.next = made.next
    assert [await see_a_minute(upgraded, minute) for minute in (4, 5)] == [60, 120]
    assert await begun_anew(made) == 1
    [event] = await told(made)
    assert event.pop("id")
    assert event == {
        "specversion": "1.0",
        "source": "/driftline/models/m",
        "type": "driftline.detectors.reset",
        "subject": "m",
        "time": "2024-01-01T00:04:00.000Z",
        "datacontenttype": "application/json",
        "data": {"model": "m", "versions": ["v1"], "changed": ["settings"], "detectors": ["adwin"], "n_states": 1},
    }

    await put_reference_in_force(upgraded, reference_events(300))
    assert [await see_a_minute(upgraded, minute) for minute in (6, 7)] == [60, 120]
    assert await begun_anew(made) == 2
    assert [(of["time"], of["data"]["changed"]) for of in await told(made)] == [
        ("2024-01-01T00:04:00.000Z", ["settings"]),
        ("2024-01-01T00:06:00.000Z", ["reference"]),
    ]


async def test_all_versions_and_segments_of_a_model_begin_anew_at_once_though_only_one_is_seen(
    connection: Connection,
) -> None:
    made = await lab(connection, settings(0.002) | {"segments": ["s"]})
    every = [
        prediction(f"{version}{segment}", 1_000, version=version, segment={"s": segment})
        for version in ("v1", "v2")
        for segment in "uv"
    ]
    await made.commit("predictions", *every)
    await made.close(MINUTE)
    kept = await made.rows("select spec from driftline.detector_state")

    upgraded = await lab(connection, settings(0.01) | {"segments": ["s"]})
    upgraded.next = made.next
    for minute in (1, 2):
        await upgraded.commit("predictions", prediction(f"{minute}", minute * MINUTE, segment={"s": "u"}))
        await upgraded.close((minute + 1) * MINUTE)

    [event] = await told(made)
    assert (event["data"]["versions"], event["data"]["n_states"]) == (["v1", "v2"], 6)
    assert await begun_anew(made) == 6
    specs = await made.rows("select spec from driftline.detector_state")
    assert not {row["spec"] for row in specs} & {row["spec"] for row in kept}


async def test_a_change_that_is_not_committed_is_told_when_it_is_and_then_once(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await lab(connection, settings(0.002))
    await see_a_minute(made, 0)
    upgraded = await lab(connection, settings(0.01))
    upgraded.next = made.next
    before = await made.rows("select spec, seen_through, content from driftline.detector_state")

    class LostError(Exception):
        pass

    def lost(*_: object) -> None:
        raise LostError

    with monkeypatch.context() as broken:
        broken.setattr("streams.closing.evaluate.Policing.save", lost)
        with pytest.raises(LostError):
            await see_a_minute(upgraded, 1)
    assert await told(made) == []
    assert await made.rows("select spec, seen_through, content from driftline.detector_state") == before

    await upgraded.close(2 * MINUTE)
    await see_a_minute(upgraded, 2)
    assert len(await told(made)) == 1


async def test_a_model_without_sequential_detectors_has_none_that_begin_anew(connection: Connection) -> None:
    made = await lab(connection, {"drift": {"detectors": ["psi"]}, "labels": None})
    await see_a_minute(made, 0)
    await put_reference_in_force(made, reference_events(300))
    await see_a_minute(made, 1)

    assert (await begun_anew(made), await told(made)) == (0, [])
