"""What `driftline run` is put together from."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import nullcontext

from driftline.errors import StateError
from driftline.kafka_admin import Admin, TopicInfo, no_such
from driftline.settings import KafkaSettings, Settings
from driftline.store.connection import open_pool, place_of
from driftline.wiring.decoding import decoder_of
from driftline.wiring.probes import probes
from driftline.wiring.references import file_profiles, put_references_in_force
from driftline.wiring.relay import relaying
from driftline.wiring.start import ready_store, services, told
from streams.app import build_app, run_app
from streams.committing.commit import Pipeline
from streams.committing.fetches import WorkerParts
from streams.health import Health
from streams.memory import give_back_memory
from streams.monitored import Profiles, id_secret, register_models
from streams.reading.losses import Audience
from streams.reading.positions import LogPositions
from streams.worker import Worker

_log = logging.getLogger("driftline.run")


async def run_worker(settings: Settings, started: Callable[[str], None], *, relays: bool = True) -> None:
    """Watch the models of a configuration until SIGINT or SIGTERM.

    Parameters
    ----------
    started
        Told, in one line, what is being watched.
    relays
        Whether this worker also publishes messages and delivers alerts; else `driftline relay` has to.

    Raises
    ------
    ConfigurationError, InputError, StateError, ServiceUnavailableError
    """
    give_back_memory()
    kafka, postgres = services(settings)
    profiles = {name: file_profiles(settings, model) for name, model in settings.models.items()}
    async with ready_store(postgres) as connection:
        models = await register_models(connection, settings)
        await put_references_in_force(connection, models, profiles)
        secret = await id_secret(connection, settings)
    with Admin(kafka.bootstrap_servers, kafka.security) as broker:
        model_topics, found = await _existing_topics(settings, kafka, broker)
        decoder = decoder_of(settings, profiles, secret, found)
        pipeline = Pipeline(models, Profiles(), settings.limits.max_future_ms, postgres.idle_in_transaction_timeout_ms)
        url = postgres.url.get_secret_value()
        async with open_pool(url, postgres) as pool:
            positions = LogPositions(pool, broker, found, Audience(model_topics, kafka.topics.drift))
            with told(place_of(url)):
                await positions.register(found)
            parts, stopping = WorkerParts(settings, pool, pipeline, positions, model_topics), asyncio.Event()
            health = Health(kafka.stuck_after_ms / 1000)
            worker = Worker(parts, decoder, health)
            async with (
                probes(settings.web, health, worker.worker_id) as address,
                relaying(settings, pool, stopping) if relays else nullcontext(),
            ):
                started(f"watching {', '.join(models)} on {kafka.bootstrap_servers} into {postgres.place}")
                _log.info("whether it is ready is told at %s/readyz", address)
                _stop_when_told(stopping, worker)
                app = build_app(kafka, positions, settings.limits)
                while await run_app(app, worker, positions, sorted(found), broker.ends) and not stopping.is_set():
                    health.restarted()
                    worker = Worker(parts, decoder, health)
                    _stop_when_told(stopping, worker)
                    app = build_app(kafka, positions, settings.limits)


def _stop_when_told(stopping: asyncio.Event, worker: Worker) -> None:
    def stop() -> None:
        stopping.set()
        worker.stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)


async def _existing_topics(
    settings: Settings, kafka: KafkaSettings, broker: Admin
) -> tuple[dict[str, tuple[str, ...]], dict[str, TopicInfo]]:
    """Find the topics to read, and of them each model's inputs; those for predictions and wanted labels must exist."""
    wanted = {name: _input_topics(settings, name) for name in settings.models}
    inputs = {topic for topics in wanted.values() for topic in topics}
    letters, statuses = kafka.topics.dead_letters, kafka.topics.retraining_status
    there = await asyncio.to_thread(broker.topics, sorted(inputs | {letters, statuses}))
    found = {topic: info for topic, info in there.items() if topic in inputs | {statuses}}
    missing = sorted(
        {topic for topics in wanted.values() for topic, needed in topics.items() if needed and topic not in found}
    )
    if missing:
        raise StateError(
            no_such(missing),
            where=f"kafka at {kafka.bootstrap_servers}",
            remedy="run `driftline topics --create`, or name your own in kafka.topics",
        )
    if letters not in there:
        _log.warning("there is no topic %s: until there is, dead letters are in postgres only", letters)
    if statuses not in there:
        _log.info("there is no topic %s: what becomes of retraining requests is not read", statuses)
    return {name: tuple(topic for topic in topics if topic in found) for name, topics in wanted.items()}, found


def _input_topics(settings: Settings, model: str) -> dict[str, bool]:
    """Return a model's input topics, and whether each must exist."""
    topics = settings.input_topics(model)
    wanted = {topics["features"]: False}
    if settings.models[model].has_labels:
        wanted[topics["labels"]] = True
    return wanted | {topics["predictions"]: True}
