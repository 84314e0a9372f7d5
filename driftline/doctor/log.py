"""Do the broker and Postgres agree about the log, and does anything hold it up?

Pure judgements about what both said. A position that the broker's log can't have means that it is another log than the
one that was read: `driftline run` would refuse to go on, for the same reason and with the same exit code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from driftline.doctor import Finding, fail, ok, warn
from driftline.doctor.store import Position
from driftline.errors import StateError
from driftline.kafka_admin import PartitionEnds, TopicInfo, TopicUse, no_such
from driftline.settings import ModelSettings, format_duration
from driftline.store.connection import timestamp
from streams.watermarks import PartitionTime, model_watermark

Ends = Mapping[tuple[str, int], PartitionEnds]

BEHIND_MS_MAX = 300_000
"""How far the partitions of a model may be apart in event time before one is said to hold the others up."""

RECREATED = "if it was recreated on purpose, delete its rows from driftline.stream_offset"
_LAGS_SHOWN_MAX = 5
LAG_RECORDS_MAX = 100_000
"""A worker reads so many in a second or two; more is a backlog."""


def check_topics(place: str, uses: Mapping[str, TopicUse], found: Mapping[str, TopicInfo]) -> Iterator[Finding]:
    """Check that the topics of the configuration exist."""
    missing = [topic for topic, use in uses.items() if use.needed and topic not in found]
    if missing:
        remedy = "`driftline topics --create` makes them, or whoever runs the cluster"
        yield from fail("topics", StateError(no_such(missing), where=place, remedy=remedy))
    told = ", ".join(f"{topic} ({info.partitions})" for topic, info in found.items())
    if found:
        yield ok("topics", f"{place}: {told}")


def check_positions(read: Mapping[str, TopicInfo], positions: Sequence[Position], ends: Ends) -> Iterator[Finding]:
    """Check that what was read is what the broker has.

    Parameters
    ----------
    read
        The topics that are read and exist.
    positions
        Of these topics' partitions, as stored.
    ends
        Of these topics' partitions, as the broker has them.
    """
    for topic, info in read.items():
        stored = [position for position in positions if position.topic == topic]
        problems = [finding for position in stored for finding in _check_position(position, info, ends)]
        new = info.partitions - len(stored)
        if new > 0:
            problems.append(warn("positions", f"{topic}: {new} partitions were never read; `driftline run` does"))
        yield from problems or [ok("positions", f"{topic}: {info.partitions} partitions, as they were read")]


def _check_position(position: Position, info: TopicInfo, ends: Ends) -> list[Finding]:
    place = f"{position.topic}, partition {position.partition}"
    end = ends.get((position.topic, position.partition))
    what = ""
    if position.topic_id and info.topic_id and position.topic_id != info.topic_id:
        what = f"is another topic than the one that was read before (id {info.topic_id}, was {position.topic_id})"
    elif end is None:
        what = f"was read up to {position.next}, but there is no such partition"
    elif position.next > end.end:
        what = f"ends at offset {end.end}, but was read up to {position.next}"
    if what:
        return fail("positions", StateError(what, where=place, remedy=RECREATED))
    if end is not None and position.next < end.earliest:
        lost = f"records {position.next} to {end.earliest - 1} were deleted before they were read"
        return [warn("positions", f"{place}: {lost}; the next worker counts them as lost")]
    return []


def check_lag(positions: Sequence[Position], ends: Ends, workers_alive: int) -> Iterator[Finding]:
    """Tell how many records are not read yet, by topic and for the partitions that lag most, and what to do."""
    lags: dict[str, dict[int, int]] = {}
    for position in positions:
        end = ends.get((position.topic, position.partition))
        if end is not None:
            lags.setdefault(position.topic, {})[position.partition] = max(end.end - position.next, 0)
    for topic, by_partition in lags.items():
        behind = sorted(((lag, partition) for partition, lag in by_partition.items() if lag), reverse=True)
        shown = ", ".join(f"partition {partition}: {lag}" for lag, partition in behind[:_LAGS_SHOWN_MAX])
        total = sum(by_partition.values())
        told = f"{topic}: {total} records not read yet"
        if behind and not workers_alive:
            yield warn("lag", f"{told}, and no worker to read them ({shown})")
        elif total > LAG_RECORDS_MAX:
            yield warn("lag", f"{told} ({shown}); if that does not fall, {_faster(len(by_partition), workers_alive)}")
        else:
            yield ok("lag", f"{told} ({shown})" if behind else told)


def _faster(partitions: int, workers_alive: int) -> str:
    """Say what makes reading faster.

    Examples
    --------
    >>> _faster(8, 8)
    '8 workers share 8 partitions: add partitions, then workers; docs/operations.md says how to see which side is slow'
    """
    more = "add partitions, then workers" if workers_alive >= partitions else "start more workers"
    shared = f"{workers_alive} workers share {partitions} partitions: {more}"
    return f"{shared}; docs/operations.md says how to see which side is slow"


def check_watermark(name: str, model: ModelSettings, positions: Sequence[Position]) -> list[Finding]:
    """Check that no partition of a model holds up its windows.

    Parameters
    ----------
    positions
        Of the partitions of the model's topics.
    """
    times = {position: PartitionTime(position.newest_ms, position.idle_through_ms) for position in positions}
    silent = [position for position in positions if position.newest_ms is None and position.idle_through_ms is None]
    if len(silent) == len(positions):
        return [ok("watermark", f"{name}: no event yet")]
    if silent:
        where = ", ".join(f"{position.topic} {position.partition}" for position in silent)
        return [warn("watermark", f"{name}: none yet; these partitions had no event and are not idle: {where}")]
    watermark_ms = model_watermark(times.values(), model.windows.out_of_orderness_ms)
    through = {
        position: max(ms for ms in (time.newest_ms, time.idle_through_ms) if ms is not None)
        for position, time in times.items()
    }
    slowest = min(through, key=lambda position: through[position])
    behind_ms = max(through.values()) - through[slowest]
    told = f"{name}: {timestamp(watermark_ms).isoformat()}" if watermark_ms is not None else name
    if behind_ms <= BEHIND_MS_MAX:
        return [ok("watermark", told)]
    behind = format_duration(behind_ms // 1000 * 1000)
    return [
        warn("watermark", f"{told}; {slowest.topic} {slowest.partition} is {behind} behind the others and holds it up")
    ]
