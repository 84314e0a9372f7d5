"""How long does a window take to close, and does a catch-up cost in proportion to what is caught up?

In one process, over a real Postgres: pane deltas as fetches leave them are put into the store, and `evaluate` closes
what the watermark allows. What is measured is that call alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measuring.usage import cpu_s
from driftline.embedded import embedded_postgres
from driftline.events import Coded, FeatureType, Numeric, PredictionBatch
from driftline.settings import Settings
from driftline.store.connection import Connection, connect
from driftline.store.migrate import migrate
from streams.closing.evaluate import evaluate
from streams.committing.commit import Pipeline
from streams.committing.deltas import PanesOf, write_panes
from streams.committing.merging import merge_passed_panes
from streams.counting import summarise_predictions
from streams.decode.batches import merge
from streams.monitored import EVERY_VERSION, MonitoredModel, Profiles, put_profile_in_force, register_models
from streams.panes import PaneLayout
from streams.references.reference import profile_from_batch
from streams.replay import replay
from streams.watermarks import BEFORE_ALL_MS

START_MS = 1_717_200_000_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
MODEL = "bench"


@dataclass(frozen=True, slots=True)
class Shape:
    """How wide a model is, and how many deltas fetches leave of each pane."""

    features: int
    segments: int
    deltas_a_pane: int = 1
    events_a_delta: int = 200


@dataclass(frozen=True, slots=True)
class Filled:
    """A model whose panes are in the store."""

    connection: Connection
    model: MonitoredModel
    profiles: Profiles
    profile_id: int
    layout: PaneLayout


def settings_of(shape: Shape) -> Settings:
    """Make the configuration of a model without labels, with windows of an hour."""
    model = {
        "task": "binary",
        "reference": {"path": "reference.parquet"},
        "features": [{"name": f"f{place}", "type": "numeric"} for place in range(shape.features)],
        "segments": ["region"],
        "windows": {"length": "1h", "allowed_lateness": "0s", "out_of_orderness": "0s"},
    }
    return Settings.model_validate({"models": {MODEL: model}})


def batch_of(shape: Shape, n: int, start_ms: int, rng: np.random.Generator) -> PredictionBatch:
    """Draw predictions of one pane."""
    features: dict[str, Any] = {
        f"f{place}": Numeric(rng.normal(size=n), np.zeros(n, np.bool_)) for place in range(shape.features)
    }
    score = rng.uniform(size=n)
    segments = Coded((np.arange(n) % shape.segments).astype(np.int32), tuple(f"s{of}" for of in range(shape.segments)))
    return PredictionBatch(
        key=rng.integers(0, 256, (n, 16)).astype(np.uint8),
        time_ms=start_ms + np.arange(n, dtype=np.int64) * (MINUTE_MS - 1) // n,
        version=Coded(np.zeros(n, np.int32), ("v1",)),
        variant=Coded(np.zeros(n, np.int32), ("champion",)),
        prediction=Coded((score > 0.5).astype(np.int32), ("0", "1")),
        score=score,
        features=features,
        segments=(segments,),
        has_features=np.ones(n, np.bool_),
        order=np.arange(n, dtype=np.int64),
    )


async def prepare(connection: Connection, shape: Shape) -> Filled:
    """Register the model with a reference, in an empty store."""
    rng = np.random.default_rng(0)
    models = await register_models(connection, settings_of(shape))
    model = models[MODEL]
    types = [FeatureType(f"f{place}", "numeric") for place in range(shape.features)]
    reference = batch_of(shape, 5_000, START_MS, rng)
    profile = profile_from_batch(
        reference,
        types,
        task="binary",
        bins=10,
        categories_max=50,
        segments=["region"],
        segments_max=100,
    )
    await model.admit(connection, "version", ["v1"])
    await model.admit_segments(connection, [f"region=s{of}" for of in range(shape.segments)])
    profiles = Profiles()
    async with connection.transaction():
        profile_id = await put_profile_in_force(connection, model, EVERY_VERSION, profile)
    return Filled(connection, model, profiles, profile_id, await profiles.layout(connection, profile_id))


def events_of(shape: Shape, first: int, n_panes: int) -> Iterator[PredictionBatch]:
    """Draw the events of some panes, delta by delta."""
    rng = np.random.default_rng(first)
    for pane in range(first, first + n_panes):
        for _ in range(shape.deltas_a_pane):
            yield batch_of(shape, shape.events_a_delta, START_MS + pane * MINUTE_MS, rng)


async def put_panes(filled: Filled, shape: Shape, first: int, n_panes: int) -> None:
    """Put the deltas of some panes into the store, as commits do."""
    names = filled.model.names("segment")
    codes = np.array([names.index(f"region=s{of}") for of in range(shape.segments)], np.int64)
    n = shape.events_a_delta
    for batch in events_of(shape, first, n_panes):
        deltas = summarise_predictions(
            batch,
            np.zeros(n, np.int64),
            codes[batch.segments[0].codes][:, None],
            np.zeros(n, np.bool_),
            filled.layout,
            MINUTE_MS,
        )
        await write_panes(filled.connection, [PanesOf(filled.model.model_id, filled.profile_id, deltas)])


async def replay_of(url: str, shape: Shape, stretches: Iterable[tuple[int, int]]) -> None:
    """Replay the events of some stretches of panes into an empty store, as `driftline replay` does those of files.

    Parameters
    ----------
    stretches
        The first pane of each and how many it has, as they are put into the store that is measured.
    """
    drawn = [events for stretch in stretches for events in events_of(shape, *stretch)]
    ends = np.cumsum([len(events) for events in drawn])
    events = merge([replace(of, order=of.order + end - len(of)) for of, end in zip(drawn, ends.tolist(), strict=True)])
    async with await connect(url) as connection, await connect(url) as evaluator:
        await migrate(connection)
        filled = await prepare(connection, shape)
        limits = settings_of(shape).limits
        pipeline = Pipeline({MODEL: filled.model}, filled.profiles, limits.max_future_ms)
        await replay(connection, evaluator, pipeline, filled.model, events, None, categories_max=limits.categories_max)


@dataclass(frozen=True, slots=True)
class Closing:
    """How long it took to close something: seconds on the clock, and of processor time on both sides."""

    s: float
    worker_cpu_s: float
    database_cpu_s: float


async def close(filled: Filled, watermark_ms: int, server: psutil.Process) -> Closing:
    """Close what a watermark allows."""
    database_s, worker_s = cpu_s(server), time.process_time()  # in this order: to look takes processor time, too
    started, behind = time.perf_counter(), True
    while behind:
        behind = (await evaluate(filled.connection, filled.profiles, filled.model, watermark_ms)).behind
    seconds = time.perf_counter() - started
    return Closing(seconds, time.process_time() - worker_s, cpu_s(server) - database_s)


def server_in(folder: Path) -> psutil.Process:
    """Return the embedded server whose files are in a folder."""
    return psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split()[0]))


def hours(n: int) -> list[tuple[int, int]]:
    """Return the panes of each of some hours: the first, and how many."""
    return [(hour * HOUR_MS // MINUTE_MS, HOUR_MS // MINUTE_MS) for hour in range(n)]


async def window(url: str, shape: Shape, windows: int, server: psutil.Process, *, merged: bool) -> list[Closing]:
    """Close windows one by one, after one that warms up.

    Parameters
    ----------
    merged
        Whether panes are merged as they pass, as a worker does, before their slide closes.
    """
    async with await connect(url) as connection:
        await migrate(connection)
        filled = await prepare(connection, shape)
        closings = []
        for number, stretch in enumerate(hours(windows + 1)):
            await put_panes(filled, shape, *stretch)
            end_ms = START_MS + (number + 1) * HOUR_MS
            if merged:
                await merge_passed_panes(connection, filled.profiles, filled.model, BEFORE_ALL_MS, end_ms)
            closings.append(await close(filled, end_ms, server))
        return closings[1:]


async def arrears(url: str, shape: Shape, n_panes: int, server: psutil.Process) -> Closing:
    """Close a backlog of panes at once."""
    async with await connect(url) as connection:
        await migrate(connection)
        filled = await prepare(connection, shape)
        await put_panes(filled, shape, 0, n_panes)
        return await close(filled, START_MS + n_panes * MINUTE_MS, server)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--segments", type=int, default=20)
    parser.add_argument("--deltas", type=int, default=1, help="deltas a pane, as fetches leave them")
    parser.add_argument("--events", type=int, default=200, help="events a delta")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument(
        "--panes", type=int, nargs="*", default=[], help="backlogs to close instead, such as 2500 5000 10000"
    )
    parser.add_argument("--not-merged", action="store_true", help="close windows over the deltas as fetches left them")
    given = parser.parse_args()
    shape = Shape(given.features, given.segments, given.deltas, given.events)
    found: dict[str, Any] = {}
    for panes in given.panes or [0]:
        with tempfile.TemporaryDirectory(prefix="driftline-bench-") as made:
            Path(made).chmod(0o755)  # the server may run as another user
            folder = Path(made) / "postgres"
            with embedded_postgres(folder, durable=False) as url:
                if panes:
                    backlog = asyncio.run(arrears(url, shape, panes, server_in(folder)))
                    found[f"arrears_{panes}"] = {name: round(s, 2) for name, s in asdict(backlog).items()}
                else:
                    merged = not given.not_merged
                    closings = asyncio.run(window(url, shape, given.windows, server_in(folder), merged=merged))
                    found["window_ms"] = [round(1000 * of.s) for of in closings]
                    found["window_ms_median"] = round(1000 * statistics.median(of.s for of in closings))
                    found["window_worker_ms"], found["window_database_ms"] = (
                        round(1000 * statistics.fmean(getattr(of, name) for of in closings))
                        for name in ("worker_cpu_s", "database_cpu_s")
                    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
