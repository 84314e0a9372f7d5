"""Do the steps add up to the schema, once, in order, for everybody at the same time, and never halfway?"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from driftline.errors import StateError
from driftline.store import migrate as module
from driftline.store.connection import Connection
from driftline.store.migrate import Migration, migrate, migrations, require_current_schema, schema_version
from driftline.wiring.references import connected

NEWEST = migrations()[-1].version

PARTITIONED = ("prediction", "label", "served_features")

# What a schema consists of, as the server tells it: one line each for columns, constraints, indexes, views, functions.
CATALOGUE = """
select format('%s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
              pg_get_expr(d.adbin, d.adrelid))
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relnamespace = 'driftline'::regnamespace
union all
select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint
 where connamespace = 'driftline'::regnamespace
union all
select indexdef from pg_indexes where schemaname = 'driftline'
union all
select format('%s %s', viewname, definition) from pg_views where schemaname = 'driftline'
union all
select format('%s %s', pg_get_functiondef(oid), proacl) from pg_proc where pronamespace = 'driftline'::regnamespace
"""


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[Connection]:
    async with connected(postgres_url) as connection:
        yield connection


@pytest.fixture
def limited_role(postgres_url: str) -> Iterator[str]:
    """The URL of the same database for a role that was granted nothing."""
    name = f"limited_{re.sub('[^a-z0-9]', '', postgres_url.rpartition('_')[2])}"
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(sql.SQL("create role {} login password 'limited'").format(sql.Identifier(name)))
        yield re.sub(r"//[^@]*@", f"//{name}:limited@", postgres_url)
        owner.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(name)))
        owner.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


async def catalogue(connection: Connection) -> list[str]:
    return sorted(line for (line,) in await (await connection.execute(CATALOGUE.encode())).fetchall())


def add_step(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    steps = (*migrations(), Migration(NEWEST + 1, "added_by_a_test", text))
    monkeypatch.setattr(module, "migrations", lambda: steps)


def test_steps_are_numbered_from_one_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, NEWEST + 1))


async def test_an_empty_database_has_version_0(connection: Connection) -> None:
    assert await schema_version(connection) == 0


async def test_all_steps_are_applied_to_an_empty_database(connection: Connection) -> None:
    assert await migrate(connection) == list(migrations())

    assert await schema_version(connection) == NEWEST
    await require_current_schema(connection)


async def test_the_steps_one_by_one_add_up_to_the_schema(
    connection: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in range(1, NEWEST + 1):
        monkeypatch.setattr(module, "migrations", lambda count=count: migrations()[:count])
        assert [step.version for step in await migrate(connection)] == [count]
    monkeypatch.undo()
    step_by_step = await catalogue(connection)

    await connection.execute("drop schema driftline cascade")
    await migrate(connection)

    assert await catalogue(connection) == step_by_step
    assert len(step_by_step) > 100


async def test_a_second_time_changes_nothing(connection: Connection) -> None:
    await migrate(connection)
    before = await catalogue(connection)

    assert await migrate(connection) == []

    assert await catalogue(connection) == before


async def test_several_at_once_wait_for_one_another(postgres_url: str) -> None:
    async def migrate_alone() -> list[Migration]:
        async with connected(postgres_url) as connection:
            return await migrate(connection)

    applied = await asyncio.gather(*(migrate_alone() for _ in range(4)))

    assert sorted(applied, key=len) == [[], [], [], list(migrations())]


async def test_what_is_stored_survives_a_later_step(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate(connection)
    await connection.execute("insert into driftline.model (name, settings) values ('m', '{}')")
    add_step(monkeypatch, "alter table driftline.model add column later integer default 7")

    assert [step.name for step in await migrate(connection)] == ["added_by_a_test"]

    found = await connection.execute("select name, later from driftline.model")
    assert [tuple(model) for model in await found.fetchall()] == [("m", 7)]


async def test_partitions_are_vacuumed_soon_those_that_were_there_and_those_to_come(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "migrations", lambda: migrations()[:5])
    await migrate(connection)
    ensure = "select driftline.ensure_partitions(%s, 86400, {0}, {0})"
    for parent in PARTITIONED:
        await connection.execute(ensure.format("timestamptz 'epoch'").encode(), [parent])
    before = await options_of_partitions(connection)
    monkeypatch.undo()

    await migrate(connection)

    for parent in PARTITIONED:
        await connection.execute(ensure.format("timestamptz '2024-01-01 00:00:00+00'").encode(), [parent])
    after = await options_of_partitions(connection)
    assert set(before.values()) == {None}
    assert len(after) == 2 * len(before) == 6
    assert {frozenset(options or []) for options in after.values()} == {
        frozenset({"autovacuum_vacuum_insert_scale_factor=0", "autovacuum_vacuum_insert_threshold=50000"})
    }
    assert set(before) < set(after)  # with the same files: nothing was rewritten


async def options_of_partitions(connection: Connection) -> dict[tuple[str, int], list[str] | None]:
    """How each time partition is stored, by its name and the number of its file."""
    found = await connection.execute(
        "select c.relname, pg_relation_filenode(c.oid), c.reloptions from pg_class c"
        " where c.relnamespace = 'driftline'::regnamespace and c.relkind = 'r' and c.relispartition"
    )
    return {(name, file): options for name, file, options in await found.fetchall()}


async def test_a_step_that_fails_leaves_nothing_behind(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate(connection)
    before = await catalogue(connection)
    add_step(monkeypatch, "create table driftline.half (n integer); select 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await migrate(connection)

    assert await catalogue(connection) == before
    assert await schema_version(connection) == NEWEST


async def test_an_older_schema_is_refused_until_it_is_migrated(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StateError, match="there is no schema yet; run `driftline migrate`"):
        await require_current_schema(connection)
    await migrate(connection)
    add_step(monkeypatch, "select 1")
    with pytest.raises(StateError, match=f"is version {NEWEST}, this program needs {NEWEST + 1}"):
        await require_current_schema(connection)


async def test_a_newer_schema_is_refused_and_left_alone(connection: Connection) -> None:
    await migrate(connection)
    await connection.execute("insert into driftline.migration (version, name) values (999, 'of_the_future')")
    before = await catalogue(connection)

    for needs_it in (migrate, require_current_schema):
        with pytest.raises(StateError, match="is version 999, newer than this program's") as caught:
            await needs_it(connection)
        assert "upgrade driftline" in str(caught.value)

    assert await catalogue(connection) == before


async def test_a_role_that_may_not_create_is_told_what_to_grant(limited_role: str) -> None:
    async with connected(limited_role) as connection:
        with pytest.raises(StateError) as caught:
            await migrate(connection)

    database, role = limited_role.rpartition("/")[2], limited_role.split("//")[1].split(":")[0]
    assert f"{role} may not migrate: permission denied" in str(caught.value)
    assert f"grant create on database {database} to {role}" in str(caught.value)


async def test_a_schema_made_beforehand_is_enough_for_a_role_that_may_not_make_one(
    connection: Connection, limited_role: str
) -> None:
    role = limited_role.split("//")[1].split(":")[0]
    await connection.execute(f"create schema driftline authorization {role}".encode())

    async with connected(limited_role) as limited:
        assert await migrate(limited) == list(migrations())


def test_every_step_is_packaged() -> None:
    folder = Path(module.__file__).parent / "migrations"

    assert [f"{step.version:04}_{step.name}.sql" for step in migrations()] == sorted(f.name for f in folder.iterdir())
