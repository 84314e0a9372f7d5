"""What share of one model's rate is left when many models share a topic?

In one process, over a real Postgres: fetches of JSON events, in turns of one model and of many, are decoded and
committed as a worker does it. The share is that of CPU time of worker and database together, so that it needs no quiet
machine. Afterwards the panes of all models are compared with what numpy counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from benchmarks.measuring.evaluation import MINUTE_MS, START_MS, Shape, batch_of, server_in, settings_of
from benchmarks.measuring.usage import cpu_s
from benchmarks.setting.brute_force import check_panes
from driftline.embedded import embedded_postgres
from driftline.events import Coded, FeatureColumn, FeatureType, Numeric, PredictionBatch
from driftline.settings import Settings
from driftline.store.connection import Connection, connect, run
from driftline.store.migrate import migrate
from streams.committing.commit import Pipeline, Position, commit_fetch
from streams.decode.decoder import Decoder
from streams.decode.shapes import TopicRoute, event_shape
from streams.monitored import EVERY_VERSION, Profiles, put_profile_in_force, register_models
from streams.references.reference import profile_from_batch
from tests.support.events import Message, records

TOPIC = "bench"
FETCH_EVENTS = 17_000
"""As many as 8 MiB hold."""
SHAPE = Shape(features=20, segments=3)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds an event: of the worker's decoding, of all of the worker, and of the database."""

    decode_us: float
    worker_us: float
    database_us: float


def of_a_model(one: Cost, many: Cost, models: int) -> tuple[float, float]:
    """Return what each model beyond the first adds to a fetch: CPU microseconds of worker and database.

    Examples
    --------
    >>> [round(us) for us in of_a_model(Cost(4, 6, 0.2), Cost(5, 12, 1.2), 201)]
    [510, 85]
    """
    events = FETCH_EVENTS / (models - 1)
    return (many.worker_us - one.worker_us) * events, (many.database_us - one.database_us) * events


def settings_of_many(models: int) -> Settings:
    """Configure so many models alike."""
    one = settings_of(SHAPE).models["bench"]
    return Settings.model_construct(
        **{**settings_of(SHAPE).__dict__, "models": {f"model-{number}": one for number in range(models)}}
    )


def events_of(number: int) -> PredictionBatch:
    """Draw the events of a fetch, which lie in one pane; numbers have four digits, as in their JSON."""
    drawn = batch_of(SHAPE, FETCH_EVENTS, START_MS + number * MINUTE_MS, np.random.default_rng(number))
    score = np.round(drawn.score, 4)
    features: dict[str, FeatureColumn] = {name: _rounded(column) for name, column in drawn.features.items()}
    return replace(drawn, score=score, prediction=Coded((score > 0.5).astype(np.int32), ("0", "1")), features=features)


def _rounded(column: FeatureColumn) -> Numeric:
    assert isinstance(column, Numeric)
    return Numeric(np.round(column.values, 4), column.missing)


def fetch_of(events: PredictionBatch, models: int, start: int) -> list[bytes]:
    """Write events as messages, of the models in turns; the first has a number for its id."""
    columns = {name: column.values.tolist() for name, column in events.features.items() if isinstance(column, Numeric)}
    times, scores = events.time_ms.tolist(), events.score.tolist()
    return [
        json.dumps(
            {
                "prediction_id": f"e{start + row}",
                "model": f"model-{row % models}",
                "version": "v1",
                "timestamp": times[row],
                "prediction": int(scores[row] > 0.5),
                "score": scores[row],
                "segment": {"region": f"s{row % SHAPE.segments}"},
                "features": {name: values[row] for name, values in columns.items()},
            }
        ).encode()
        for row in range(len(events))
    ]


async def measure(url: str, models: int, fetches: int, database: psutil.Process) -> Cost:
    """Decode and commit fetches of so many models, after one that warms up.

    Raises
    ------
    WrongAnswerError
        If a pane of any model holds something else than its events.
    """
    async with await connect(url) as connection:
        await migrate(connection)
        settings = settings_of_many(models)
        decoder, pipeline = await _prepare(connection, settings)
        decode_s = worker_s = database_s = 0.0
        for number in range(fetches + 1):
            start = number * FETCH_EVENTS
            values = fetch_of(events_of(number), models, start)
            fetched = records(*(Message(value, (), offset, START_MS) for offset, value in enumerate(values, start)))
            before, began, decoding = cpu_s(database), time.process_time(), time.process_time()
            decoded = decoder.decode(TOPIC, 0, fetched)
            decoding = time.process_time() - decoding
            position = Position(TOPIC, 0, "", start, start + FETCH_EVENTS)
            times = np.full(len(decoded.record_of), START_MS + number * MINUTE_MS)
            assert await commit_fetch(connection, pipeline, position, decoded, times, _no_letter) is not None
            if number:
                decode_s += decoding
                worker_s += time.process_time() - began
                database_s += cpu_s(database) - before
    with psycopg.connect(url, autocommit=True) as looking:
        model, names = np.arange(FETCH_EVENTS) % models, list(settings.models)
        for number in range(fetches + 1):
            check_panes(looking, events_of(number), model, names, START_MS + number * MINUTE_MS)
    events = fetches * FETCH_EVENTS / 1e6
    return Cost(decode_s / events, worker_s / events, database_s / events)


def _no_letter(*_: object) -> Any:
    raise AssertionError("every event can be used")


async def _prepare(connection: Connection, settings: Settings) -> tuple[Decoder, Pipeline]:
    rng = np.random.default_rng(0)
    types = [FeatureType(f"f{place}", "numeric") for place in range(SHAPE.features)]
    reference: PredictionBatch = batch_of(SHAPE, 5_000, START_MS, rng)
    profile = profile_from_batch(
        reference, types, task="binary", bins=10, categories_max=50, segments=["region"], segments_max=100
    )
    models = await register_models(connection, settings)
    for model in models.values():
        async with connection.transaction():
            await put_profile_in_force(connection, model, EVERY_VERSION, profile)
    await run(connection, "register_partition", topic=TOPIC, partition=0, topic_id="", next=0)
    shapes = {name: event_shape(name, model.settings, types) for name, model in models.items()}
    routes = {TOPIC: TopicRoute(TOPIC, {"prediction": tuple(models)})}
    decoder = Decoder(shapes, routes, settings.limits, b"secret")
    return decoder, Pipeline(models, Profiles(), settings.limits.max_future_ms)


def main() -> None:
    """Measure some numbers of models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="*", default=[1, 200, 1000])
    parser.add_argument("--fetches", type=int, default=4)
    given = parser.parse_args()
    costs: dict[int, Cost] = {}
    for models in given.models:
        with tempfile.TemporaryDirectory(prefix="driftline-bench-") as made:
            Path(made).chmod(0o755)  # the server may run as another user
            folder = Path(made) / "postgres"
            with embedded_postgres(folder, durable=False) as url:
                costs[models] = asyncio.run(measure(url, models, given.fetches, server_in(folder)))
    one = costs[min(costs)]
    for models, cost in costs.items():
        share = (one.worker_us + one.database_us) / (cost.worker_us + cost.database_us)
        told = {"models": models, "share_of_one": round(share, 2)}
        print(json.dumps(told | {name: round(getattr(cost, name), 2) for name in cost.__slots__}))


if __name__ == "__main__":
    main()
