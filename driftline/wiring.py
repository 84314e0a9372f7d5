"""The composition root: which concrete things are put together for each command."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from detectors.profile import Profile
from driftline.embedded import embedded_postgres
from driftline.errors import ConfigurationError, StateError
from driftline.events import FeatureType
from driftline.kafka_admin import PartitionEnds, TopicInfo, partition_ends, topic_ids
from driftline.settings import KafkaSettings, ModelSettings, PostgresSettings, Settings
from driftline.store.connection import Connection, connect, open_pool, place_of, the_row
from driftline.store.migrate import migrate, require_current_schema
from streams.app import build_app, run_app
from streams.commit import Pipeline
from streams.decode.decoder import Decoder
from streams.decode.files import FileDecoder, feature_types
from streams.decode.shapes import event_shape, topic_routes
from streams.monitored import (
    EVERY_VERSION,
    MonitoredModel,
    Profiles,
    id_secret,
    put_profile_in_force,
    register_models,
)
from streams.positions import LogPositions
from streams.reference import profile_from_file
from streams.replay import replay
from streams.replay_files import ReplayTimes, read_replay, read_tables, write_results, write_summary
from streams.worker import Worker, WorkerParts


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What `driftline replay` was asked for."""

    model: str
    predictions: tuple[Path, ...]
    labels: tuple[Path, ...]
    out: Path
    times: ReplayTimes
    database: str | None


def reference_files(model: ModelSettings) -> dict[str, Path]:
    """Name a model's reference files, by version (or `*`); a version that learns from its first events has none."""
    references = {version: of.reference for version, of in model.versions.items()}
    if model.reference is not None:
        references[EVERY_VERSION] = model.reference
    return {version: reference.path for version, reference in references.items() if reference.path is not None}


def file_profiles(settings: Settings, model: ModelSettings) -> dict[str, Profile]:
    """Build the profiles of a model's reference files, by version (or `*`).

    Raises
    ------
    InputError
        If a file can't be read or does not fit the settings.
    """
    return {
        version: profile_from_file(path, model, settings.limits) for version, path in reference_files(model).items()
    }


async def put_references_in_force(
    connection: Connection, models: Mapping[str, MonitoredModel], profiles: Mapping[str, Mapping[str, Profile]]
) -> None:
    """Compare every model with its reference files from now on; what is in force already stays."""
    async with connection.transaction():
        for name, of_model in profiles.items():
            for version, profile in of_model.items():
                await put_profile_in_force(connection, models[name], version, profile)


def types_in(profiles: Mapping[str, Profile]) -> list[FeatureType] | None:
    """Return the feature types of a model's reference, or None without one."""
    for profile in profiles.values():
        return [FeatureType(feature.name, feature.kind) for feature in profile.features if feature.name[:1] != "@"]
    return None


@contextmanager
def _database(url: str | None) -> Iterator[str]:
    with nullcontext(url) if url is not None else embedded_postgres(durable=False) as found:
        yield found


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    connection = await connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def run_replay(
    settings: Settings, request: ReplayRequest, progress: Callable[[str, int, int], None]
) -> dict[str, object]:
    """Replay files and write the results.

    Parameters
    ----------
    progress
        Told (what is going on, rows done, rows in all).

    Returns
    -------
    The content of `summary.json`.

    Raises
    ------
    InputError, ConfigurationError, StateError, ServiceUnavailableError
    """
    if request.model not in settings.models:
        known = ", ".join(settings.models)
        raise ConfigurationError(f"no model {request.model}", where="--model", remedy=f"the configuration has: {known}")
    model_settings = settings.models[request.model]
    only = settings.model_copy(update={"models": {request.model: model_settings}})
    progress("reading files", 0, 0)
    profiles = file_profiles(only, model_settings)
    prediction_tables, label_tables = read_tables(request.predictions), read_tables(request.labels)
    types = types_in(profiles) or feature_types(prediction_tables[0][1], model_settings)
    with _database(request.database) as url:
        async with _connected(url) as connection:
            await migrate(connection)
            if (await the_row(connection, "holds_events")).found:
                raise StateError(
                    "holds events already", where=place_of(url), remedy="give --database an empty database"
                )
            models = await register_models(connection, only)
            await put_references_in_force(connection, models, {request.model: profiles})
            secret = await id_secret(connection, only)
            decoder = FileDecoder(event_shape(request.model, model_settings, types), only.limits, secret)
            started = time.monotonic()
            data = read_replay(prediction_tables, label_tables, decoder, request.times)
            total = len(data.predictions) + (0 if data.labels is None else len(data.labels))
            done = 0

            def advance(rows: int) -> None:
                nonlocal done
                done += rows
                progress("replaying", done, total)

            pipeline = Pipeline(models, Profiles(), only.limits.max_future_ms)
            model = models[request.model]
            result = await replay(
                connection,
                pipeline,
                model,
                data.predictions,
                data.labels,
                categories_max=only.limits.categories_max,
                progress=advance,
            )
            seconds = time.monotonic() - started
            totals = await the_row(connection, "replay_totals")
            await write_results(connection, request.out)
    counts = result.counts
    summary: dict[str, object] = {
        "model": request.model,
        "predictions": counts["prediction"] - counts["repeated_prediction"],
        "labels": counts["label"] - counts["repeated_label"] + data.without_prediction,
        "labels_joined": counts["pair"],
        "labels_unmatched": totals.labels_unmatched + data.without_prediction,
        "repeated_predictions": counts["repeated_prediction"],
        "repeated_labels": counts["repeated_label"],
        "dead_letters": len(data.dead) + len(result.dead),
        "windows": result.windows,
        "drift_events": totals.drift_events,
        "retraining_requests": totals.retraining_requests,
        "seconds": round(seconds, 3),
    }
    write_summary(request.out, summary)
    return summary


@dataclass(frozen=True, slots=True)
class KafkaBroker:
    """The broker of a configuration, asked through blocking calls."""

    settings: KafkaSettings

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        """Describe those of the topics that exist."""
        return topic_ids(self.settings.bootstrap_servers, list(names), security=self.settings.security)

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], PartitionEnds]:
        """Say how far logs reach."""
        return partition_ends(self.settings.bootstrap_servers, list(partitions), security=self.settings.security)

    def log_ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Say which offset is behind the newest record of each partition."""
        return {at: ends.end for at, ends in self.ends(partitions).items()}


def _services(settings: Settings) -> tuple[KafkaSettings, PostgresSettings]:
    if settings.kafka is None or settings.postgres is None:
        absent = "kafka" if settings.kafka is None else "postgres"
        raise ConfigurationError(f"has no {absent} section", where="the configuration", remedy=f"add {absent}: {{…}}")
    return settings.kafka, settings.postgres


async def run_worker(settings: Settings, started: Callable[[str], None]) -> None:
    """Watch the models of a configuration until SIGINT or SIGTERM.

    Parameters
    ----------
    started
        Told, in one line, what is being watched.

    Raises
    ------
    ConfigurationError, InputError, StateError, ServiceUnavailableError
    """
    kafka, postgres = _services(settings)
    url = postgres.url.get_secret_value()
    profiles = {name: file_profiles(settings, model) for name, model in settings.models.items()}
    async with _connected(url) as connection:
        await require_current_schema(connection)
        models = await register_models(connection, settings)
        await put_references_in_force(connection, models, profiles)
        secret = await id_secret(connection, settings)
    broker = KafkaBroker(kafka)
    model_topics, found = await _existing_topics(settings, broker)
    shapes = {name: event_shape(name, model, types_in(profiles[name])) for name, model in settings.models.items()}
    routes = {topic: route for topic, route in topic_routes(settings).items() if topic in found}
    decoder = Decoder(shapes, routes, settings.limits, secret, settings.privacy.dead_letter_payloads)
    async with open_pool(url, postgres) as pool:
        positions = LogPositions(pool, broker, found)
        await positions.register(found)
        pipeline = Pipeline(models, Profiles(), settings.limits.max_future_ms, postgres.idle_in_transaction_timeout_ms)
        worker = Worker(WorkerParts(settings, pool, pipeline, positions, model_topics), decoder)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, worker.stopping.set)
        with tempfile.TemporaryDirectory(prefix="driftline-") as folder:
            app = build_app(kafka, positions, settings.limits.buffered_fetches_max, folder)
            started(f"watching {', '.join(models)} on {kafka.bootstrap_servers} into {postgres.place}")
            letters_topic = kafka.topics.dead_letters
            await run_app(app, worker, sorted(found), letters_topic, broker.log_ends)


async def _existing_topics(
    settings: Settings, broker: KafkaBroker
) -> tuple[dict[str, tuple[str, ...]], dict[str, TopicInfo]]:
    """Find the input topics of each model; those for predictions and, with labels, for labels must exist."""
    wanted = {name: _input_topics(settings, name) for name in settings.models}
    found = await asyncio.to_thread(broker.topics, sorted({topic for topics in wanted.values() for topic in topics}))
    missing = sorted(
        {topic for topics in wanted.values() for topic, needed in topics.items() if needed and topic not in found}
    )
    if missing:
        raise StateError(
            f"there is no topic {', '.join(missing)}",
            where=f"kafka at {broker.settings.bootstrap_servers}",
            remedy="run `driftline topics --create`, or name your own in kafka.topics",
        )
    return {name: tuple(topic for topic in topics if topic in found) for name, topics in wanted.items()}, found


def _input_topics(settings: Settings, model: str) -> dict[str, bool]:
    """Return a model's input topics, and whether each must exist."""
    topics = settings.input_topics(model)
    wanted = {topics["features"]: False}
    if settings.models[model].has_labels:
        wanted[topics["labels"]] = True
    return wanted | {topics["predictions"]: True}
