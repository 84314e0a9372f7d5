"""The composition root: which concrete things are put together for each command."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from detectors.profile import Profile
from driftline.embedded import embedded_postgres
from driftline.errors import ConfigurationError, StateError
from driftline.events import FeatureType
from driftline.settings import ModelSettings, Settings
from driftline.store.connection import Connection, connect, place_of, the_row
from driftline.store.migrate import migrate
from streams.commit import Pipeline
from streams.files import FileDecoder, feature_types
from streams.monitored import (
    EVERY_VERSION,
    MonitoredModel,
    Profiles,
    id_secret,
    put_profile_in_force,
    register_models,
)
from streams.reference import profile_from_file
from streams.replay import replay
from streams.replay_files import ReplayTimes, read_replay, read_tables, write_results, write_summary
from streams.shapes import event_shape


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What `driftline replay` was asked for."""

    model: str
    predictions: tuple[Path, ...]
    labels: tuple[Path, ...]
    out: Path
    times: ReplayTimes
    database: str | None


def file_profiles(settings: Settings, model: ModelSettings) -> dict[str, Profile]:
    """Build the profiles of a model's reference files, by version (or `*`).

    Raises
    ------
    InputError
        If a file can't be read or does not fit the settings.
    """
    references = {version: of.reference for version, of in model.versions.items()}
    if model.reference is not None:
        references[EVERY_VERSION] = model.reference
    return {
        version: profile_from_file(reference.path, model, settings.limits)
        for version, reference in references.items()
        if reference.path is not None
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
