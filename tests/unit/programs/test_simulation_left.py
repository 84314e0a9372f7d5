"""Does what a simulated history is held against notice what is wrong with messages, also where events come late?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from tests.simulation.left import OUT_TOPICS, TOLD, Left, differences
from tests.simulation.traffic import Traffic

DRIFT, RETRAINING = OUT_TOPICS
EPISODE = UUID(int=1)
LATE = cast(Traffic, SimpleNamespace(is_late=True, n_predictions=0, n_pairs=0))


def message(name: str, topic: str = DRIFT) -> Any:
    event_id = name.rpartition(".")[2]
    return SimpleNamespace(
        event_id=event_id, type=f"driftline.{name}", topic=topic, episode_id=EPISODE, payload={"id": event_id}
    )


def row(**of: object) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in of.items())


OUTBOX = [message("drift.detected"), message("retraining.requested", RETRAINING), message("drift.recovered")]
SENT = {
    DRIFT: [b'{"id": "detected"}', b'{"id": "detected"}', b'{"id": "recovered"}'],
    RETRAINING: [b'{"id": "requested"}'],
}
VERDICTS = [row(detector="psi", score=1, level="ok"), row(detector="adwin", score=1, level="ok")]


def left(**other: Any) -> Left:
    rows: dict[str, list[Any]] = {name: [] for name in TOLD}
    rows |= {"episodes": [row(episode_id=EPISODE, closed_at="2024")], "counts": [row(reason="pair", n=0)]}
    return replace(Left(rows | {"drift": VERDICTS}, OUTBOX, SENT), **other)


def with_rows(**rows: Any) -> Left:
    return replace(left(), rows=left().rows | rows)


def test_what_is_as_it_must_be_is_no_difference() -> None:
    assert differences(LATE, left(), left()) == []


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        pytest.param(lambda: left(sent=SENT | {RETRAINING: []}), "requested never arrived", id="lost"),
        pytest.param(lambda: left(sent=SENT | {DRIFT: SENT[DRIFT][::-1]}), "in another order", id="order"),
        pytest.param(lambda: left(sent=SENT | {DRIFT: [json.dumps({"id": "detected", "n": 1}).encode()]}),
                     "is not what was to be sent", id="changed"),
        pytest.param(lambda: left(outbox=[*OUTBOX, OUTBOX[1]]), "'opened': 1, 'closed': 1}", id="asked twice"),
        pytest.param(lambda: left(outbox=OUTBOX[:2]), "its messages are {'opened': 1, 'closed': 0}", id="never closed"),
        pytest.param(lambda: with_rows(episodes=[]), "messages of no episode", id="of none"),
        pytest.param(lambda: with_rows(episodes=[row(episode_id=EPISODE, closed_at=None)]), "'closed': 0} happened",
                     id="closed though it is open"),
        pytest.param(lambda: with_rows(drift=[VERDICTS[0], row(detector="adwin", score=1, level="drift")]),
                     "drift: one too many", id="a sequential detector's level"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_though_events_came_late(made: Callable[[], Left], problem: str) -> None:
    assert any(problem in told for told in differences(LATE, left(), made()))


def test_how_a_window_was_judged_may_differ_where_events_came_late() -> None:
    other = with_rows(drift=[row(detector="psi", score=1, level="drift"), VERDICTS[1]])

    assert differences(LATE, left(), other) == []
    on_time = cast(Traffic, SimpleNamespace(is_late=False, n_predictions=0, n_pairs=0))
    assert differences(on_time, left(), other) != []
