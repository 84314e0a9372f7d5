"""Actors that take turns: each stops before everything it does to the store or to a log, until it is told to go on.

An actor is a task. While it computes or waits for Postgres it is on its way; the scheduler waits until every actor has
stopped, has ended, or waits for a lock that one who stopped holds. So one thing happens at a time, and the same choices
make the same history.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import psycopg
from psycopg.abc import PQGen

from driftline.store import statements
from driftline.store.connection import Connection, _configure, _manner

T = TypeVar("T")
SETTLES_S = 0.004
STUCK_S_MAX = 60.0

_ACTOR: ContextVar[Actor] = ContextVar("actor")

BLOCKED = b"select pid from unnest(%s::integer[]) pid where cardinality(pg_blocking_pids(pid)) > 0"
HAS_ENDED = b"select not exists (select from pg_stat_get_activity(%s))"


Crash = tuple[str, str, Literal["before", "after"], Literal["kill", "cut"]]
"""Of which part of a process, at what effect, on which side of it, and how. A cut after it leaves who did it without an
answer: it goes on, and does not know that it was done."""

PAUSES = frozenset({"", "beginning", "connecting", "trying again", "nothing to do", "hear what was sent"})
"""Where actors stop though nothing is done there that others could see."""


class Killed(BaseException):
    """The process ends here, as by SIGKILL: nobody tidies up."""


class StuckError(AssertionError):
    """Nobody can go on."""


@dataclass(eq=False)
class Actor:
    """Something that happens beside other things.

    Parameters
    ----------
    process
        Which process it is part of: they are killed together.
    rests
        Whether it has nothing to do until something else has happened.
    """

    name: str
    process: str
    stage: Stage
    connection: SimConnection | None = None
    task: asyncio.Task[None] | None = None
    at: str = ""
    done: str = ""
    """What it did last."""
    rests: bool = False
    is_killed: bool = False
    _go: asyncio.Future[None] | None = None

    @property
    def part(self) -> str:
        """Which part of its process it is."""
        return self.name.rpartition(" ")[2]

    def did(self, effect: str) -> None:
        """Note what was done."""
        self.done = effect
        self.stage.deeds[self.part, effect] += 1

    @property
    def has_stopped(self) -> bool:
        """Whether it waits to be told to go on."""
        return self._go is not None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.task is None or self.task.done()

    async def stop(self, before: str, *, rests: bool = False) -> None:
        """Wait to be told to go on.

        Raises
        ------
        Killed
            If that is not to be.
        """
        if not self.is_killed:
            self.at, self.rests = before, rests
            self._go = asyncio.get_running_loop().create_future()
            self.stage.note_change()
            await self._go
        if self.is_killed:
            raise Killed

    def go(self) -> None:
        """Let it go on."""
        assert self._go is not None
        self._go.set_result(None)
        self._go, self.rests = None, False


def this_actor() -> Actor:
    """Return the actor on whose behalf this is called."""
    return _ACTOR.get()


class SimConnection(Connection):
    """A connection on which every step of the protocol is an actor's turn."""

    actor: Actor | None = None
    loses_answer: bool = False
    """Whether the next thing is done, but nobody hears of it: the session ends before the answer."""
    _statement: str = ""

    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Note which statement it is."""
        self._statement = _NAMES.get(query) or _first_words(query)
        return await super().execute(query, *args, **kwargs)

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Wait for one's turn, then for Postgres."""
        if self.actor is None:
            return await super().wait(gen, *args, **kwargs)
        effect = self._effect(gen)
        try:
            await self.actor.stop(effect)
        except Killed:
            self.pgconn.finish()
            raise
        if self.pgconn.status != psycopg.pq.ConnStatus.OK:
            raise psycopg.OperationalError("the connection is lost")
        try:
            answer = await super().wait(gen, *args, **kwargs)
        except psycopg.errors.DeadlockDetected as error:
            self.actor.stage.deadlocks.append(str(error))
            raise
        self.actor.did(effect)
        if self.loses_answer:
            self.loses_answer = False
            self.actor.stage.crashes[self.actor.part, effect, "after", "cut"] += 1
            await self.actor.stage.end_session(self.actor)
            raise psycopg.OperationalError("the connection was lost before the answer")
        return answer

    def _effect(self, gen: PQGen[Any]) -> str:
        """Name what is to be done; where a transaction ends, by the last statement in it."""
        match getattr(gen, "__name__", ""):
            case "_enter_gen":
                return "begin"
            case "_exit_gen":
                in_error = cast(Any, gen).gi_frame.f_locals["exc_val"] is not None
                return "rollback" if in_error else f"commit of {self._statement}"
        return self._statement


_NAMES = {text: name for name, text in statements().items()}


def _first_words(query: object) -> str:
    text = query if isinstance(query, str) else bytes(query).decode() if isinstance(query, bytes) else ""
    return " ".join(text.split()[:2])


@dataclass
class SimPool:
    """Gives every actor a connection of its own, and a new one when that was lost."""

    url: str

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SimConnection]:
        """Lend the actor's connection."""
        actor = this_actor()
        if actor.connection is None or actor.connection.closed:
            await actor.stop("connecting")
            actor.connection = await connect(self.url)
            actor.connection.actor = actor
        yield actor.connection


async def connect(url: str) -> SimConnection:
    """Open a connection that nobody's turns are waited for on."""
    made = await SimConnection.connect(**_manner(url, 10_000, "simulation"))
    await _configure(made)
    return made


@dataclass
class Stage:
    """All actors of one history.

    Parameters
    ----------
    monitor
        A connection to look at locks, and to end sessions.
    """

    monitor: Connection
    actors: list[Actor] = field(default_factory=list)
    deadlocks: list[str] = field(default_factory=list)
    deeds: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often what was done, by part and effect."""
    crashes: Counter[Crash] = field(default_factory=Counter)
    """How often processes were killed, and sessions ended, where."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _blocked: set[int] = field(default_factory=set)
    """Backends that waited for a lock when last looked at: of these it need not be awaited whether they go on."""

    def note_change(self) -> None:
        """Say that an actor has stopped or ended."""
        self._changed.set()

    def enter(self, name: str, process: str, play: Callable[[Actor], Coroutine[Any, Any, None]]) -> Actor:
        """Let an actor begin; it stops at once."""
        actor = Actor(name, process, self)

        async def played() -> None:
            _ACTOR.set(actor)
            try:
                await actor.stop("beginning")
                await play(actor)
            except Killed:
                pass
            finally:
                if actor.connection is not None:
                    actor.connection.pgconn.finish()
                self.note_change()

        actor.task = asyncio.create_task(played())
        self.actors.append(actor)
        return actor

    async def settle(self) -> list[Actor]:
        """Wait until nobody is on the way, and return who has stopped.

        Raises
        ------
        StuckError
            If somebody is for too long.
        """
        loop = asyncio.get_running_loop()
        too_late = loop.time() + STUCK_S_MAX
        while True:
            self._changed.clear()
            self._forget_ended()
            on_the_way = [actor for actor in self.actors if not actor.has_stopped]
            if not on_the_way or await self._all_wait_for_locks(on_the_way):
                return [actor for actor in self.actors if actor.has_stopped]
            if loop.time() > too_late:
                raise StuckError(f"on the way for too long: {', '.join(actor.name for actor in on_the_way)}")

    def _forget_ended(self) -> None:
        for actor in [actor for actor in self.actors if actor.has_ended]:
            self.actors.remove(actor)
            if actor.task is not None and (error := actor.task.exception()) is not None:
                raise error

    async def _all_wait_for_locks(self, actors: list[Actor]) -> bool:
        pids = {
            actor.connection.info.backend_pid for actor in actors if actor.connection and not actor.connection.closed
        }
        if len(pids) < len(actors) or not pids <= self._blocked:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLES_S):
                    await self._changed.wait()
                return False
        if len(pids) < len(actors):
            return False
        self._blocked = {pid for (pid,) in await self._ask(BLOCKED, list(pids))}
        return not self._changed.is_set() and self._blocked >= pids

    async def _ask(self, query: bytes, *values: object) -> list[tuple[Any, ...]]:
        return await (await self.monitor.execute(query, values, prepare=True)).fetchall()

    async def kill(self, process: str) -> None:
        """End a process where it stands: its sessions end, and what it has not committed is undone."""
        for actor in [actor for actor in self.actors if actor.process == process]:
            actor.is_killed = True
            self.crashes[actor.part, actor.at, "before", "kill"] += 1
            if actor.has_stopped:  # else it waits for a lock, and what it did last is longer ago
                self.crashes[actor.part, actor.done, "after", "kill"] += 1
            await self.end_session(actor)
            if actor.has_stopped:
                actor.go()

    async def end(self) -> None:
        """End everybody; these are no crashes."""
        made = self.crashes.copy()
        tasks = [actor.task for actor in self.actors if actor.task is not None]
        for process in {actor.process for actor in self.actors}:
            await self.kill(process)
        self.crashes = made
        await asyncio.gather(*tasks, return_exceptions=True)

    async def cut(self, actor: Actor) -> None:
        """End an actor's session, as a network or `idle_in_transaction_session_timeout` does."""
        if actor.connection is not None and not actor.connection.closed:
            self.crashes[actor.part, actor.at, "before", "cut"] += 1
        await self.end_session(actor)

    async def end_session(self, actor: Actor) -> None:
        """End an actor's session and wait until the server has."""
        if actor.connection is not None and not actor.connection.closed:
            pid = actor.connection.info.backend_pid
            await self._ask(b"select pg_terminate_backend(%s)", pid)
            # Its own second argument would wait in steps of a tenth of a second.
            while not (await self._ask(HAS_ENDED, pid))[0][0]:
                await asyncio.sleep(0.0005)
