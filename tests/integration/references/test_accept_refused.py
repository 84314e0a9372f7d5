"""Is what can't be accepted told with its remedy, and does it change nothing?"""

from __future__ import annotations

import pytest

from driftline.errors import ConfigurationError
from driftline.store.connection import Connection
from streams.references.accept import find_model
from tests.support.accepting import accept, in_force, stream
from tests.support.pipelines import MINUTE, START_MS, lab, put_reference_in_force, reference_events

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "version", "told"),
    [
        (MINUTE, MINUTE, None, "is not before 2024-01-01T00:01Z"),
        (2 * MINUTE, MINUTE, None, "2024-01-01T00:02Z is not before 2024-01-01T00:01Z"),
        (0, 11 * MINUTE, None, "--to: windows are closed up to .* only; wait, or use --to 2024-01-01T00:10Z"),
        (5 * MINUTE + 1, 6 * MINUTE - 1, None, "holds no whole window or slide"),
        (7 * MINUTE, 8 * MINUTE, None, "no event .* stored is 2024-01-01T00:00Z to 2024-01-01T00:06Z"),
        (2 * MINUTE, 3 * MINUTE, None, "holds 10 events, fewer than windows.min_events, 40"),
        (4 * MINUTE, 6 * MINUTE, None, "its events from 2024-01-01T00:04Z .* in the bins of another reference"),
        (0, MINUTE, "v7", "--version: m has no version v7; there are v1"),
    ],
)  # fmt: skip
async def test_what_can_not_be_accepted_is_told_and_nothing_is_changed(
    connection: Connection, from_ms: int, to_ms: int, version: str | None, told: str
) -> None:
    made = await lab(connection, {"windows": {"min_events": 40}})
    await made.commit("predictions", *stream(1, 100, 0, 2 * MINUTE), *stream(2, 10, 2 * MINUTE, 3 * MINUTE))
    await made.commit("predictions", *stream(3, 100, 4 * MINUTE, 5 * MINUTE))
    await made.close(5 * MINUTE)
    await put_reference_in_force(made, reference_events(70))  # other rows, other edges
    await made.commit("predictions", *stream(4, 100, 5 * MINUTE, 6 * MINUTE))
    await made.close(10 * MINUTE)
    before = await in_force(made)
    if "another" not in told:
        await put_reference_in_force(made, reference_events())

    with pytest.raises(ConfigurationError, match=told) as caught:
        await accept(made, from_ms, to_ms, version)

    assert caught.value.exit_code == 2
    assert before is not None
    assert (await in_force(made)).n == (70 if "another" in told else 200)
    assert await made.count("audit") == 0


async def test_the_events_that_a_reference_was_collected_from_can_not_be_accepted_again(connection: Connection) -> None:
    made = await lab(connection, {"reference": {"first_events": 50}, "features": "auto"})
    nothing = {"match": "has no reference in force; it is still being collected"}
    await made.commit("predictions", *stream(1, 40, 0, MINUTE))
    with pytest.raises(ConfigurationError, **nothing):
        await accept(made, 0, MINUTE)
    await made.commit("predictions", *stream(2, 100, MINUTE, 3 * MINUTE))
    await made.close(3 * MINUTE)

    with pytest.raises(ConfigurationError, match="are what the present reference itself was made of"):
        await accept(made, 0, 3 * MINUTE)

    accepted = await accept(made, 2 * MINUTE, 3 * MINUTE)
    assert accepted.events == sum(
        event["timestamp"] >= START_MS + 2 * MINUTE for event in stream(2, 100, MINUTE, 3 * MINUTE)
    )


async def test_a_model_that_no_worker_ever_watched_is_told(connection: Connection) -> None:
    made = await lab(connection)

    with pytest.raises(ConfigurationError, match="nothing is stored of model other"):
        await find_model(connection, "other", made.model.settings)
