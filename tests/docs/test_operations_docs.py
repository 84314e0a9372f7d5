"""Is what docs/operations.md tells to do enough, and is what it says of commands, exit codes and checks so?"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from driftline.cli import COMMANDS
from driftline.errors import ConfigurationError, DriftlineError, InputError, ServiceUnavailableError, StateError
from driftline.store.arrays import pg_array
from driftline.store.connection import Connection, connect, run, the_row
from driftline.store.migrate import migrate

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
SQL_BLOCKS = re.findall(r"^```sql\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
ROLES = ("migrator", "writer", "reader")


def table(heading: str) -> dict[str, str]:
    """The first two columns of the first table that begins with this heading."""
    body = re.search(rf"^\| {heading} \|.*?\n\|[-|]+\n(.*?)(?:\n\n|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert body is not None, heading
    rows = [line.strip("|").split("|") for line in body[1].splitlines()]
    return {cells[0].strip(): cells[1].strip() for cells in rows}


def test_every_command_that_exists_is_described_and_no_other() -> None:
    there = {
        name for name in COMMANDS if (PROJECT / "driftline" / "commands" / f"{name.replace('-', '_')}.py").exists()
    }

    described = {name.strip("`").removeprefix("driftline ") for name in table("command")}

    assert described - there == set()
    assert there - described <= {"demo", "reference"}  # not for operation


def test_the_exit_codes_are_those_of_the_errors() -> None:
    errors: list[type[DriftlineError]] = [ConfigurationError, InputError, StateError, ServiceUnavailableError]

    assert table("exit code").keys() == {"0", "130"} | {str(error.exit_code) for error in errors}


def test_every_subject_that_the_doctor_speaks_of_is_described() -> None:
    sources = "".join(file.read_text() for file in (PROJECT / "driftline" / "doctor").glob("*.py"))
    spoken_of = set(re.findall(r'\b(?:ok|warn|fail)\(\s*"([a-z ]+)"', sources))

    described = {name.strip(" `") for names in table("subject") for name in names.split(",")}

    assert described == spoken_of
    assert len(spoken_of) > 10


@pytest.fixture
async def house(postgres_url: str) -> AsyncIterator[dict[str, str]]:
    """The URLs of the three roles, after all that is to be done for them was done as it is written."""
    own = "_" + postgres_url.rpartition("_")[2]

    def as_written(block: str) -> bytes:
        return re.sub(rf"driftline_({'|'.join(ROLES)})", rf"driftline_\1{own}", block).encode()

    create, grant, *others = SQL_BLOCKS
    urls = {role: re.sub(r"//[^@]*@", f"//driftline_{role}{own}:secret@", postgres_url) for role in ROLES}
    with psycopg.connect(postgres_url, autocommit=True) as administrator:
        try:
            administrator.execute(as_written(create))
            for role in ROLES:
                administrator.execute(f"alter role driftline_{role}{own} password 'secret'".encode())
            owner = await connect(urls["migrator"])
            await migrate(owner)
            await owner.execute(as_written(grant))
            for block in others:
                await owner.execute(as_written(block))
            await owner.close()
            yield urls
        finally:
            for role in reversed(ROLES):
                administrator.execute(f"drop owned by driftline_{role}{own} cascade".encode())
                administrator.execute(f"drop role driftline_{role}{own}".encode())


async def test_the_rights_of_a_worker_are_enough_for_its_work(house: dict[str, str]) -> None:
    connection = await connect(house["writer"])
    try:
        assert (await the_row(connection, "missing_rights")).words == []
        await work(connection)
    finally:
        await connection.close()


async def work(connection: Connection) -> None:
    """Do what needs most rights: make room, store, count, forget."""
    at = datetime(2024, 1, 1, tzinfo=UTC)
    model = await the_row(connection, "register_model", name="m", horizon_s=60, settings=Jsonb({}))
    named: dict[str, Any] = {"model_id": model.model_id, "kind": "version", "names": ["v"], "names_max": 9}
    await the_row(connection, "admit_names", **named)
    for parent in ("prediction", "label", "served_features"):
        await the_row(connection, "ensure_partitions", parent=parent, horizon_s=60, first=at, last=at)
    stored = await run(
        connection,
        "add_labels",
        horizon_s=60,
        model_id=model.model_id,
        key=pg_array("uuid", [[0] * 16]),
        event_time=pg_array("timestamptz", [1_704_067_200_000]),
        label=pg_array("float8", [1.0]),
        reward=pg_array("float8", [0.0]),
        late=pg_array("bool", [False]),
        prediction_time=pg_array("timestamptz", [1_704_067_100_000]),
    )
    assert stored == 1
    await run(connection, "beat", worker_id="w", host="h", pid=1, state="running", partitions=Jsonb([]))
    await run(connection, "forget_workers")
    dropped = await the_row(
        connection, "drop_partitions", parent="label", horizon_s=60, before=datetime(2030, 1, 1, tzinfo=UTC)
    )
    assert dropped[0] > 0


async def test_a_reader_sees_the_views_and_nothing_else(house: dict[str, str]) -> None:
    connection = await connect(house["reader"])
    try:
        found = await connection.execute(
            "select relname from pg_class where relnamespace = 'driftline'::regnamespace and relkind = 'v'"
        )
        views = {name for (name,) in await found.fetchall()}
        for view in views - {"v_dead_letters"}:
            await connection.execute(f"select * from driftline.{view}".encode())
        for refused in (
            "select * from driftline.v_dead_letters",
            "select * from driftline.prediction",
            "select id_key from driftline.installation",
            "select driftline.drop_partitions('label', 60, now())",
            "delete from driftline.v_counts",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(refused.encode())
    finally:
        await connection.close()


def test_links_lead_somewhere() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", TEXT)

    assert [link for link in linked if not (PROJECT / "docs" / link).exists()] == []
