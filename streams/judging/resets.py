"""Sequential detectors that begin anew, because their settings or reference changed: whoever watches the model is told.

Invariants: it is counted and told in the transaction in which the old states are replaced, so each change is told once;
the id of the message follows from what was left and for what. A replay, which has one configuration, tells of none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from driftline.store.connection import Connection, run, timestamp
from retraining.messages import cloud_event, digest_of
from streams.closing.rollups import Group
from streams.monitored import ALL_SEGMENTS, MonitoredModel, count_of_models

RESET = "driftline.detectors.reset"


@dataclass(frozen=True, slots=True)
class LeftState:
    """What the detectors of one version and segment had gathered, and is not continued.

    Parameters
    ----------
    seen_through_ms
        The end of the last window that it saw; None of those that were stored before that was kept.
    was, is_now
        What it was built for, and what its heir is built for, as `streams.judging.series.sequential_spec` says it.
    """

    group: Group
    seen_through_ms: int | None
    was: str
    is_now: str

    @property
    def detectors(self) -> tuple[str, ...]:
        """Return whose state it was; none if the model had no sequential detector.

        Examples
        --------
        >>> LeftState(Group(0, -1), 0, "digest adwin {} 0.002 True", "digest  {} 0.002 True").detectors
        ('adwin',)
        """
        return tuple(self.was.partition("{")[0].split()[1:])

    @property
    def because(self) -> str:
        """Return what changed; another reference may change how sure detectors must be, so it is asked first."""
        digests = {spec.partition(" ")[0] for spec in (self.was, self.is_now)}
        return "reference" if len(digests) > 1 else "settings"


def reset_event(model: MonitoredModel, left: Sequence[LeftState], through_ms: int | None) -> dict[str, Any]:
    """Tell of a model's states that were left, and had seen what was closed through a time, as a CloudEvent."""
    versions = model.names("version")
    words: list[str] = []
    for state in sorted(left, key=lambda state: state.group):
        of, segment = versions[state.group.version], model.segment_name(state.group.segment)
        words += [of, segment or ALL_SEGMENTS, state.was, state.is_now]
    event_id = digest_of(RESET, model.name, str(through_ms), *words).hex()
    data = {
        "model": model.name,
        "versions": sorted({versions[state.group.version] for state in left}),
        "changed": sorted({state.because for state in left}),
        "detectors": sorted({name for state in left for name in state.detectors}),
        "n_states": len(left),
    }
    return cloud_event(event_id, RESET, model.name, model.name, through_ms, data)


async def note_reset(connection: Connection, model: MonitoredModel, left: Sequence[LeftState]) -> None:
    """Count the states that were left, and leave a message; within the caller's transaction."""
    await count_of_models(connection, [model.name], [len(left)], reason="detector_begun_anew")
    through_ms = max((state.seen_through_ms for state in left if state.seen_through_ms is not None), default=None)
    event = reset_event(model, left, through_ms)
    await run(
        connection,
        "tell_of_model",
        event_id=event["id"],
        type=RESET,
        topic=model.topics.drift,
        model=model.name,
        occurred_at=None if through_ms is None else timestamp(through_ms),
        payload=Jsonb(event),
    )
