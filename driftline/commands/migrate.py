"""`driftline migrate`: is the database ready for this program, and what must be added to it?"""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import click
import psycopg

from driftline.errors import ConfigurationError, ServiceUnavailableError, StateError
from driftline.settings import load_settings
from driftline.store.connection import connect, place_of
from driftline.store.migrate import Migration, migrate, schema_version
from driftline.store.roles import PREFIX, TASKS, Role, Task, ensure_roles, role_names

SERVER_VERSION_MIN = 14


@click.command("migrate")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option(
    "--roles", is_flag=True, help="Also make the roles for migrating, writing and reading, with their rights."
)
@click.option("--roles-prefix", default=PREFIX, show_default=True, help="What their names begin with.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(config: Path, roles: bool, roles_prefix: str, as_json: bool) -> None:
    """Bring the database to this program's schema, or say that it is there already.

    Makes the schema `driftline` in the database of `postgres.url`, or adds what a newer program needs; nothing is ever
    dropped, and several at once wait for one another. The role must be allowed to create schemas in the database;
    workers can then do with less (see docs/operations.md).

    With --roles it makes the roles PREFIX_migrator, PREFIX_writer and PREFIX_reader, hands the schema over to the
    first, and grants the others exactly what they need, now and each time. A role may log in once it has a password:
    from the environment as DRIFTLINE_MIGRATOR_PASSWORD, DRIFTLINE_WRITER_PASSWORD and DRIFTLINE_READER_PASSWORD, or
    from the files that the same names with _FILE name.
    """
    settings = load_settings(config, os.environ)
    if settings.postgres is None:
        raise ConfigurationError(
            "has no postgres section", where=str(config), remedy="add `postgres: {url: postgresql://…}`"
        )
    url = settings.postgres.url.get_secret_value()
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,50}", roles_prefix):
        remedy = "use small letters, digits and _, at most 50"
        raise ConfigurationError(f"{roles_prefix!r} can't begin a name", where="--roles-prefix", remedy=remedy)
    wanted = _Roles(role_names(roles_prefix), _passwords(os.environ)) if roles else None
    applied, version, made = asyncio.run(_migrate(url, settings.postgres.connect_timeout_ms, wanted))
    if as_json:
        steps = [{"version": step.version, "name": step.name} for step in applied]
        told = {"schema_version": version, "applied": steps}
        click.echo(json.dumps(told | ({"roles": [asdict(role) for role in made]} if roles else {})))
        return
    for step in applied:
        click.echo(f"applied {step.version:04} {step.name}")
    for role in made:
        may = "may log in" if role.may_log_in else f"may not log in: set {_variable(role.task)} and run this again"
        click.echo(f"role {role.name}: {may}")
    click.echo(f"{place_of(url)}: schema version {version}, up to date")


class _Roles(NamedTuple):
    """Which roles are wanted, and who of them gets a password."""

    names: Mapping[Task, str]
    passwords: Mapping[Task, str]


def _variable(task: Task) -> str:
    return f"DRIFTLINE_{task.upper()}_PASSWORD"


def _passwords(environ: Mapping[str, str]) -> dict[Task, str]:
    """Read the passwords that the environment has, or names files of."""
    found: dict[Task, str] = {}
    for task in TASKS:
        name = _variable(task)
        if file := environ.get(f"{name}_FILE"):
            try:
                found[task] = Path(file).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "is no text"
                raise ConfigurationError(
                    f"{why}", where=f"{name}_FILE", remedy="name a file with the password"
                ) from None
        elif name in environ:
            found[task] = environ[name]
        if not found.get(task, "any"):
            raise ConfigurationError("is empty", where=name, remedy="give a password, or leave it out")
    return found


async def _migrate(url: str, connect_timeout_ms: int, roles: _Roles | None) -> tuple[list[Migration], int, list[Role]]:
    connection = await connect(url, connect_timeout_ms=connect_timeout_ms, application_name="driftline migrate")
    try:
        server_version = connection.info.server_version // 10_000
        if server_version < SERVER_VERSION_MIN:
            raise StateError(
                f"PostgreSQL {server_version} is too old", where=place_of(url), remedy="use version 14 to 18"
            )
        applied, version = await migrate(connection), await schema_version(connection)
        return applied, version, await ensure_roles(connection, *roles) if roles else []
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            f"gone while migrating: {' '.join(str(error).split())}", where=place_of(url), remedy="run it again"
        ) from None
    finally:
        await connection.close()
