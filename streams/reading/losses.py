"""Records that the log deleted before they were read: they are counted, and whoever watches a model is told of them.

Invariants: both happen in the transaction that goes on behind the loss, so each loss is told once; the id of the
message follows from what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from driftline.store.arrays import pg_array
from driftline.store.connection import Connection, run, timestamp
from retraining.messages import cloud_event, digest_of

LOST = "driftline.records.lost"
ANY = "*"
"""A loss is of no model alone."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A stretch of one partition of the log that nobody can read any more.

    Parameters
    ----------
    start, next
        Offsets, half-open.
    after_ms
        The newest event time that was read before; None if none was.
    """

    topic: str
    topic_id: str
    partition: int
    start: int
    next: int
    after_ms: int | None


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told of losses.

    Parameters
    ----------
    models
        By name, the topics that each reads.
    drift_topic
        Where the messages go.
    """

    models: Mapping[str, tuple[str, ...]]
    drift_topic: str


NOBODY = Audience({}, "")


def loss_event(loss: Loss, model: str) -> dict[str, Any]:
    """Tell of a loss as a CloudEvent.

    Examples
    --------
    >>> loss_event(Loss("predictions", "", 3, 70, 90, 1_451_606_400_000), "churn")["data"]["n"]
    20
    """
    event_id = digest_of(LOST, model, loss.topic, loss.topic_id, loss.partition, loss.start, loss.next).hex()
    data = {"model": model, "topic": loss.topic, "partition": loss.partition}
    data |= {"first_offset": loss.start, "last_offset": loss.next - 1, "n": loss.next - loss.start}
    return cloud_event(event_id, LOST, model, model, loss.after_ms, data)


async def note_loss(connection: Connection, loss: Loss, audience: Audience) -> None:
    """Count a loss, and leave a message to each model that reads the topic; within the caller's transaction."""
    n = pg_array("int8", [loss.next - loss.start])
    at: dict[str, Any] = {"topic": loss.topic, "partition": loss.partition}
    await run(connection, "count_events", **at, model=[ANY], reason=["lost_record"], n=n)
    for model in [name for name, topics in audience.models.items() if loss.topic in topics]:
        event = loss_event(loss, model)
        await run(
            connection,
            "tell_of_model",
            event_id=event["id"],
            type=LOST,
            topic=audience.drift_topic,
            model=model,
            occurred_at=None if loss.after_ms is None else timestamp(loss.after_ms),
            payload=Jsonb(event),
        )
