"""The Faust application: groups, rebalances and timers around a worker. The one module that touches Faust's App."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, cast

import faust
from faust.exceptions import ConsumerNotStarted
from faust.serializers import codecs
from faust.types.tuples import TP

from driftline.errors import DriftlineError, ServiceUnavailableError
from driftline.events import Decoded
from driftline.kafka_admin import PartitionEnds
from driftline.settings import KafkaSecurity, KafkaSettings, LimitSettings
from streams.committing.statuses import Statuses
from streams.health import Place, Sight
from streams.reading.positions import LogPositions
from streams.reading.slices import Bounds
from streams.reading.transport import BUFFER_SHARE, Fetch, WholeFetchConsumer, set_reading
from streams.timer import Timer
from streams.worker import Worker

_log = logging.getLogger("driftline.app")

TICK_S = 1.0
ENDS_S = 2.0
BEAT_S = 5.0
PACE_S = 0.5
MERGE_S = 10.0
TIDY_S = 60.0
CHECK_S = 0.2
LOOK_S = 3.0
SEE_S = 3.0
METADATA_S_MAX = 10.0
"""So old may be what a consumer knows of its topics. Partitions that are added hold the watermark back at once, and are
read only when the group has learnt of them; by default that takes five minutes."""

ANSWER_S_MAX = 30.0
STOP_S_MAX = 5.0
FAREWELL_S_MAX = 1.0
FETCHES_UNDER_WAY = 3
"""So many fetches are decoded or committed at a time: while some wait for Postgres, others keep the processors busy."""

FETCH_CODEC = "driftline-fetch"


class _WholeFetch(codecs.Codec):
    """Passes a fetch through: there is nothing to deserialise yet."""

    def _loads(self, s: Any) -> Any:
        return s


codecs.register(FETCH_CODEC, _WholeFetch())

Ends = Callable[[Iterable[tuple[str, int]]], Mapping[tuple[str, int], PartitionEnds]]
"""Asks the broker for the ends of logs; blocking."""


class _App(faust.App):
    def _create_directories(self) -> None:
        """Make none: there are no tables here, and a folder would be left behind by whoever is killed."""


def build_app(kafka: KafkaSettings, positions: LogPositions, limits: LimitSettings) -> faust.App:
    """Make the application; nothing connects yet."""
    app = _App(
        kafka.group,
        broker=[f"driftline://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
        broker_credentials=credentials(kafka.security),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        # Positions come from Postgres; a position the broker does not have must be an error, not a fresh start.
        consumer_auto_offset_reset="none",
        consumer_max_fetch_size=kafka.fetch_bytes_max,
        consumer_metadata_max_age_ms=round(METADATA_S_MAX * 1000),
        # A message is a whole fetch, so a handful is plenty. The transport stops before Faust would.
        stream_buffer_maxsize=limits.buffered_fetches_max * BUFFER_SHARE,
        broker_session_timeout=kafka.session_timeout_ms / 1000,
        broker_heartbeat_interval=kafka.heartbeat_ms / 1000,
        broker_rebalance_timeout=kafka.session_timeout_ms / 1000,
        # Who joins a group waits for the slowest member; whoever waits longer than that waits for nobody.
        broker_request_timeout=kafka.session_timeout_ms / 1000 + ANSWER_S_MAX,
        broker_max_poll_records=1_000_000,
        stream_wait_empty=False,
    )
    # One byte more than may be used, or than a dead letter keeps, tells that a message was larger.
    value_bytes_max = max(limits.message_bytes_max, limits.dead_letter_payload_bytes_max) + 1
    set_reading(app, positions, Bounds(kafka.fetch_bytes_max, value_bytes_max))
    return app


def credentials(security: KafkaSecurity) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Write our security settings as Faust's.

    Examples
    --------
    >>> credentials(KafkaSecurity()) is None
    True
    """
    context = None
    if security.protocol.endswith("ssl"):
        context = ssl.create_default_context(cafile=security.ca_file and str(security.ca_file))
        if security.certificate_file is not None:
            context.load_cert_chain(security.certificate_file, security.key_file)
    if security.protocol.startswith("sasl_"):
        password = security.password.get_secret_value() if security.password else None
        return faust.SASLCredentials(
            username=security.username, password=password, ssl_context=context, mechanism=security.sasl_mechanism
        )
    return None if context is None else faust.SSLCredentials(context=context)


async def run_app(app: faust.App, worker: Worker, positions: LogPositions, topics: Iterable[str], ends: Ends) -> bool:
    """Run until the worker is told to stop, or its consumer stands still and has to be started anew.

    Returns
    -------
    Whether a new application with a new worker is to go on.

    Raises
    ------
    DriftlineError
        If nothing can go on.
    """
    topics = list(topics)
    _add_agent(app, worker, topics)
    any_topic = next(iter(topics))
    timer, health = Timer(worker.stopping), worker.health
    tasks = [
        asyncio.create_task(timer.every(seconds, what, do))
        for seconds, what, do in (
            (TICK_S, "closing windows", worker.close_windows),
            (BEAT_S, "beating", lambda: _beat(app, worker)),
            (SEE_S, "looking at our partitions", lambda: _look(app, worker, ends, (any_topic, 0))),
            (ENDS_S, "asking for ends", lambda: _note_ends(app, worker, ends)),
            (LOOK_S, "looking at topics", positions.look),
            (PACE_S, "pacing labels", lambda: _pace(app, worker)),
            (MERGE_S, "merging panes", worker.merge_panes),
            (TIDY_S, "tidying", worker.tidy),
        )
    ]
    starting = asyncio.create_task(app.start())
    stuck: list[Place] = []
    try:
        while not worker.stopping.is_set():
            failure = worker.failure or _failure_of(app, starting)
            if failure is not None:
                worker.fail(failure)
            elif stuck := health.must_restart(monotonic()):
                told = ", ".join(f"{topic}, partition {partition}" for topic, partition in stuck)
                _log.error("%s: nothing moves while the log grows; starting the consumer anew", told)
                break
            await asyncio.sleep(CHECK_S)
    finally:
        worker.stopping.set()
        await _stop(app, worker, [starting, *tasks])
    failure = worker.failure
    if isinstance(failure, DriftlineError):
        raise failure
    if failure is not None:
        _log.error("the worker can't go on", exc_info=failure)
        text = " ".join(str(failure).split())
        raise ServiceUnavailableError(
            f"ended by {type(failure).__name__}: {text}", where="the worker", remedy="see its log, and start it again"
        )
    return bool(stuck)


def _failure_of(app: faust.App, starting: asyncio.Task[None]) -> BaseException | None:
    """Return why Faust reads no more, if so; it does not always say so by itself."""
    if starting.done() and (failure := starting.exception()) is not None:
        return failure
    if app.crashed:
        return app.crash_reason or RuntimeError("Faust crashed")
    if app.should_stop or not cast(WholeFetchConsumer, app.consumer).is_alive:
        return RuntimeError("Faust stopped by itself")
    return None


async def _stop(app: faust.App, worker: Worker, tasks: Iterable[asyncio.Task[None]]) -> None:
    """Stop, but wait for nobody for long: whatever is under way is in no transaction that is committed."""
    for task in tasks:
        task.cancel()
    stopping = asyncio.create_task(app.stop())
    _, left = await asyncio.wait([*tasks, stopping], timeout=STOP_S_MAX)
    if stopping in left:
        _log.warning("Faust did not stop in %s s", STOP_S_MAX)
    with suppress(Exception):
        await asyncio.wait_for(worker.beat("stopped", []), FAREWELL_S_MAX)


def _add_agent(app: faust.App, worker: Worker, topics: list[str]) -> None:
    # Faust counts no records of ours: `WholeFetchConsumer` tells Kafka how far we are.
    channel = app.topic(*topics, key_serializer="raw", value_serializer=FETCH_CODEC, allow_empty=True, acks=False)

    @app.agent(channel, name="driftline.fetches")
    async def fetches(stream: Any) -> None:
        cast(WholeFetchConsumer, app.consumer).buffer = stream.channel.queue
        at: dict[TP, int] = {}
        room = asyncio.Semaphore(FETCHES_UNDER_WAY)
        last: dict[TP, asyncio.Task[None]] = {}
        try:
            async for fetch in stream:
                await room.acquire()
                tp = TP(fetch.topic, fetch.partition)
                last[tp] = asyncio.create_task(_take(app, worker, fetch, worker.fetches.begin(fetch), at, last.get(tp)))
                last[tp].add_done_callback(lambda _: room.release())
        finally:
            for task in last.values():
                task.cancel()


async def _take(
    app: faust.App,
    worker: Worker,
    fetch: Fetch,
    decoding: asyncio.Task[Decoded | Statuses],
    at: dict[TP, int],
    before: asyncio.Task[None] | None,
) -> None:
    """Commit a fetch after the one before it in its partition, beside those of others, as several workers would."""
    try:
        if before is not None:
            await before
        await _commit(app, worker, fetch, decoding, at)
    except Exception as error:
        # Faust would only start the agent again, behind the fetch.
        worker.fail(error)


async def _commit(
    app: faust.App, worker: Worker, fetch: Fetch, decoding: Awaitable[Decoded | Statuses], at: dict[TP, int]
) -> None:
    """Commit a fetch; where the log goes on elsewhere, go there once and drop what was buffered before."""
    tp, place = TP(fetch.topic, fetch.partition), (fetch.topic, fetch.partition)
    consumer = cast(WholeFetchConsumer, app.consumer)
    worker.health.begun(place)
    position = await worker.fetches.process(fetch, decoding)
    worker.health.ended(place, monotonic(), committed=position is None)
    if position is None:
        at.pop(tp, None)
        consumer.note_committed(tp, fetch.next)
        return
    if not worker.stopping.is_set() and consumer.holds(tp) and at.get(tp) != position:
        at[tp] = position
        _log.info("%s, partition %s: fenced at %s, going on at %s", tp.topic, tp.partition, fetch.start, position)
        consumer.go_to(tp, position)


async def _note_ends(app: faust.App, worker: Worker, ends: Ends) -> None:
    consumer = cast(WholeFetchConsumer, app.consumer)
    own = _assigned(app)
    await worker.note_ends(
        lambda: {at: of.end for at, of in ends(own).items()},
        lambda topic, partition: consumer.reached(TP(topic, partition)),
    )


async def _look(app: faust.App, worker: Worker, ends: Ends, any_partition: Place) -> None:
    """Look how far our partitions are read; not in the same task as anything that Postgres could hold up."""
    consumer = cast(WholeFetchConsumer, app.consumer)
    own = _assigned(app)
    found = await asyncio.to_thread(ends, own or [any_partition])
    worker.health.answered("kafka", monotonic())
    if consumer.is_placed:
        active = {at: found[at].end for at in own if at in found and not consumer.is_paused(TP(*at))}
        sights = {at: Sight(consumer.reached(TP(*at))[1], end) for at, end in active.items()}
        worker.health.look(sights, monotonic())


async def _beat(app: faust.App, worker: Worker) -> None:
    await worker.beat("running", _assigned(app))
    worker.health.answered("postgres", monotonic())


async def _pace(app: faust.App, worker: Worker) -> None:
    """Pause label partitions that are far ahead of the predictions, and go on with those that no longer are."""
    waiting = await worker.labels_too_far_ahead()
    own = {TP(topic, partition) for topic, partition in _assigned(app)}
    paused = {tp for tp in own if (tp.topic, tp.partition) in waiting}
    consumer = cast(WholeFetchConsumer, app.consumer)
    if newly := {tp for tp in paused if consumer.is_active(tp)}:
        consumer.pause_partitions(newly)
    if due := {tp for tp in own - paused if consumer.is_paused(tp)}:
        consumer.resume_partitions(due)


def _assigned(app: faust.App) -> list[tuple[str, int]]:
    """Name this worker's partitions; none before the consumer has started."""
    try:
        return sorted((tp.topic, tp.partition) for tp in app.consumer.assignment())
    except ConsumerNotStarted:
        return []
