"""Is the database reachable, of a version we know, up to date, and ours to write? What does it say of workers?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from driftline.doctor import Finding, fail, ok, warn
from driftline.doctor.bounds import check_dead_letters, check_stored
from driftline.doctor.names import check_names
from driftline.errors import DriftlineError, ServiceUnavailableError, StateError
from driftline.settings import PostgresSettings, format_duration
from driftline.store.connection import Connection, connect, place_of, rows, the_row, timestamp
from driftline.store.migrate import require_current_schema, schema_version
from driftline.store.refusals import GRANT, lacking

SERVER_VERSIONS = range(14, 19)
SEEN_MS_AGO_MAX = 30_000
"""A worker beats every few seconds; one that was not seen for so long is gone or stuck."""

ARREARS_MS_MAX = 60_000
"""A message leaves within seconds; one that is older and was never tried waits for a relay."""

_EPISODES_SHOWN_MAX = 3


@dataclass(frozen=True, slots=True)
class Position:
    """How far one partition is read, as Postgres knows it; times in milliseconds, None where there is none yet."""

    topic: str
    partition: int
    topic_id: str
    next: int
    newest_ms: int | None
    idle_through_ms: int | None


@dataclass(slots=True)
class Stored:
    """What the database says; `positions` is None where it could not be asked."""

    findings: list[Finding] = field(default_factory=list)
    positions: list[Position] | None = None
    workers_alive: int = 0


async def check_store(postgres: PostgresSettings, topics: Collection[str], webhooks: Collection[str]) -> Stored:
    """Check the database, and read from it how far the topics are read.

    Parameters
    ----------
    topics
        The topics that are read.
    webhooks
        The webhooks of the configuration.
    """
    url, stored = postgres.url.get_secret_value(), Stored()
    try:
        connection = await connect(
            url,
            connect_timeout_ms=postgres.connect_timeout_ms,
            silence_ms_max=postgres.answer_timeout_ms,
            application_name="driftline doctor",
        )
    except DriftlineError as error:
        stored.findings += fail("postgres", error)
        return stored
    try:
        await _ask(connection, place_of(url), topics, webhooks, stored)
    except psycopg.OperationalError as error:
        what = f"gone while it was asked: {' '.join(str(error).split())}"
        stored.findings += fail("postgres", ServiceUnavailableError(what, where=place_of(url)))
    except psycopg.errors.InsufficientPrivilege as error:
        what = f"{connection.info.user} may not look: {error.diag.message_primary}"
        stored.findings += fail("rights", StateError(what, remedy=GRANT))
    finally:
        await connection.close()
    return stored


async def _ask(
    connection: Connection, place: str, topics: Collection[str], webhooks: Collection[str], stored: Stored
) -> None:
    stored.findings += check_version(place, connection.info.server_version // 10_000)
    try:
        await require_current_schema(connection)
    except StateError as error:
        stored.findings += fail("schema", error)
        return
    stored.findings.append(ok("schema", f"version {await schema_version(connection)}, up to date"))
    missing = (await the_row(connection, "missing_rights")).words
    stored.findings += check_rights(connection.info.user, missing)
    if any(word.startswith("select") for word in missing):
        return
    workers = await rows(connection, "workers_and_ages")
    stored.workers_alive = sum(worker.seen_ms_ago <= SEEN_MS_AGO_MAX for worker in workers)
    stored.findings += check_workers(workers)
    stored.findings += check_dead_letters(await rows(connection, "dead_letters_of_a_day"))
    stored.findings.append(check_stored(await rows(connection, "stored_events")))
    stored.findings += check_names(await rows(connection, "names_beyond_limits"))
    stored.findings += check_episodes(await rows(connection, "open_episodes"))
    stored.findings += check_spending(await rows(connection, "false_alarms_spent"))
    stored.findings += check_accepted(await rows(connection, "accepted_references"))
    messages = await rows(connection, "state_of_messages")
    stored.findings += check_outbox([found for found in messages if found.channel == "topic"])
    stored.findings += check_webhooks(webhooks, [found for found in messages if found.channel == "webhook"])
    stored.positions = [
        Position(*found) for found in await rows(connection, "positions_of_topics", topics=list(topics))
    ]


def check_version(place: str, version: int) -> list[Finding]:
    """Check the server's major version.

    Examples
    --------
    >>> [check_version("db", version)[0].level for version in (13, 14, 18, 19)]
    ['fail', 'ok', 'ok', 'warn']
    """
    if version < SERVER_VERSIONS.start:
        remedy = f"use version {SERVER_VERSIONS.start} to {SERVER_VERSIONS.stop - 1}"
        return fail("postgres", StateError(f"PostgreSQL {version} is too old", where=place, remedy=remedy))
    if version not in SERVER_VERSIONS:
        return [warn("postgres", f"{place}: PostgreSQL {version} is newer than what driftline was tested with")]
    return [ok("postgres", f"{place}: PostgreSQL {version}")]


def check_rights(user: str, missing: Sequence[str]) -> list[Finding]:
    """Check that a worker could do its work under this role.

    Parameters
    ----------
    missing
        Rights as they would be granted, such as `insert on driftline.label`.
    """
    if not missing:
        return [ok("rights", f"{user} may read and write all tables")]
    return fail("rights", StateError(lacking(user, missing), remedy=GRANT))


def check_workers(workers: Sequence[Any]) -> list[Finding]:
    """Check that some worker is alive.

    Parameters
    ----------
    workers
        With `worker_id`, `state`, `seen_ms_ago` and `n`, the number of its partitions.
    """
    alive = [worker for worker in workers if worker.seen_ms_ago <= SEEN_MS_AGO_MAX]
    if not alive:
        ago = f"; the last one {min(worker.seen_ms_ago for worker in workers) // 1000}s ago" if workers else ""
        what = f"none was seen in the last {SEEN_MS_AGO_MAX // 1000}s{ago}; `driftline run` starts one"
        return [warn("workers", what)]
    told = (f"{worker.worker_id} {worker.state} with {worker.n} partitions" for worker in alive)
    return [ok("workers", ", ".join(told))]


def check_episodes(episodes: Sequence[Any]) -> list[Finding]:
    """Tell of episodes that nobody looks after.

    Parameters
    ----------
    episodes
        The open ones, the grave ones first, with `episode_id`, `model`, `version`, `kind`, `severity`, `acknowledged`.
    """
    loose = [episode for episode in episodes if not episode.acknowledged]
    if not loose:
        return [ok("episodes", f"{len(episodes)} open, all acknowledged" if episodes else "none open")]
    told = [
        f"{of.severity} {of.kind} of {of.model} {of.version} ({of.episode_id.hex[:8]})"
        for of in loose[:_EPISODES_SHOWN_MAX]
    ]
    if len(loose) > _EPISODES_SHOWN_MAX:
        told.append(f"and {len(loose) - _EPISODES_SHOWN_MAX} more")
    return [warn("episodes", f"open, and nobody acknowledged: {', '.join(told)}; `driftline episodes list` says why")]


def check_spending(models: Sequence[Any]) -> list[Finding]:
    """Tell what is spent of each model's budget of false episodes.

    Parameters
    ----------
    models
        With `model`, `budget`, `expected`, `looks`, `episodes` and `since`, of the newest period.
    """
    found = []
    for of in models:
        told = (
            f"{of.model}: {of.expected:.2g} of {of.budget:g} false episodes expected of {of.looks} looks since "
            f"{_day(of.since)}, {of.episodes} episodes of drift"
        )
        if of.expected > of.budget:
            more = "; more than `alarms.budget`: watch fewer segments or features, or raise `retraining.consecutive`"
            found.append(warn("alarms", told + more))
        else:
            found.append(ok("alarms", told))
    return found


def check_outbox(topics: Sequence[Any]) -> list[Finding]:
    """Tell whether messages wait longer than they should, or were given up.

    Parameters
    ----------
    topics
        With `destination`, `n_waiting`, `n_tried` (of them), `oldest_ms`, `n_failed` in the last day, and `last_error`.
    """
    told = [what for found in topics for what in _in_arrears(found.destination, found)]
    return [warn("outbox", what) for what in told] or [ok("outbox", "nothing waits to be published")]


def check_webhooks(webhooks: Collection[str], found: Sequence[Any]) -> list[Finding]:
    """Tell whether deliveries wait longer than they should, or were given up.

    Parameters
    ----------
    webhooks
        Those of the configuration.
    found
        By webhook, as for `check_outbox`.
    """
    told = [what for each in found if each.destination in webhooks for what in _in_arrears(each.destination, each)]
    told += [
        f"{each.destination}: {each.n_waiting} deliveries wait, but the configuration has no such webhook"
        for each in found
        if each.destination not in webhooks and each.n_waiting
    ]
    names = ", ".join(webhooks) or "none configured"
    return [warn("webhooks", what) for what in told] or [ok("webhooks", f"{names}; nothing waits")]


def _in_arrears(destination: str, found: Any) -> Iterator[str]:
    why = f": {found.last_error}" if found.last_error else ""
    if found.n_failed:
        yield f"{destination}: {found.n_failed} given up in the last day{why}; v_deliveries shows each"
    if found.n_tried:
        age = format_duration(found.oldest_ms // 1000 * 1000)
        yield f"{destination}: {found.n_waiting} wait, the oldest for {age}{why}"
    elif found.oldest_ms > ARREARS_MS_MAX:
        age = format_duration(found.oldest_ms // 1000 * 1000)
        yield f"{destination}: {found.n_waiting} wait, the oldest for {age}; is a worker or `driftline relay` running?"


def check_accepted(references: Sequence[Any]) -> list[Finding]:
    """Tell which references are in force because a person accepted them: the files say something else.

    Parameters
    ----------
    references
        With `model`, `version` (or `*`), `digest` and `since`, milliseconds since 1970 UTC.
    """
    return [
        ok(
            "accepted",
            f"{of.model} {of.version}: by hand, {_day(of.since)}, digest {of.digest}; until its file changes",
        )
        for of in references
    ]


def _day(ms: int) -> str:
    return timestamp(ms).date().isoformat()
