"""Is every statement valid, used and fed what it asks for, and do the store's own functions keep their word?"""

import ast
import asyncio
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from driftline.store import statements
from driftline.store.arrays import pg_array
from driftline.store.connection import Connection, connect, rows, run, the_row

PROJECT = Path(__file__).parents[3]
INCLUDED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
SOURCES = sorted(file for package in INCLUDED for file in PROJECT.glob(f"{package.rstrip('*')}/**/*.py"))

PARAMETER = re.compile(r"%\((\w+)\)s")
RUNNERS = {"rows", "row", "run", "the_row"}
SQL = re.compile(
    r"\s*(select\s|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|truncate\s|with\s+\w+\s+as\s*\(|copy\s+\S+.*\s(from|to)\s"
    r"|(create|drop|alter)\s+(or\s+replace\s+)?(table|schema|view|function|index|role|database|temporary)\s"
    r"|set\s+(local|session)\s|do\s+\$|lock\s+table)",
    re.IGNORECASE,
)
MAY_HOLD_SQL = {
    "driftline/store/migrate.py": "the ledger of migrations has to be there before the first of them",
}

# The columns that docs and dashboards rely on; other views may still change.
VIEWS = {
    "v_drift": "model version segment feature window_start window_end detector score threshold p_value n_reference "
    "n_current level revision reason",
    "v_performance": "model version segment window_start window_end basis metric value low high n_predictions "
    "n_labelled coverage revision reason corrected corrected_low corrected_high n_effective expected_coverage "
    "mature_at",
    "v_events": "event_id type model version segment episode_id occurred_at published_at payload",
    "v_alarms": "model version period_start period_end looks budget expected episodes",
    "v_episodes": "episode_id model version opened_at closed_at kind severity causes acknowledged_by",
    "v_retraining": "request_id episode_id model version state requested_at finished_at outcome lineage",
    "v_distribution": "model version segment feature window_start bin label reference_share current_share",
    "v_rollout": "model champion challenger metric estimate low high verdict next_share decided_at",
}
VIEWS_OF_ANY_SHAPE = {"v_traffic", "v_data_quality", "v_dead_letters", "v_workers"}


def code_texts(file: Path) -> Iterator[str]:
    """All texts in a file that are not docstrings."""
    tree = ast.parse(file.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def calls_of_statements() -> Iterator[tuple[str, str, set[str]]]:
    """Where, which statement and with which parameters; calls with computed ones are left out."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNNERS:
                _connection, name, *_ = node.args
                keywords = {keyword.arg for keyword in node.keywords}
                if isinstance(name, ast.Constant) and None not in keywords:
                    yield f"{file.relative_to(PROJECT)}:{node.lineno}", name.value, {word for word in keywords if word}


def numbered(statement: str) -> str:
    """Write a statement as the server prepares it: $1, $2, ... for its parameters."""
    names = list(dict.fromkeys(PARAMETER.findall(statement)))
    return PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", statement).replace("%%", "%")


async def test_every_statement_is_valid_against_the_migrated_schema(connection: Connection) -> None:
    refused = {}
    for name, statement in statements().items():
        try:
            await connection.execute(f"prepare checked as {numbered(statement)}".encode())
            await connection.execute("deallocate checked")
        except psycopg.Error as error:
            refused[name] = str(error)

    assert refused == {}


def test_every_statement_is_used() -> None:
    texts = {text for file in SOURCES for text in code_texts(file)}

    assert sorted(statements().keys() - texts) == []


def test_a_statement_gets_the_parameters_it_asks_for() -> None:
    calls = list(calls_of_statements())
    wrong = [
        (where, name, sorted(given), sorted(asked))
        for where, name, given in calls
        if (asked := set(PARAMETER.findall(statements().get(name, "")))) != given or name not in statements()
    ]

    assert len(calls) > 30
    assert wrong == []


def test_no_sql_stands_outside_the_sql_files() -> None:
    holding = {str(file.relative_to(PROJECT)) for file in SOURCES if any(SQL.match(text) for text in code_texts(file))}

    assert holding == MAY_HOLD_SQL.keys()


async def columns_of_views(connection: Connection) -> dict[str, str]:
    found = await connection.execute(
        "select c.relname, string_agg(a.attname, ' ' order by a.attnum) from pg_class c"
        "  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
        " where c.relnamespace = 'driftline'::regnamespace and c.relkind = 'v' group by 1"
    )
    return dict(await found.fetchall())


async def test_views_have_the_columns_that_are_promised(connection: Connection) -> None:
    views = await columns_of_views(connection)

    assert {name: views.get(name) for name in VIEWS} == VIEWS
    assert views.keys() >= VIEWS_OF_ANY_SHAPE


async def test_times_in_views_know_their_zone(connection: Connection) -> None:
    found = await connection.execute(
        "select table_name, column_name, data_type from information_schema.columns"
        " where table_schema = 'driftline' and (data_type like 'timestamp%' or data_type = 'date')"
    )

    assert {kind for _, _, kind in await found.fetchall()} == {"timestamp with time zone"}


async def test_columns_come_back_from_the_server_as_they_were_sent(connection: Connection) -> None:
    columns: dict[str, Any] = {
        "int2": np.array([-(2**15), 0, 2**15 - 1]),
        "int4": np.array([-(2**31), 0, 2**31 - 1]),
        "int8": np.array([-(2**63), 0, 2**63 - 1]),
        "float8": np.array([math.nan, -math.inf, -0.0, 5e-324]),
        "bool": np.array([True, False]),
        "timestamptz": np.array([-62_135_596_800_000, -1, 0, 946_684_800_000, 253_402_300_799_999]),
        "uuid": np.arange(64, dtype=np.uint8).reshape(4, 16),
    }
    for element, sent in columns.items():
        for part in (sent, sent[:0]):
            echo = await connection.execute(
                f"select %(column)s::{element}[]".encode(), {"column": pg_array(element, part)}, binary=True
            )
            (back,) = (await echo.fetchall())[0]
            assert back.shape == part.shape
            np.testing.assert_array_equal(back, part)


# Codes for names.


async def register(connection: Connection, name: str = "m", horizon_s: int = 60) -> Any:
    return await the_row(connection, "register_model", name=name, horizon_s=horizon_s, settings=Jsonb({}))


async def admit(connection: Connection, model_id: int, names: list[str], names_max: int = 4) -> dict[str, int]:
    found = await rows(connection, "admit_names", model_id=model_id, kind="version", names=names, names_max=names_max)
    return dict(found)


async def test_names_get_codes_in_the_order_they_come_and_keep_them(connection: Connection) -> None:
    model_id = (await register(connection)).model_id

    assert await admit(connection, model_id, ["b", "a", "b"]) == {"b": 0, "a": 1}
    assert await admit(connection, model_id, ["c", "a"]) == {"a": 1, "c": 2}
    assert await admit(connection, model_id, []) == {}


async def test_a_name_beyond_the_bound_gets_no_code(connection: Connection) -> None:
    model_id = (await register(connection)).model_id

    assert await admit(connection, model_id, ["a", "b", "c", "d", "e", "f"]) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert await admit(connection, model_id, ["g", "d"]) == {"d": 3}


async def test_models_and_kinds_count_apart(connection: Connection) -> None:
    one, other = (await register(connection, "one")).model_id, (await register(connection, "other")).model_id

    assert await admit(connection, one, ["x"]) == await admit(connection, other, ["x"]) == {"x": 0}
    codes = await rows(connection, "admit_names", model_id=one, kind="segment", names=["y"], names_max=4)
    assert dict(codes) == {"y": 0}


async def test_workers_that_admit_names_at_once_agree_and_stay_within_the_bound(
    connection: Connection, postgres_url: str
) -> None:
    model_id = (await register(connection)).model_id
    others = [await connect(postgres_url) for _ in range(6)]
    names = [f"v{number}" for number in range(12)]
    try:
        told = await asyncio.gather(
            *(admit(other, model_id, names[number:] + names[:number], 8) for number, other in enumerate(others))
        )
    finally:
        for other in others:
            await other.close()

    admitted = await admit(connection, model_id, names, 8)
    assert sorted(admitted.values()) == list(range(8))
    assert told == [admitted] * 6


async def test_a_model_remembers_every_horizon_it_had(connection: Connection) -> None:
    first = await register(connection, horizon_s=60)
    again = await register(connection, horizon_s=60)
    wider = await register(connection, horizon_s=90)

    assert first.model_id == again.model_id == wider.model_id
    assert [list(known.horizons_s) for known in (first, again, wider)] == [[60], [60], [60, 90]]


async def test_registering_a_model_again_and_again_uses_up_no_id(connection: Connection) -> None:
    # Ids are small numbers: every start of every worker registers every model.
    for _ in range(5):
        first = await register(connection, "first")

    assert (await register(connection, "second")).model_id == first.model_id + 1


async def test_workers_that_register_a_model_at_once_agree_on_it(postgres_url: str, connection: Connection) -> None:
    others = [await connect(postgres_url) for _ in range(4)]
    try:
        told = await asyncio.gather(*(register(other, horizon_s=60 + number) for number, other in enumerate(others)))
    finally:
        for other in others:
            await other.close()

    last = await register(connection)
    assert {model.model_id for model in told} == {last.model_id}
    assert sorted(last.horizons_s) == [60, 61, 62, 63]


# What views make of rows.


async def test_a_worker_lags_by_what_its_partitions_have_not_read(connection: Connection) -> None:
    for partition, (position, end) in enumerate([(10, 15), (7, 7), (0, 100)]):
        await run(connection, "register_partition", topic="t", partition=partition, topic_id="", next=position)
        await connection.execute(
            "update driftline.stream_offset set end_offset = %s where partition = %s", [end, partition]
        )
    await run(
        connection, "beat", worker_id="w", host="h", pid=1, state="running", partitions=Jsonb([["t", 0], ["t", 1]])
    )

    workers = await (await connection.execute("select worker_id, lag from driftline.v_workers")).fetchall()

    assert [tuple(worker) for worker in workers] == [("w", 5)]


async def verdict(connection: Connection, counts: list[int], references: Mapping[int, list[int]] | None = None) -> None:
    """Verdicts of PSI on feature `f`: of all traffic (-1) and of segments, with what the reference counted of each."""
    model = await register(connection)
    await admit(connection, model.model_id, ["v1"])
    names = await rows(
        connection, "admit_names", model_id=model.model_id, kind="segment", names=["s=1", "s=2"], names_max=2
    )
    segment_of = {-1: "*", **{item.code: item.name for item in names}}
    profile = await the_row(connection, "add_profile", digest="d", content="{}")
    for bin_, label in enumerate([f"bin {number}" for number in range(len(counts) - 2)] + ["missing", "other"]):
        await connection.execute(
            "insert into driftline.profile_bin values (%s, 'f', %s, %s)", [profile.profile_id, bin_, label]
        )
    for segment, of_bins in (references or {-1: [25, 25, 25, 25]}).items():
        if any(of_bins):  # a profile holds the segments that the reference has rows of
            await connection.execute(
                "insert into driftline.profile_count values (%s, %s, 'f', %s)",
                [profile.profile_id, segment_of[segment], of_bins],
            )
        await connection.execute(
            "insert into driftline.verdict (model_id, version, segment, feature, detector, window_start, window_end,"
            " score, threshold, n_reference, n_current, level, profile_id, counts)"
            " values (%s, 0, %s, 'f', 'psi', 'epoch', 'epoch', 0, 0, %s, %s, 'ok', %s, %s)",
            [model.model_id, segment, sum(of_bins), sum(counts), profile.profile_id, counts],
        )


async def test_shares_of_a_distribution_add_up_to_one_on_both_sides(connection: Connection) -> None:
    await verdict(connection, [5, 0, 3, 2])

    found = await connection.execute(
        "select label, reference_share, current_share from driftline.v_distribution order by bin"
    )

    assert [tuple(bin_) for bin_ in await found.fetchall()] == [
        ("bin 0", 0.25, 0.5),
        ("bin 1", 0.25, 0.0),
        ("missing", 0.25, 0.3),
        ("other", 0.25, 0.2),
    ]


async def test_a_segments_shares_are_those_of_its_own_rows_of_the_reference(connection: Connection) -> None:
    await verdict(connection, [5, 0, 3, 2], {-1: [5, 1, 1, 1], 0: [4, 0, 0, 0], 1: [0, 0, 0, 0]})

    found = await connection.execute(
        "select segment, array_agg(reference_share order by bin), sum(current_share) from driftline.v_distribution"
        " group by segment order by segment"
    )

    assert [tuple(of) for of in await found.fetchall()] == [
        ("*", [0.625, 0.125, 0.125, 0.125], 1.0),
        ("s=1", [1.0, 0.0, 0.0, 0.0], 1.0),
        ("s=2", [None] * 4, 1.0),
    ]


async def test_data_quality_is_the_share_of_missing_and_of_unusable_values(connection: Connection) -> None:
    await verdict(connection, [5, 0, 3, 2])

    found = await connection.execute("select segment, n, missing_share, other_share from driftline.v_data_quality")

    assert tuple((await found.fetchall())[0]) == ("*", 10, 0.3, 0.2)


async def test_traffic_counts_predictions_and_labels_of_each_slide(connection: Connection) -> None:
    model = await the_row(
        connection,
        "register_model",
        name="m",
        horizon_s=60,
        settings=Jsonb({"windows": {"length_ms": 1000, "slide_ms": 500}}),
    )
    await admit(connection, model.model_id, ["v1"])
    for kind, slide_s, n in [("features", 0, 7), ("arrival", 0, 3), ("cohort", 0, 2), ("arrival", 60, 4)]:
        await connection.execute(
            "insert into driftline.rollup values (%s, %s, to_timestamp(%s), 0, -1, 1, %s, '')",
            [model.model_id, kind, slide_s, n],
        )

    found = await connection.execute(
        "select segment, extract(epoch from window_end - window_start)::float8, n_predictions, n_labelled"
        " from driftline.v_traffic order by window_start"
    )

    assert [tuple(slide) for slide in await found.fetchall()] == [("*", 0.5, 7, 3), ("*", 0.5, 0, 4)]
