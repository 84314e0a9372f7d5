"""How long do dashboards and people wait for the store, and which plans answer them?

Every query of the Grafana dashboard, with a model chosen and with all of them, over ranges of hours to a month, and the
plain `select` of each view that a person writes. Times are of the whole query as a client waits for it, after one run
that warms up; `explain` says which index, which partitions.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboards.grafana import panel_statements
from driftline.store.connection import Connection
from tests.support.grafana import Raw, Sight, Value

RANGES = {"6 h": timedelta(hours=6), "24 h": timedelta(hours=24), "7 d": timedelta(days=7), "30 d": timedelta(days=30)}
POINTS_A_PANEL = 300
"""Grafana chooses its interval so that a panel gets about so many points."""
INTERVAL_S_MIN = 60

ONE: Mapping[str, Value] = {"model": "model-003", "version": "v1"}
ALL: Mapping[str, Value] = {"model": Raw("'*'"), "version": Raw("'*'")}
REST = {"segment": "*", "feature": "f003", "metric": "recall"}

# What a person writes: each view, from a time on.
BY_HAND = {
    "v_drift": "window_start",
    "v_performance": "window_start",
    "v_distribution": "window_start",
    "v_data_quality": "window_start",
    "v_traffic": "window_start",
    "v_events": "occurred_at",
    "v_episodes": "opened_at",
    "v_retraining": "requested_at",
    "v_deliveries": "created_at",
    "v_dead_letters": "at",
    "v_estimate_error": "window_start",
    "v_alarms": "period_end",
    "v_rollout": "decided_at",
}
WITHOUT_TIME = ("v_counts", "v_workers", "v_segments")


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as Postgres gets it: what it is called, of how many models, over which range."""

    name: str
    models: str
    range: str
    sql: str


def asked(end: datetime) -> Iterator[Asked]:
    """Name every query, in every range that ends at a time."""
    for span, length in RANGES.items():
        for models, of in (("one", ONE), ("all", ALL)):
            interval_s = max(INTERVAL_S_MIN, round(length.total_seconds() / POINTS_A_PANEL))
            sight = Sight(end - length, end, {**REST, **of}, interval_s)
            for name, statement in panel_statements().items():
                yield Asked(name, models, span, sight.expand(statement))
        for view, column in BY_HAND.items():
            since = (end - length).isoformat()
            chosen = f"model = '{ONE['model']}' and {column} >= '{since}'"
            yield Asked(view, "one", span, f"select * from driftline.{view} where {chosen}")
    for view in WITHOUT_TIME:
        yield Asked(view, "all", "", f"select * from driftline.{view}")


@dataclass(frozen=True, slots=True)
class Timed:
    """How long a query takes: the median, and how many rows it gives."""

    query: Asked
    ms: float
    n_rows: int


async def time_query(connection: Connection, query: Asked, runs: int = 3) -> Timed:
    """Run a query, once to warm up and then a few times."""
    times, n_rows = [], 0
    for _ in range(runs + 1):
        started = time.perf_counter()
        n_rows = len(await (await connection.execute(query.sql.encode(), binary=True)).fetchall())
        times.append((time.perf_counter() - started) * 1000)
    return Timed(query, statistics.median(times[1:]), n_rows)


SIZES = """
select coalesce(root.relname, c.relname)::text as name, sum(greatest(c.reltuples, 0))::bigint as n,
       sum(pg_table_size(c.oid))::bigint as table_bytes, sum(pg_indexes_size(c.oid))::bigint as index_bytes
  from pg_class c
  left join pg_class root on root.oid = pg_partition_root(c.oid)
 where c.relnamespace = 'driftline'::regnamespace and c.relkind = 'r'
 group by 1
 order by sum(pg_total_relation_size(c.oid)) desc
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much room a table takes, its partitions together."""

    name: str
    n: int
    table_bytes: int
    index_bytes: int

    @property
    def bytes_a_row(self) -> float:
        """With indexes."""
        return (self.table_bytes + self.index_bytes) / max(self.n, 1)


async def sizes(connection: Connection) -> list[Size]:
    """Return the size of every table, the largest first; the store has just been analysed."""
    found = await connection.execute(SIZES.encode(), binary=True)
    return [Size(of.name, of.n, of.table_bytes, of.index_bytes) for of in await found.fetchall()]
