"""Minutes of events of a lab's model, and what was decided of them: episodes, messages, requests."""

from collections.abc import Sequence
from typing import Any

from tests.support.pipelines import MINUTE, START_MS, Event, Lab, label, prediction

UNLABELLED: dict[str, Any] = {"labels": None, "performance": None, "drift": {"detectors": ["psi"]}}


def minute(number: int, shift: float = 0.0, n: int = 200, **rest: Any) -> list[Event]:
    """A minute of predictions: `x` spread evenly over 0 to 1, as in the reference, or shifted; no trend within it."""
    return [
        prediction(
            f"p{number}-{row}",
            number * MINUTE + row * (MINUTE // n),
            row % 2,
            **{"features": {"x": row * 77 % n / n + shift, "c": "ab"[row % 2]}, "score": (row * 77 % n + 0.5) / n}
            | rest,
        )
        for row in range(n)
    ]


def labels_of(events: Sequence[Event], delay_ms: int, wrong: bool = False) -> list[Event]:
    """Labels that all come after the same time and say that the predictions were right, or that all were wrong."""
    return [
        label(event["prediction_id"], event["timestamp"] - START_MS + delay_ms, event["prediction"] ^ wrong)
        for event in events
    ]


async def told(made: Lab, what: str = "") -> list[tuple[str, float]]:
    """Which messages were made, in order: type without its first word, and the minute of their time."""
    found = await made.rows(
        "select type, occurred_at as at from driftline.outbox where model = %s and type like %s order by sequence",
        made.model.name,
        f"driftline.%{what}%",
    )
    return [(row["type"].removeprefix("driftline."), row["at"] / MINUTE) for row in found]


async def everything(made: Lab) -> dict[str, list[dict[str, Any]]]:
    """All that was decided."""
    return {
        view: await made.rows(f"select * from driftline.{view} where model = %s order by {order}", made.model.name)
        for view, order in (
            ("v_events", "occurred_at, event_id"),
            ("v_episodes", "opened_at, episode_id"),
            ("v_retraining", "requested_at, request_id"),
        )
    }
