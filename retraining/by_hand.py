"""What a person does to an episode: finds it by the beginning of its id, takes it on, silences it for a while.

Invariants: everything done is in `audit`, in the transaction that does it; doing it again changes nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from psycopg.types.json import Jsonb

from driftline.errors import ConfigurationError
from driftline.settings import format_duration
from driftline.store.connection import Connection, bounded, rows, run, the_row
from retraining.episodes import SHORT_ID_DIGITS

EPISODES_SHOWN_MAX = 100
NEAR_ONES_MAX = 5
_HEXADECIMAL = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode as people see it; times are milliseconds since 1970 UTC, None for what did not happen.

    Parameters
    ----------
    episode_id
        32 hexadecimal digits.
    retraining
        State of its request, and what came of it.
    """

    episode_id: str
    model: str
    version: str
    kind: str
    severity: str
    causes: Sequence[Mapping[str, Any]]
    opened_ms: int
    closed_ms: int | None
    closed_as: str | None
    acknowledged_by: str | None
    acknowledged_ms: int | None
    snoozed_until_ms: int | None
    retraining: str | None
    retraining_outcome: str | None

    @property
    def short_id(self) -> str:
        """As much of the id as people type."""
        return self.episode_id[:SHORT_ID_DIGITS]


@dataclass(frozen=True, slots=True)
class Found:
    """Episodes, the open and grave ones first; `n` is how many there are beyond those that are listed, too."""

    episodes: Sequence[Episode]
    n: int


async def find_episodes(
    connection: Connection,
    *,
    model: str | None = None,
    closed_too: bool = False,
    beginning: str = "",
    episodes_max: int = EPISODES_SHOWN_MAX,
) -> Found:
    """Find episodes; a snooze that is over counts as none."""
    found = await rows(
        connection,
        "find_episodes",
        model=model,
        closed_too=closed_too,
        beginning=beginning,
        episodes_max=episodes_max,
    )
    return Found([_episode(item) for item in found], found[0].n if found else 0)


def _episode(item: Any) -> Episode:
    snoozed = item.snoozed_until if item.snoozed_until is not None and item.snoozed_until > item.now else None
    return Episode(
        item.episode_id.hex,
        item.model,
        item.version,
        item.kind,
        item.severity,
        item.causes,
        item.opened_at,
        item.closed_at,
        item.closed_as,
        item.acknowledged_by,
        item.acknowledged_at,
        snoozed,
        item.retraining,
        item.retraining_outcome,
    )


async def the_episode(connection: Connection, beginning: str) -> Episode:
    """Find the one episode whose id begins so, open or closed.

    Raises
    ------
    ConfigurationError
        If there is none, or more than one; it names near ones.
    """
    digits = beginning.strip().replace("-", "").lower()
    if digits and _HEXADECIMAL.issuperset(digits):
        found = await find_episodes(connection, closed_too=True, beginning=digits, episodes_max=NEAR_ONES_MAX)
        if found.n == 1:
            return found.episodes[0]
        if found.n > 1:
            told = ", ".join(_named(episode, len(digits) + 4) for episode in found.episodes)
            more = f" and {found.n - NEAR_ONES_MAX} more" if found.n > NEAR_ONES_MAX else ""
            raise ConfigurationError(f"{found.n} episodes begin so: {told}{more}", where=beginning, remedy="type more")
    there = (await find_episodes(connection, closed_too=True)).episodes
    named = {episode.short_id: _named(episode) for episode in there}
    near = [named[short] for short in get_close_matches(digits[:SHORT_ID_DIGITS], named, NEAR_ONES_MAX, cutoff=0.5)]
    near = near or [_named(episode) for episode in there if episode.closed_ms is None][:NEAR_ONES_MAX]
    remedy = f"there are {', '.join(near)}" if near else "`driftline episodes list --all` shows what there is"
    raise ConfigurationError("no episode begins so", where=beginning or "ID", remedy=remedy)


def _named(episode: Episode, digits: int = SHORT_ID_DIGITS) -> str:
    return f"{episode.episode_id[: max(digits, SHORT_ID_DIGITS)]} ({episode.kind} of {episode.model} {episode.version})"


async def acknowledge(connection: Connection, beginning: str, by: str, note: str) -> tuple[Episode, bool]:
    """Say that somebody looks after an episode; the first one stays.

    Returns
    -------
    The episode as it is now, and whether this changed it.

    Raises
    ------
    ConfigurationError
        As `the_episode`.
    """
    async with bounded(connection):
        episode = await the_episode(connection, beginning)
        changed = await run(connection, "acknowledge_episode", by=by, episode_id=episode.episode_id) > 0
        if changed or note:
            await audit(connection, by, "acknowledge_episode", episode.episode_id, {"note": note})
        return await the_episode(connection, episode.episode_id), changed


async def snooze(connection: Connection, beginning: str, for_ms: int, by: str, note: str) -> tuple[Episode, bool]:
    """Alert nobody about an open episode for a while from now on, or, for 0, alert again.

    Of a closed one, 0 wakes what is still held back: who was told of its beginning is told of its end now.

    Returns
    -------
    The episode as it is now, and whether this changed it: one that is closed can only be woken.

    Raises
    ------
    ConfigurationError
        As `the_episode`.
    """
    async with bounded(connection):
        episode = await the_episode(connection, beginning)
        changed = await run(connection, "snooze_episode", for_ms=for_ms, episode_id=episode.episode_id) > 0
        if changed:
            what = {"for": format_duration(for_ms), "note": note}
            await audit(connection, by, "snooze_episode", episode.episode_id, what)
        return await the_episode(connection, episode.episode_id), changed


async def audit(connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    """Remember who did what, and why."""
    await run(connection, "audit", actor=actor, action=action, subject=subject, detail=Jsonb(dict(detail)))


async def last_judged(connection: Connection) -> tuple[int | None, int | None]:
    """Return up to when windows were closed, and when the last episode was; None where there was none."""
    found = await the_row(connection, "how_much_was_judged")
    return found.closed_through, found.last_closed_at
