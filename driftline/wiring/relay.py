"""What takes messages out of Postgres is put together from: for workers, and for `driftline relay`."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

from psycopg_pool import AsyncConnectionPool

from alerts.deliveries import Deliverer
from alerts.post import open_post
from driftline.kafka_admin import topic_ids
from driftline.settings import Settings
from driftline.store.connection import Connection, open_pool
from driftline.wiring.start import ready_store, services
from streams.sending.publish import Publisher, Send
from streams.sending.relay import OutboxRelay, relay_dead_letters
from streams.timer import Timer

_log = logging.getLogger("driftline.relay")

TICK_S = 1.0
GRACE_S_MAX = 3.0
"""How long what is under way may take when we are told to stop; what is cut short is done again, with the same id."""


@asynccontextmanager
async def relaying(
    settings: Settings, pool: AsyncConnectionPool[Connection], stopping: asyncio.Event
) -> AsyncIterator[None]:
    """Publish dead letters and messages, and deliver alerts, for as long as this context is open.

    Parameters
    ----------
    stopping
        Set when nothing new is to be begun; leaving the context sets it.
    """
    kafka, _ = services(settings)
    publisher = Publisher(kafka)
    models = list(settings.models)
    outbox = OutboxRelay(pool, models, publisher.send, settings.outbox.age_max_ms)
    inputs = {topic for model in models for topic in settings.input_topics(model).values()}
    inputs.add(kafka.topics.retraining_status)
    letters = partial(_publish_letters, pool, inputs, kafka.topics.dead_letters, publisher.send, stopping)
    async with open_post() as post:
        deliverer = Deliverer(pool, models, post, settings.alerts.webhooks, settings.outbox.age_max_ms)
        timers: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("publishing dead letters", letters),
            ("publishing messages", outbox.publish),
            ("making deliveries", deliverer.fan_out),
            *(
                (f"webhook {name}", partial(deliverer.deliver, name, stopping.is_set))
                for name in settings.alerts.webhooks
            ),
        ]
        timer = Timer(stopping)
        tasks = [asyncio.create_task(timer.every(TICK_S, what, do)) for what, do in timers]
        try:
            yield
        finally:
            stopping.set()
            _, left = await asyncio.wait(tasks, timeout=GRACE_S_MAX)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            publisher.close()


async def _publish_letters(
    pool: AsyncConnectionPool[Connection], inputs: Collection[str], topic: str, send: Send, stopping: asyncio.Event
) -> None:
    async with pool.connection() as connection:
        while await relay_dead_letters(connection, inputs, topic, send):
            if stopping.is_set():
                return


async def run_relay(settings: Settings, started: Callable[[str], None]) -> None:
    """Do nothing but relay, until SIGINT or SIGTERM.

    Parameters
    ----------
    started
        Told, in one line, what is being relayed.

    Raises
    ------
    ConfigurationError, StateError, ServiceUnavailableError
    """
    kafka, postgres = services(settings)
    async with ready_store(postgres):
        pass  # it is as it should be; what is done now, the pool does
    relayed = sorted(kafka.topics.relayed())
    there = await asyncio.to_thread(topic_ids, kafka.bootstrap_servers, relayed, security=kafka.security)
    for topic in relayed:
        if topic not in there:
            _log.warning("there is no topic %s: until there is, what belongs there waits in postgres", topic)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with open_pool(postgres.url.get_secret_value(), postgres) as pool, relaying(settings, pool, stopping):
        webhooks = ", ".join(settings.alerts.webhooks) or "none"
        started(f"relaying from {postgres.place} to {kafka.bootstrap_servers}; webhooks: {webhooks}")
        await stopping.wait()
