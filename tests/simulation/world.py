"""One history: workers and relays on one store and one log, disturbed as planned, and what they leave behind."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from unittest.mock import patch

from faust.types.tuples import TP
from psycopg_pool import AsyncConnectionPool

from driftline.events import FeatureType
from driftline.settings import Settings
from driftline.store.connection import SERVICE_TROUBLE, Connection, connect
from streams.committing.commit import Pipeline
from streams.committing.fetches import WorkerParts
from streams.decode.decoder import Decoder
from streams.decode.shapes import TopicRoute, event_shape
from streams.monitored import Profiles, register_models
from streams.reading.positions import LogPositions
from streams.sending.publish import Message
from streams.sending.relay import relay_messages
from streams.worker import Worker
from tests.simulation.crashes import READ
from tests.simulation.left import OUT_TOPICS, Left, outbox_of, rows_of
from tests.simulation.stage import PAUSES, Actor, Crash, SimPool, Stage, StuckError, this_actor
from tests.simulation.traffic import Traffic, reference
from tests.support.pipelines import lab, settings_of

TOPICS = ("predictions", "features", "labels")
PROCESSES = ("one", "two")
RECORDS_A_FETCH = (1, 2, 5, 20, 80)
HELD_FOR_TURNS = 150
FAULTS_MAX = 30
LAST_FAULT = 1_000
"""By this turn most of the log is read; disturbing who has nothing to do shows little."""

TURNS_MAX = 60_000

Kind = Literal["kill", "cut", "hold", "move", "lose", "repeat"]
KINDS: tuple[Kind, ...] = ("kill", "cut", "hold", "move", "lose", "repeat")


@dataclass(frozen=True, order=True)
class Fault:
    """Something that goes wrong.

    Parameters
    ----------
    turn
        Before which turn.
    kind
        `kill` a process; `cut` an actor's connection, at once or before it hears that its next statement was done;
        `hold` a process for a while, as SIGSTOP does; `move` partitions to another owner; `lose` the next message that
        is sent, or `repeat` it: it arrives, but its answer does not.
    choice
        From 0 to 1: whom it meets.
    """

    turn: int
    kind: Kind
    choice: float


def draw_faults(seed: int) -> tuple[Fault, ...]:
    """Draw what goes wrong in a history."""
    chance = random.Random(f"faults {seed}")
    n = chance.randint(0, FAULTS_MAX)
    return tuple(sorted(Fault(chance.randrange(LAST_FAULT), chance.choice(KINDS), chance.random()) for _ in range(n)))


async def careful_reader(url: str, traffic: Traffic) -> Left:
    """Read each partition once, as a whole, then close every window: nothing goes wrong, nothing happens at once."""
    settings = settings_of("m", traffic.model)
    connection = await connect(url)
    async with connection:
        await lab(connection, traffic.model, reference=reference())
        stage = Stage(connection)
        world = _World(url, traffic, settings, stage, random.Random(0))

        async def read(actor: Actor) -> None:
            worker = await world.new_worker()
            at = await world.positions.resume([TP(*place) for place in traffic.log.places])
            for topic in TOPICS:
                for tp in sorted(tp for tp in at if tp.topic == topic):
                    fetch = traffic.log.fetch((tp.topic, tp.partition), at[tp], 10**9)
                    assert fetch is not None
                    assert await worker.fetches.process(fetch) is None
            await worker.close_windows()

        stage.enter("careful", "careful", read)
        with _no_waiting():
            while stopped := await stage.settle():
                stopped[0].go()
        return Left(await rows_of(connection), [], {})


async def disturbed(
    url: str, traffic: Traffic, seed: int, faults: Sequence[Fault], spared: Collection[Crash] | None = None
) -> Left:
    """Let two processes read the log and publish what follows, while things go wrong.

    Parameters
    ----------
    spared
        If given, there are also a kill and a cut before and after each effect, where it is met first, but for these.

    Raises
    ------
    AssertionError
        If nobody can go on, or two waited for one another.
    """
    settings = settings_of("m", traffic.model)
    connection = await connect(url)
    async with connection:
        await lab(connection, traffic.model, reference=reference())
        stage = Stage(connection)
        world = _World(url, traffic, settings, stage, random.Random(f"choices {seed}"), spared)
        with _no_waiting():
            try:
                await world.run(faults)
            finally:
                await stage.end()
        assert not stage.deadlocks, stage.deadlocks
        return Left(
            await rows_of(connection),
            await outbox_of(connection),
            dict(world.sent),
            world.turn,
            stage.deeds,
            stage.crashes,
        )


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Try again at once: how long is waited is nothing that matters here."""
    with ExitStack() as patches:
        patches.enter_context(patch("streams.committing.fetches.BACK_OFF_S", (0.0,)))
        patches.enter_context(patch("streams.reading.positions.RETRY_S", 0.0))
        yield


@dataclass
class _World:
    url: str
    traffic: Traffic
    settings: Settings
    stage: Stage
    chance: random.Random
    spared: Collection[Crash] | None = None
    owner: dict[TP, str] = field(default_factory=dict)
    """Who reads a partition; one who does not know yet that it was taken away reads on."""
    sent: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    losses: list[Kind] = field(default_factory=list)
    """What happens to the messages that are sent next."""
    news: Counter[str] = field(default_factory=Counter)
    """How often what was written, by kind: who has nothing to do looks again when it has changed."""
    turn: int = 0
    generation: Counter[str] = field(default_factory=Counter)
    held_until: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pool = cast(AsyncConnectionPool[Connection], SimPool(self.url))
        self.topics = self.traffic.log.topics(TOPICS)
        self.positions = LogPositions(self.pool, self.traffic.log, self.topics)

    async def new_worker(self) -> Worker:
        """Make a worker that knows nothing yet."""
        async with self.pool.connection() as connection:
            models = await register_models(connection, self.settings)
        # As a worker that starts does: what nobody has read yet holds the watermark back.
        await self.positions.register(self.topics)
        made = _decoder(self.settings)
        pipeline = Pipeline(models, Profiles(), self.settings.limits.max_future_ms)
        topics = {"m": tuple(self.topics)}
        return Worker(WorkerParts(self.settings, self.pool, pipeline, self.positions, topics), made)

    async def run(self, faults: Sequence[Fault]) -> None:
        places = [TP(*place) for place in self.traffic.log.places]
        self.owner = {tp: self.chance.choice(PROCESSES) for tp in places}
        for process in PROCESSES:
            self._start(process)
        left = list(faults)
        while stopped := await self.stage.settle():
            self.turn += 1
            if self.turn > TURNS_MAX:
                raise StuckError(f"not done after {TURNS_MAX} turns")
            while left and left[0].turn <= self.turn:
                await self._go_wrong(left.pop(0))
                stopped = await self.stage.settle()
            while self.spared is not None and await self._crash_anew(stopped):
                stopped = await self.stage.settle()
            busy = [actor for actor in stopped if not actor.rests]
            if not busy:
                return
            free = [actor for actor in busy if self.held_until.get(actor.process, 0) <= self.turn]
            if not free:  # whoever is held keeps the others waiting no longer than its sessions may last
                for actor in busy:
                    await self.stage.cut(actor)
                self.held_until.clear()
                free = busy
            self.chance.choice(free).go()
        raise StuckError("nobody is left")

    def _start(self, process: str) -> None:
        self.generation[process] += 1
        name = f"{process}.{self.generation[process]}"
        for part, play in (("reads", self._read), ("closes", self._close), ("relays", self._relay)):
            self.stage.enter(f"{name} {part}", process, play)

    async def _kill(self, process: str) -> None:
        await self.stage.kill(process)
        self.held_until.pop(process, None)
        self._start(process)

    async def _go_wrong(self, fault: Fault) -> None:
        process = PROCESSES[int(fault.choice * len(PROCESSES))]
        if fault.kind == "kill":
            await self._kill(process)
        elif fault.kind == "cut":
            stopped = await self.stage.settle()
            place = fault.choice * len(stopped)
            actor = stopped[int(place)]
            if place % 1 < 0.5 and actor.connection is not None and actor.at not in PAUSES:
                actor.connection.loses_answer = True
            else:
                await self.stage.cut(actor)
        elif fault.kind == "hold":
            self.held_until[process] = self.turn + HELD_FOR_TURNS
        elif fault.kind == "move":
            places = sorted(self.owner)
            moved = random.Random(fault.choice).sample(places, k=len(places) // 2)
            self.owner |= dict.fromkeys(moved, process)
            self._tell("moved")
        else:
            self.losses.append(fault.kind)

    async def _crash_anew(self, stopped: Sequence[Actor]) -> bool:
        """Make the first crash that an actor stands at and that was never made, and say whether there was one."""
        made = self.stage.crashes.keys() | (self.spared or ())
        for actor in stopped:
            for crash in _crashes_at(actor):
                is_planned = bool(self.losses) and (crash[1], crash[3]) == ("send", "cut")
                if crash not in made and not is_planned:
                    await self._crash(actor, crash)
                    return True
        return False

    async def _crash(self, actor: Actor, crash: Crash) -> None:
        match crash:
            case (_, _, _, "kill"):
                await self._kill(actor.process)
            case (_, "send", side, _):
                self.losses.insert(0, "lose" if side == "before" else "repeat")
            case (_, _, "before", _):
                await self.stage.cut(actor)
            case (_, _, "after", _):
                assert actor.connection is not None
                actor.connection.loses_answer = True

    def _tell(self, kind: str) -> None:
        self.news[kind] += 1
        for actor in self.stage.actors:
            actor.rests = False

    async def _until_news(self, actor: Actor, kind: str, seen: int) -> None:
        while self.news[kind] == seen:
            await actor.stop("nothing to do", rests=True)

    async def _read(self, actor: Actor) -> None:
        chance = random.Random(f"{actor.name} {self.chance.random()}")
        worker = await self._insist(actor, self.new_worker)
        at: dict[TP, int] = {}
        while True:
            seen = self.news["moved"]
            own = {tp for tp, owner in self.owner.items() if owner == actor.process}
            at = {tp: position for tp, position in at.items() if tp in own}
            at |= await self.positions.resume(sorted(own - at.keys()))
            assert self.positions.fatal is None, self.positions.fatal
            ready = [tp for tp in sorted(at) if self.traffic.log.fetch(tp, at[tp], 1)]
            if not ready:
                await self._until_news(actor, "moved", seen)
                continue
            tp = chance.choice(ready)
            await actor.stop(READ)
            fetch = self.traffic.log.fetch(tp, at[tp], chance.choice(RECORDS_A_FETCH))
            assert fetch is not None
            actor.did(READ)
            position = await worker.fetches.process(fetch)
            at[tp] = fetch.next if position is None else position
            self._tell("read")

    async def _close(self, actor: Actor) -> None:
        worker = await self._insist(actor, self.new_worker)
        while True:
            seen = self.news["read"]
            await self._insist(actor, worker.close_windows)
            self._tell("closed")
            await self._until_news(actor, "read", seen)

    async def _relay(self, actor: Actor) -> None:
        while True:
            seen = self.news["closed"]
            while await self._insist(actor, self._relay_once):
                pass
            await self._until_news(actor, "closed", seen)

    async def _relay_once(self) -> bool:
        """Publish what is due, and say whether there may be more."""
        more = False
        for topic in OUT_TOPICS:
            async with self.pool.connection() as connection:
                await connection.execute(TIME_PASSES)
                done = await relay_messages(connection, ["m"], topic, self._send, age_max_ms=3_600_000)
            more = more or bool(done.published or done.trouble)
        return more

    async def _send(self, topic: str, messages: Sequence[Message]) -> list[str | None]:
        answers: list[str | None] = []
        for message in messages:
            await this_actor().stop("send")
            lost = self.losses.pop(0) if self.losses else None
            if lost != "lose":
                self.sent[topic].append(message.value)
                this_actor().did("send")
            if lost:
                self.stage.crashes["relays", "send", "before" if lost == "lose" else "after", "cut"] += 1
            answers.append(lost and "no answer")
        await this_actor().stop("hear what was sent")
        return answers

    async def _insist(self, actor: Actor, do: Any) -> Any:
        """Try again while a service is away, as the timers of a worker do."""
        while True:
            try:
                return await do()
            except SERVICE_TROUBLE:
                await actor.stop("trying again")


TIME_PASSES = b"""
    update driftline.outbox set next_attempt_at = now()
     where event_id in (select event_id from driftline.outbox
                         where published_at is null and next_attempt_at > now() for update skip locked)
"""


def _crashes_at(actor: Actor) -> Iterator[Crash]:
    """Return what may interrupt an actor where it stands; what it reads of the log, nobody else sees."""
    if actor.connection is not None and actor.connection.loses_answer and not actor.connection.closed:
        return  # it is about to lose its answer
    if actor.at not in PAUSES:
        yield actor.part, actor.at, "before", "kill"
        if actor.at != READ:
            yield actor.part, actor.at, "before", "cut"
            yield actor.part, actor.at, "after", "cut"
    if actor.done not in PAUSES:
        yield actor.part, actor.done, "after", "kill"


def _decoder(settings: Settings) -> Decoder:
    model = settings.models["m"]
    types = [FeatureType(feature.name, feature.type) for feature in model.features or ()]
    kinds = {"predictions": "prediction", "labels": "label", "features": "feature"}
    routes = {topic: TopicRoute(topic, cast(Any, {kind: ("m",)})) for topic, kind in kinds.items()}
    return Decoder({"m": event_shape("m", model, types)}, routes, settings.limits, b"secret")
