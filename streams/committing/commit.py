"""One fetch, one Postgres transaction: everything that follows from a fetch, and the offset it moves, or nothing.

The steps, in this order for every fetch, so that nothing deadlocks and a stopped process holds nobody up:

0. **prepare** (no transaction): codes for new names; which events are late, too old or in the future, a function of the
   log alone; time partitions for those that can be used.
1. **fence**: lock the partition's offset row; if the log does not go on where this fetch starts, write nothing.
2. **join lock** of each model with labels: shared for predictions, alone for labels and served features.
3. **join**: predictions, then served features, then labels: drop repeats, insert, pair. Windows may close meanwhile.
4. **pane lock** of each model, shared: from here on no window closes until this is committed.
5. **summarise** under the profiles in force, read under the locks: the deltas.
6. **dead letters, counters, offset**; commit.

Data travels as parameters of single statements, never as COPY: a process that stops between two is waited for at most
`idle_in_transaction_session_timeout`, one that is cut off in the middle of one at most `transaction_timeout`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from driftline.events import DeadLetter, DeadReason, Decoded, Ints, Mask
from driftline.store.arrays import pg_array, pg_bytea_array, storable
from driftline.store.connection import Connection, row, rows, run, timestamp
from streams.committing.deltas import PanesOf, write_panes
from streams.committing.model_commit import InForce, ModelCommit
from streams.committing.prepared import PreparedModel, ensure_room, prepare
from streams.counting import summarise
from streams.monitored import MonitoredModel, Profiles
from streams.watermarks import judge_times

LOCK_TIMEOUT_MS = 15_000
"""Longer than a stopped process can hold a lock (`idle_in_transaction_session_timeout`), shorter than a session."""

FETCH_MS_MAX = 120_000
"""So long may the whole transaction last, on PostgreSQL 17 and newer. Who is cut off when half a statement arrived is
not idle to the server, and would keep the partition and the models' locks."""

PAYLOAD_BYTES_A_FETCH_MAX = 4 * 1024 * 1024
"""Dead letters of one fetch keep no payload beyond this; their reason and place are always kept."""


@dataclass(frozen=True, slots=True)
class Position:
    """A stretch of one partition of the log, half-open: from `start` to `next`."""

    topic: str
    partition: int
    topic_id: str
    start: int
    next: int


@dataclass(slots=True)
class Committed:
    """What one fetch came to.

    Parameters
    ----------
    counts
        Events by (model, reason).
    dead
        Events that could not be used.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    dead: list[DeadLetter] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What every commit needs besides its fetch."""

    models: Mapping[str, MonitoredModel]
    profiles: Profiles
    future_ms_max: int
    idle_in_transaction_ms: int = 5_000


DeadLetterOf = Callable[[int, str, DeadReason, str], DeadLetter]
"""Makes a dead letter of the event with this `order`: (order, model, reason, detail)."""


async def commit_fetch(
    connection: Connection,
    pipeline: Pipeline,
    position: Position,
    decoded: Decoded,
    record_ms: Ints,
    dead_letter_of: DeadLetterOf,
    joined_up: Callable[[], Awaitable[None]] | None = None,
) -> Committed | None:
    """Commit one fetch, or nothing.

    Parameters
    ----------
    record_ms
        int64 [events]; by `order`, the time of the record that held the event.
    joined_up
        Awaited between the join and the summary; until then the caller may close windows on another connection.

    Returns
    -------
    None if fenced: the log does not go on where this fetch starts, because another worker has read on or an earlier
    fetch failed. Nothing is written then.

    Raises
    ------
    psycopg.Error
        If Postgres fails or refuses; nothing is written then.
    """
    at = await row(connection, "partition_position", topic=position.topic, partition=position.partition)
    if not _goes_on(at, position):
        return None
    prepared = await prepare(connection, pipeline.models, decoded)
    result = Committed(Counter(decoded.counts), list(decoded.dead))
    newest_ms = _judge_times(prepared, pipeline, record_ms, at.newest_event, result, dead_letter_of)
    await ensure_room(connection, prepared)
    for name, labels in decoded.labels.items():
        if not pipeline.models[name].settings.has_labels:
            result.counts[name, "unwanted_label"] += len(labels)
    async with connection.transaction():
        await row(
            connection,
            "begin_fetch",
            idle_ms=str(pipeline.idle_in_transaction_ms),
            lock_ms=str(LOCK_TIMEOUT_MS),
            whole_ms=str(FETCH_MS_MAX),
        )
        if not _goes_on(
            await row(connection, "lock_offset", topic=position.topic, partition=position.partition), position
        ):
            return None
        await _lock_joins(connection, prepared)
        models = [item.model for item in prepared]
        commits = [ModelCommit(connection, pipeline.profiles, item, result.counts) for item in prepared]
        # Without a join nothing needs them before the summary.
        joining = [item for item in prepared if item.model.settings.has_labels or item.features is not None]
        in_force = await _in_force(connection, pipeline.profiles, joining)
        joined = [await commit.join(in_force) for commit in commits]
        if joined_up is not None:
            await joined_up()
        await rows(connection, "lock_panes_shared", buckets=sorted({model.bucket for model in models}))
        in_force = await _in_force(connection, pipeline.profiles, prepared)
        found = [await commit.summarise(left, in_force) for commit, left in zip(commits, joined, strict=True)]
        model_ids, profile_ids, parts = zip(*chain.from_iterable(found), strict=True) if any(found) else ((), (), ())
        await write_panes(connection, list(map(PanesOf, model_ids, profile_ids, summarise(parts))))
        await _write_dead_letters(connection, position, result.dead)
        await _count(connection, position, result)
        await run(
            connection,
            "advance_offset",
            topic=position.topic,
            partition=position.partition,
            next=position.next,
            newest_event=None if newest_ms is None else timestamp(newest_ms),
        )
    return result


def _goes_on(at: Any, position: Position) -> bool:
    """Whether the log goes on where a fetch starts; a partition that nobody registered does not."""
    return at is not None and (at.next, at.topic_id) == (position.start, position.topic_id)


def _judge_times(
    prepared: Sequence[PreparedModel],
    pipeline: Pipeline,
    record_ms: Ints,
    newest_ms: int | None,
    result: Committed,
    dead_letter_of: DeadLetterOf,
) -> int | None:
    """Mark late events, and take out those whose time can't be; all of a fetch in the order of the log."""
    parts = [(item, part) for item in prepared for part in item.parts]
    if not parts:
        return newest_ms
    order = np.concatenate([part.batch.order for _, part in parts])
    lengths = [len(part.batch) for _, part in parts]
    in_log_order = np.argsort(order, kind="stable")
    judged = judge_times(
        np.concatenate([part.batch.time_ms for _, part in parts])[in_log_order],
        record_ms[order[in_log_order]],
        np.repeat([item.model.settings.windows.out_of_orderness_ms for item, _ in parts], lengths)[in_log_order],
        np.repeat([item.model.horizon_ms for item, _ in parts], lengths)[in_log_order],
        newest_ms,
        pipeline.future_ms_max,
    )
    back = np.argsort(in_log_order, kind="stable")
    starts = np.cumsum(lengths)[:-1]
    late, old, future = (np.split(mask[back], starts) for mask in (judged.late, judged.too_old, judged.in_the_future))
    for place, (item, part) in enumerate(parts):
        name = item.model.name
        unusable: tuple[tuple[DeadReason, Mask, int], ...] = (
            ("too_old", old[place], item.model.horizon_ms),
            ("in_the_future", future[place], pipeline.future_ms_max),
        )
        for reason, wrong, bound_ms in unusable:
            for at in np.flatnonzero(wrong):
                detail = _TIME_DETAILS[reason].format(int(part.batch.time_ms[at]), bound_ms)
                result.dead.append(dead_letter_of(int(part.batch.order[at]), name, reason, detail))
        usable = ~(old[place] | future[place])
        item.put(part.take(usable).marked(late[place][usable]))
        if late[place].any():
            result.counts[name, f"late_{part.kind}"] += int(late[place].sum())
    return judged.newest_ms


_TIME_DETAILS: dict[DeadReason, str] = {
    "too_old": "the timestamp, {} ms, is more than {} ms behind its partition's watermark, or before the year 1000",
    "in_the_future": "the timestamp, {} ms, is more than {} ms after its record's own time, or after the year 9000",
}


async def _lock_joins(connection: Connection, prepared: Sequence[PreparedModel]) -> None:
    joined = [item for item in prepared if item.model.settings.has_labels]
    alone = {item.model.bucket for item in joined if item.joins_alone}
    shared = {item.model.bucket for item in joined} - alone
    # One order for all: by bucket, whichever way each is taken.
    for bucket in sorted(alone | shared):
        statement = "lock_join_alone" if bucket in alone else "lock_join_shared"
        await rows(connection, statement, buckets=[bucket])


async def _in_force(connection: Connection, profiles: Profiles, prepared: Sequence[PreparedModel]) -> InForce:
    """Return the profiles in force, and learn names that other workers gave codes: to ours, and to what is joined."""
    if not prepared:
        return {}
    models = {item.model.model_id: item.model for item in prepared}
    for found in await rows(connection, "name_counts", model_ids=list(models)):
        if found.n != models[found.model_id].n_names:
            await models[found.model_id].refresh_names(connection)
    return await profiles.in_force(connection, models.values())


async def _write_dead_letters(connection: Connection, position: Position, dead: Sequence[DeadLetter]) -> None:
    if not dead:
        return
    payloads, left = [], PAYLOAD_BYTES_A_FETCH_MAX
    for letter in dead:
        kept = letter.payload if len(letter.payload) <= left else b""
        left -= len(kept)
        payloads.append(kept)
    await run(
        connection,
        "add_dead_letters",
        topic=position.topic,
        partition=position.partition,
        reason=[letter.reason for letter in dead],
        detail=[storable(letter.detail) for letter in dead],
        model=[None if letter.model is None else storable(letter.model) for letter in dead],
        record_offset=pg_array("int8", [letter.offset for letter in dead]),
        element=pg_array("int4", [letter.element for letter in dead]),
        payload=pg_bytea_array(payloads),
    )


async def _count(connection: Connection, position: Position, result: Committed) -> None:
    for letter in result.dead:
        result.counts[letter.model or "*", f"dead_{letter.reason}"] += 1
    if result.counts:
        counted = sorted(result.counts.items())
        await run(
            connection,
            "count_events",
            topic=position.topic,
            partition=position.partition,
            model=[storable(model) for (model, _), _ in counted],
            reason=[reason for (_, reason), _ in counted],
            n=pg_array("int8", [n for _, n in counted]),
        )
