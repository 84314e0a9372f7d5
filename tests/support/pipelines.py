"""A store of its own, fed with events as a worker feeds it, and looked at through its views.

One topic carries one kind of events (`predictions`, `labels`, `features`) or all of them (`all`); every event is a
record of its own. Times are integer milliseconds from `START_MS`, which is aligned to days.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from driftline.events import Coded, DeadLetter, DeadReason, Decoded, FeatureType
from driftline.settings import Settings
from driftline.store.connection import Connection, connect, run
from driftline.store.migrate import migrate
from streams.closing.evaluate import Restate, evaluate
from streams.committing.commit import Committed, Pipeline, Position, commit_fetch
from streams.decode.decoder import Decoder
from streams.decode.shapes import Kind, TopicRoute, event_shape
from streams.monitored import EVERY_VERSION, MonitoredModel, Profiles, put_profile_in_force, register_models
from streams.references.freeze import freeze_references
from streams.references.reference import profile_from_batch
from tests.support.events import messages

START_MS = 1_704_067_200_000
END_MS = START_MS + 10**10
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
KINDS: dict[str, tuple[Kind, ...]] = {
    "predictions": ("prediction",),
    "labels": ("label",),
    "features": ("feature",),
    "all": ("prediction", "label", "feature"),
}

Event = dict[str, Any]
Events = Sequence[Event]
Row = dict[str, Any]


def prediction(name: str, at_ms: int, predicted: Any = 1, **rest: Any) -> Event:
    """Make a prediction; `rest` are further fields of the event."""
    event = {"prediction_id": name, "timestamp": START_MS + at_ms, "prediction": predicted, "version": "v1"}
    return event | {"features": {"x": 1.0, "c": "a"}} | rest


def label(name: str, at_ms: int, truth: Any = 1) -> Event:
    """Make a label."""
    return {"prediction_id": name, "timestamp": START_MS + at_ms, "label": truth}


def features(name: str, at_ms: int, **values: Any) -> Event:
    """Make a feature event."""
    return {
        "prediction_id": name,
        "timestamp": START_MS + at_ms,
        "version": "v1",
        "source": "serving",
        "features": values,
    }


def reference_events(n: int = 200, **rest: Any) -> list[Event]:
    """Make predictions to be a reference: `x` from 0 to 1, `c` half `a` and half `b`, both classes."""
    return [
        prediction(f"r{row}", row, row % 2, features={"x": row / n, "c": "ab"[row % 2]}, score=(row + 0.5) / n, **rest)
        for row in range(n)
    ]


@dataclass
class Lab:
    """One model in one store."""

    connection: Connection
    pipeline: Pipeline
    decoder: Decoder
    model: MonitoredModel
    next: dict[tuple[str, int], int] = field(default_factory=dict)
    """Position by (topic, partition)."""

    async def position(self, topic: str, partition: int, n: int) -> Position:
        """Return the stretch of the log that `n` new events make; the partition is registered when it is first seen."""
        topic = f"{self.model.name}.{topic}"
        if (topic, partition) not in self.next:
            self.next[topic, partition] = 0
            await run(self.connection, "register_partition", topic=topic, partition=partition, topic_id="t", next=0)
        start = self.next[topic, partition]
        return Position(topic, partition, "t", start, start + n)

    def decode(self, topic: str, events: Iterable[Event | bytes]) -> Decoded:
        """Decode events of the model."""
        named = [event if isinstance(event, bytes) else {"model": self.model.name} | event for event in events]
        return self.decoder.decode(topic, 0, messages(*named))

    async def commit(
        self,
        topic: str,
        *events: Event | bytes,
        partition: int = 0,
        position: Position | None = None,
        record_ms: int = END_MS,
        connection: Connection | None = None,
    ) -> Committed | None:
        """Commit events as one fetch; the log goes on behind it if it was not fenced."""
        decoded = self.decode(topic, events)
        at = position or await self.position(topic, partition, len(events))

        def letter(order: int, model: str, reason: DeadReason, detail: str) -> DeadLetter:
            return DeadLetter(reason, detail, model, at.topic, at.partition, at.start + order, 0, b"payload")

        times = np.full(len(decoded.record_of), record_ms)
        done = await commit_fetch(connection or self.connection, self.pipeline, at, decoded, times, letter)
        if done is not None:
            self.next[at.topic, at.partition] = at.next
        return done

    async def close(self, at_ms: int = END_MS - START_MS, *, restate: Restate = "now") -> int:
        """Close what a watermark, in milliseconds from `START_MS`, allows; return how many windows held something."""
        profiles, watermark_ms, windows, behind = self.pipeline.profiles, START_MS + at_ms, 0, True
        await freeze_references(self.connection, profiles, self.model, watermark_ms, categories_max=50)
        while behind:
            done = await evaluate(self.connection, profiles, self.model, watermark_ms, restate=restate)
            windows, behind = windows + done.windows, done.behind
        return windows

    async def rows(self, query: str, *values: object) -> list[Row]:
        """Return what a query finds; times are milliseconds from `START_MS`."""
        async with self.connection.cursor(row_factory=dict_row, binary=True) as cursor:
            found = await (await cursor.execute(query.encode(), values)).fetchall()
        return [{name: _relative(name, value) for name, value in row.items()} for row in found]

    async def drift(self, **equal: object) -> list[Row]:
        """Return rows of `v_drift` of this model in a fixed order."""
        order = "version, window_end, segment, feature, detector"
        return await self._view("v_drift", order, equal)

    async def performance(self, **equal: object) -> list[Row]:
        """Return rows of `v_performance` of this model in a fixed order."""
        return await self._view("v_performance", "version, window_end, segment, basis, metric", equal)

    async def _view(self, view: str, order: str, equal: Mapping[str, object]) -> list[Row]:
        found = await self.rows(f"select * from driftline.{view} where model = %s order by {order}", self.model.name)
        return [row for row in found if all(row[name] == value for name, value in equal.items())]

    async def counts(self) -> dict[str, int]:
        """Return the counters of this model."""
        found = await self.rows(
            "select reason, sum(n)::bigint as n from driftline.v_counts where model = %s group by 1", self.model.name
        )
        return {row["reason"]: row["n"] for row in found}

    async def count(self, table: str) -> int:
        """Return how many rows a table holds."""
        [row] = await self.rows(f"select count(*) as n from driftline.{table}")
        return int(row["n"])


def _relative(name: str, value: Any) -> Any:
    times = ("window_start", "window_end", "at", "pane_start", "grain_start", "cohort_start", "arrival_start")
    return value - START_MS if name in times else value


def settings_of(name: str, model: Mapping[str, Any], limits: Mapping[str, Any] | None = None) -> Settings:
    """Make the configuration of one model, by default binary with two features and windows of a minute."""
    given = {
        "task": "binary",
        "reference": {"path": "reference.parquet"},
        "features": [{"name": "x", "type": "numeric"}, {"name": "c", "type": "categorical"}],
        "labels": {},
        **model,
        "windows": {"length": "1m", "allowed_lateness": "0s", "min_events": 1, **model.get("windows", {})},
    }
    return Settings.model_validate({"models": {name: given}, "limits": limits or {}})


async def lab(
    connection: Connection,
    model: Mapping[str, Any] | None = None,
    *,
    name: str = "m",
    reference: Events | None = None,
    limits: Mapping[str, Any] | None = None,
) -> Lab:
    """Register a model in a migrated store.

    Parameters
    ----------
    reference
        Events that become its reference at once; a model with `first_events` has none.
    """
    settings = settings_of(name, model or {}, limits)
    models = await register_models(connection, settings)
    only = settings.models[name]
    types = [FeatureType(feature.name, feature.type) for feature in only.features] if only.features else None
    shape = event_shape(name, only, types)
    routes = {topic: TopicRoute(topic, dict.fromkeys(kinds, (name,))) for topic, kinds in KINDS.items()}
    decoder = Decoder({name: shape}, routes, settings.limits, b"secret")
    made = Lab(connection, Pipeline(models, Profiles(), settings.limits.max_future_ms), decoder, models[name])
    if only.reference is not None and only.reference.path is not None:
        await put_reference_in_force(made, reference_events() if reference is None else reference)
    return made


async def put_reference_in_force(
    made: Lab, events: Events, version: str = EVERY_VERSION, truth: Sequence[str] | None = None
) -> str:
    """Compare with these events, and perhaps their true classes, from now on; return the profile's digest."""
    batch = made.decode("predictions", events).predictions[made.model.name]
    only = made.model.settings
    types = [FeatureType(feature.name, feature.type) for feature in only.features or ()]
    classes = tuple(sorted(set(truth or ())))
    profile = profile_from_batch(
        batch,
        types,
        None if truth is None else Coded(np.array([classes.index(name) for name in truth], np.int32), classes),
        task=only.task,
        bins=only.drift.bins,
        categories_max=50,
        segments=only.segments,
        segments_max=50,
    )
    async with made.connection.transaction():
        await put_profile_in_force(made.connection, made.model, version, profile)
    return profile.digest


@asynccontextmanager
async def migrated(url: str) -> AsyncIterator[Connection]:
    """Connect to a store with the current schema."""
    connection = await connect(url)
    try:
        await migrate(connection)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def beside(connection: Connection) -> AsyncIterator[Connection]:
    """Connect once more to the store of a connection."""
    other = await connect(make_conninfo(connection.info.dsn, password=connection.info.password))
    try:
        yield other
    finally:
        await other.close()


def json_bytes(event: Event) -> bytes:
    """Return an event as it is sent."""
    return json.dumps(event).encode()
