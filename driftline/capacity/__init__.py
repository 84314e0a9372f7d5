"""How much of everything does a workload need? Arithmetic on what was measured, and on nothing else.

Every constant stands in `measured.json`, with the day, the machine and the command that found it. What the arithmetic
assumes beyond that is named here, once each: `SPARE`, `PARTITIONS_A_WORKER`, `PARTITIONS_ALIVE` and the defaults of
`Workload`. Pure but for reading that file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

DAY_S = 86_400
SPARE = 0.3
"""Share of a core that stays free, for catching up and for what else the machine does."""

PARTITIONS_A_WORKER = 4
"""So that work can be parted again when workers come and go."""

PARTITIONS_ALIVE = 1.5
"""Time partitions are half a horizon wide and dropped whole, so up to half a horizon more is there."""

WORKERS_MIN = 2
"""One may die."""

METRICS = 5
BASES = 3
"""Live metrics of a window: by cohort, by arrival, and estimated before there are labels."""
DETECTORS = 2
WATCHED_BESIDE_FEATURES = 2
"""The prediction and the score are watched like features."""
ROLLUP_KINDS_WITH_LABELS = 3


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked for.

    Parameters
    ----------
    events_per_s
        Predictions of all models together.
    features, segments
        Of each model; all traffic comes on top of the segments.
    labels_share
        Share of predictions that get a label; 0 for models without labels, of which nothing is stored.
    bytes_per_event, bytes_per_label
        As they lie in Kafka, before its own compression and replication.
    horizon_days
        How long predictions wait for labels.
    retention_days, performance_days
        How long verdicts and metrics are kept.
    kafka_days
        How long Kafka keeps events.
    postgres_cores_max, postgres_bytes_max
        Of the largest server there may be.
    """

    events_per_s: float
    features: int
    segments: int
    labels_share: float
    horizon_days: float
    models: int = 1
    bytes_per_event: int = 460
    bytes_per_label: int = 120
    window_s: float = 3600
    retention_days: float = 180
    performance_days: float = 400
    kafka_days: float = 7
    postgres_cores_max: float = 16
    postgres_bytes_max: float = 4e12

    @property
    def groups(self) -> int:
        """Of how many models and segments there are results, all traffic included."""
        return self.models * (self.segments + 1)

    @property
    def series(self) -> int:
        """How many features of groups are watched, the prediction and the score included."""
        return self.groups * (self.features + WATCHED_BESIDE_FEATURES)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the benchmarks found.

    Parameters
    ----------
    worker_core_us, postgres_core_us, broker_core_us
        CPU time of each part for one prediction: by `drift` only, and with `labels`, every prediction stored.
    label_share, features
        With which these were measured.
    worker_mib
        Peak memory of a worker.
    closing_us
        CPU time of `worker` and `postgres` for closing a window: for each `model`, and for each `series`, a feature,
        the prediction or the score of a segment or of all traffic.
    fetch_of_models
        CPU time of `worker_us` and `postgres_us` for each model beyond the first in a fetch of so many `events`.
    bytes_a_row
        By table, with indexes; a rollup's with `features` features.
    """

    on: str
    machine: str
    commands: tuple[str, ...]
    worker_core_us: Mapping[str, float]
    postgres_core_us: Mapping[str, float]
    broker_core_us: Mapping[str, float]
    label_share: float
    features: int
    worker_mib: float
    closing_us: Mapping[str, Mapping[str, float]]
    fetch_of_models: Mapping[str, float]
    bytes_a_row: Mapping[str, float]


@cache
def measured() -> Measured:
    """Return the committed result."""
    content = json.loads(resources.files(__package__).joinpath("measured.json").read_text("utf-8"))
    return Measured(**{**content, "commands": tuple(content["commands"])})


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one kind: how many come a day, how many there are in the end, and how much room those take."""

    a_day: float
    kept: float
    bytes_a_day: float
    bytes_kept: float


@dataclass(frozen=True, slots=True)
class Need:
    """What a workload needs.

    Parameters
    ----------
    partitions
        Of the topic of predictions, and as many of that of labels.
    kafka_bytes_kept
        Of one replica.
    postgres_working_bytes
        Of the rows that events look for by key; what should fit into the memory of the database's machine.
    one_postgres
        Whether one is enough.
    events_per_s_of_one_postgres
        How many predictions a second of this kind `postgres_cores_max` and `postgres_bytes_max` can take, if work is
        parted evenly among cores, which was measured with two.
    """

    worker_cores: float
    workers: int
    worker_memory_mib: float
    broker_cores: float
    partitions: int
    kafka_bytes_a_day: float
    kafka_bytes_kept: float
    postgres_cores: float
    postgres_bytes_a_day: float
    postgres_bytes_kept: float
    postgres_working_bytes: float
    rows: Mapping[str, Rows]
    one_postgres: bool
    events_per_s_of_one_postgres: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def needs(of: Workload, found: Measured) -> Need:
    """Return what a workload needs.

    CPU time grows with the features beyond those that were measured, with the rows that are stored: a prediction and
    the share of its label, with the models in a fetch, and with what closes at each slide.

    Examples
    --------
    >>> workload = Workload(10_000, features=20, segments=3, labels_share=0.2, horizon_days=30)
    >>> need = needs(workload, measured())
    >>> need.workers >= WORKERS_MIN, need.partitions >= need.workers
    (True, True)
    """
    kind = "labels" if of.labels_share else "drift"
    features = max(1.0, of.features / found.features)
    stored = (1 + of.labels_share) / (1 + found.label_share) if of.labels_share else 1.0
    worker_core_us = found.worker_core_us[kind] * features + _of_models(of, found, "worker_us")
    postgres_core_us = found.postgres_core_us[kind] * stored + _of_models(of, found, "postgres_us")
    worker_closing, postgres_closing = (_closing_cores(of, found, part) for part in ("worker", "postgres"))
    worker_cores = (of.events_per_s * worker_core_us / 1e6 + worker_closing) / (1 - SPARE)
    workers = max(WORKERS_MIN, math.ceil(worker_cores))
    rows = _rows(of, found)
    postgres_cores = (of.events_per_s * postgres_core_us / 1e6 + postgres_closing) / (1 - SPARE)
    kafka_bytes_a_day = of.events_per_s * DAY_S * (of.bytes_per_event + of.labels_share * of.bytes_per_label)
    bytes_kept = sum(of_kind.bytes_kept for of_kind in rows.values())
    by_cores = max(0.0, of.postgres_cores_max * (1 - SPARE) - postgres_closing) * 1e6 / postgres_core_us
    bytes_an_event = (rows["prediction"].bytes_kept + rows["label"].bytes_kept) / of.events_per_s
    room = max(0.0, of.postgres_bytes_max - bytes_kept + bytes_an_event * of.events_per_s)
    by_bytes = room / bytes_an_event if bytes_an_event else math.inf
    return Need(
        worker_cores=worker_cores,
        workers=workers,
        worker_memory_mib=workers * found.worker_mib,
        broker_cores=of.events_per_s * found.broker_core_us[kind] / 1e6 / (1 - SPARE),
        partitions=workers * PARTITIONS_A_WORKER,
        kafka_bytes_a_day=kafka_bytes_a_day,
        kafka_bytes_kept=kafka_bytes_a_day * of.kafka_days,
        postgres_cores=postgres_cores,
        postgres_bytes_a_day=sum(of_kind.bytes_a_day for of_kind in rows.values()),
        postgres_bytes_kept=bytes_kept,
        postgres_working_bytes=rows["prediction"].bytes_kept + rows["label"].bytes_kept,
        rows=rows,
        one_postgres=postgres_cores <= of.postgres_cores_max and bytes_kept <= of.postgres_bytes_max,
        events_per_s_of_one_postgres=min(by_cores, by_bytes),
    )


def _of_models(of: Workload, found: Measured, part: str) -> float:
    """Return what an event costs more because its fetch holds several models, a model an event at most."""
    events = found.fetch_of_models["events"]
    return found.fetch_of_models[part] * min(of.models - 1, events) / events


def _closing_cores(of: Workload, found: Measured, part: str) -> float:
    us = found.closing_us[part]
    return (of.models * us["model"] + of.series * us["series"]) / 1e6 / of.window_s


def _rows(of: Workload, found: Measured) -> dict[str, Rows]:
    has_labels = of.labels_share > 0
    windows_a_day = DAY_S / of.window_s
    predictions = of.events_per_s * DAY_S if has_labels else 0.0
    groups_a_day = of.groups * windows_a_day
    kinds = ROLLUP_KINDS_WITH_LABELS if has_labels else 1
    alive_days = of.horizon_days * PARTITIONS_ALIVE
    rollup_bytes = found.bytes_a_row["rollup"] * max(1.0, of.features / found.features)
    metrics = groups_a_day * METRICS * BASES if has_labels else 0.0

    def kept(a_day: float, days: float, bytes_a_row: float) -> Rows:
        return Rows(a_day, a_day * days, a_day * bytes_a_row, a_day * days * bytes_a_row)

    return {
        "prediction": kept(predictions, alive_days, found.bytes_a_row["prediction"]),
        "label": kept(predictions * of.labels_share, alive_days, found.bytes_a_row["label"]),
        "rollup": kept(groups_a_day * kinds, of.horizon_days, rollup_bytes),
        "verdict": kept(
            of.series * windows_a_day * DETECTORS,
            of.retention_days,
            found.bytes_a_row["verdict"],
        ),
        "performance": kept(metrics, of.performance_days, found.bytes_a_row["performance"]),
    }
