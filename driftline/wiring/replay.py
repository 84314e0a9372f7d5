"""What `driftline replay` is put together from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from driftline.embedded import embedded_postgres
from driftline.errors import ConfigurationError, StateError
from driftline.settings import Settings
from driftline.store.connection import place_of, the_row
from driftline.store.migrate import migrate
from driftline.wiring.references import connected, file_profiles, put_references_in_force, types_in
from streams.committing.commit import Pipeline
from streams.decode.files import FileDecoder, feature_types
from streams.decode.shapes import event_shape
from streams.monitored import Profiles, id_secret, register_models
from streams.replay import replay
from streams.replay_files import ReplayTimes, read_replay, read_tables, why_unjoined, write_results, write_summary


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What `driftline replay` was asked for."""

    model: str
    predictions: tuple[Path, ...]
    labels: tuple[Path, ...]
    out: Path
    times: ReplayTimes
    database: str | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The content of `summary.json`, and what whoever asked should look at, if anything."""

    summary: dict[str, object]
    warning: str | None


@contextmanager
def _database(url: str | None) -> Iterator[str]:
    with nullcontext(url) if url is not None else embedded_postgres(durable=False) as found:
        yield found


async def run_replay(settings: Settings, request: ReplayRequest, progress: Callable[[str, int, int], None]) -> Replayed:
    """Replay files and write the results.

    Parameters
    ----------
    progress
        Told (what is going on, rows done, rows in all).

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
        async with connected(url) as connection, connected(url) as evaluator:
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

            # Nobody waits for a replay's locks, and on a busy machine its steps may take their time.
            pipeline = Pipeline(models, Profiles(), only.limits.max_future_ms, idle_in_transaction_ms=0)
            model = models[request.model]
            result = await replay(
                connection,
                evaluator,
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
    n_labels = counts["label"] - counts["repeated_label"] + data.without_prediction
    summary: dict[str, object] = {
        "model": request.model,
        "predictions": counts["prediction"] - counts["repeated_prediction"],
        "labels": n_labels,
        "labels_joined": totals.labels_joined,
        "labels_unmatched": totals.labels_unmatched + data.without_prediction,
        "repeated_predictions": counts["repeated_prediction"],
        "repeated_labels": counts["repeated_label"],
        "dead_letters": len(data.dead) + len(result.dead),
        "windows": result.windows,
        "drift_events": totals.drift_events,
        "performance_events": totals.performance_events,
        "retraining_requests": totals.retraining_requests,
        "seconds": round(seconds, 3),
    }
    write_summary(request.out, summary)
    warning = why_unjoined(prediction_tables, label_tables, decoder.shape, n_labels, totals.labels_joined)
    return Replayed(summary, warning)
