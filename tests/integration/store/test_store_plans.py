"""Do queries that many wait for read through indexes, and only the partitions they need? Judged by plans, not times."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from benchmarks.store.month import START, Month, fill
from benchmarks.store.tidying import time_tidying
from benchmarks.store.views import asked
from driftline.store import sql
from driftline.store.connection import Connection, connect, run
from tests.support.postgres import fresh_database

pytestmark = pytest.mark.postgres

MONTH = Month(models=4, features=6, days=20, predictions_a_day=600)
OF_ONE_MODEL = ["drift_over_time", "nearest_to_drift", "features", "versions", "segments", "missing_and_other"]
OF_ONE_MODEL += ["performance_of_cohorts", "performance_by_arrival", "coverage", "latest_metrics", "metrics", "traffic"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def month(postgres_server_url: str) -> AsyncIterator[Connection]:
    with fresh_database(postgres_server_url) as url:
        connection = await connect(url)
        await fill(connection, url, MONTH)
        yield connection
        await connection.close()


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def plan_of(connection: Connection, statement: str, **parameters: object) -> list[Mapping[str, Any]]:
    found = await connection.execute(f"explain (analyze, format json) {statement}".encode(), parameters)
    ((explained,),) = await found.fetchall()
    [top] = explained if isinstance(explained, list) else json.loads(explained)
    return list(nodes(top["Plan"]))


async def n_results(connection: Connection) -> int:
    """How many verdicts and metrics there are."""
    found = await connection.execute(
        "select (select count(*) from driftline.verdict) + (select count(*) from driftline.performance)"
    )
    [(n,)] = await found.fetchall()
    return int(n)


def scanned(plan: list[Mapping[str, Any]], table: str) -> list[Mapping[str, Any]]:
    """Who reads a table, or its partitions, and was run."""
    return [of for of in plan if str(of.get("Relation Name", "")).startswith(table) and of["Actual Loops"]]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", OF_ONE_MODEL)
async def test_a_panel_on_one_model_reads_results_through_an_index(month: Connection, name: str) -> None:
    end = START + timedelta(days=MONTH.days)
    [query] = [of for of in asked(end) if (of.name, of.models, of.range) == (name, "one", "24 h")]

    plan = await plan_of(month, query.sql.replace("%", "%%"))

    read = [of for table in ("verdict", "performance", "rollup") for of in scanned(plan, table)]
    assert read
    assert {of["Node Type"] for of in read} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    # One of 20 days, of one of four models, of one of four segments, is a third of a percent; ten series are looked up.
    n_rows = sum((of["Actual Rows"] + of.get("Rows Removed by Filter", 0)) * of["Actual Loops"] for of in read)
    assert n_rows < 0.05 * await n_results(month)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["drift_over_time", "features", "versions", "missing_and_other"])
async def test_a_panel_on_scores_needs_no_table_but_the_index(month: Connection, name: str) -> None:
    end = START + timedelta(days=MONTH.days)
    [query] = [of for of in asked(end) if (of.name, of.models, of.range) == (name, "all", "30 d")]

    async with month.transaction(force_rollback=True):
        await month.execute("set local enable_seqscan = off")  # so small a table is read whole for less
        plan = await plan_of(month, query.sql.replace("%", "%%"))

    assert {of["Node Type"] for of in scanned(plan, "verdict")} == {"Index Only Scan"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_prediction_is_looked_for_in_the_partitions_of_its_horizon_by_its_key(month: Connection) -> None:
    found = await month.execute("select key from driftline.prediction limit 3")
    keys = [key for (key,) in await found.fetchall()]

    async with month.transaction():
        await run(month, "begin_fetch", idle_ms="0", lock_ms="0", whole_ms="0")
        plan = await plan_of(month, sql("predictions_of_keys"), key=keys, horizons_s=[30 * 86_400])

    read = scanned(plan, "prediction")
    assert {of["Node Type"] for of in read} == {"Index Scan"}
    assert len({of["Relation Name"] for of in read}) <= 3


@pytest.mark.asyncio(loop_scope="module")
async def test_the_last_rollup_is_found_without_reading_the_others(month: Connection) -> None:
    plan = await plan_of(month, sql("latest_rollup"), model_id=2, before=START + timedelta(days=10))

    read = scanned(plan, "rollup")
    assert read
    assert sum(of["Actual Rows"] * of["Actual Loops"] for of in read) <= 3


@pytest.mark.asyncio(loop_scope="module")
async def test_counting_predictions_of_a_window_reads_no_vector(month: Connection) -> None:
    plan = await plan_of(
        month, sql("count_predictions"), model_id=2, **{"from": START, "to": START + timedelta(hours=1)}
    )

    assert {of["Node Type"] for of in scanned(plan, "rollup")} == {"Index Only Scan"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_run_of_retention_is_timed_on_a_day_of_results_and_undone(month: Connection) -> None:
    found = await month.execute(
        "select count(*) from driftline.verdict where window_end < %s", [START + timedelta(days=1)]
    )
    [(n_verdicts,)] = await found.fetchall()
    before = await n_results(month)

    tidied = await time_tidying(month, MONTH)

    assert tidied.n_expired >= n_verdicts > 0
    assert min(tidied.rollups_ms, tidied.partitions_ms, tidied.expired_ms) > 0
    assert await n_results(month) == before
