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
@click.option("--roles-prefix", show_default=PREFIX, help="What their names begin with.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(config: Path, roles: bool, roles_prefix: str | None, as_json: bool) -> None:
    """Bring the database to this program's schema, or say that it is there already.

    Makes the schema `driftline` in the database of `postgres.url`, or adds what a newer program needs; nothing is ever
    dropped, and several at once wait for one another. The role must be allowed to create schemas in the database;
    workers can then do with less (see docs/operations.md).

    With --roles it makes the roles PREFIX_migrator, PREFIX_writer and PREFIX_reader, hands the schema over to the
    first, and grants the others exactly what they need, now and each time. A role may log in once it has a password:
    from the environment as DRIFTLINE_MIGRATOR_PASSWORD, DRIFTLINE_WRITER_PASSWORD and DRIFTLINE_READER_PASSWORD, or
    from the files of one line that the same names with _FILE name.
    """
    if roles_prefix is not None and not roles:
        raise click.UsageError("--roles-prefix is for --roles only")
    names = role_names(PREFIX if roles_prefix is None else _prefix(roles_prefix))
    settings = load_settings(config, os.environ)
    if settings.postgres is None:
        raise ConfigurationError(
            "has no postgres section", where=str(config), remedy="add `postgres: {url: postgresql://…}`"
        )
    url = settings.postgres.url.get_secret_value()
    wanted = _Roles(names, _passwords(os.environ)) if roles else None
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


def _prefix(given: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,50}", given):
        remedy = "use small letters, digits and _, at most 50"
        raise ConfigurationError(f"{given!r} can't begin a name", where="--roles-prefix", remedy=remedy)
    return given


def _passwords(environ: Mapping[str, str]) -> dict[Task, str]:
    """Read the passwords that the environment has, or names files of; not both, since one would win in silence."""
    found: dict[Task, str] = {}
    for task in TASKS:
        name, of_file = _variable(task), f"{_variable(task)}_FILE"
        if name in environ and of_file in environ:
            raise ConfigurationError(f"is set beside {of_file}", where=name, remedy="set one of them")
        if of_file in environ:
            file = environ[of_file]
            found[task] = _password(_text_of(file, of_file), f"{of_file}: {file}")
        elif name in environ:
            found[task] = _password(environ[name], name)
    return found


def _text_of(file: str, where: str) -> str:
    try:
        return Path(file).read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise ConfigurationError(f"{file}: {why}", where=where, remedy="name a file with the password") from None


def _password(given: str, where: str) -> str:
    if not given:
        raise ConfigurationError("is empty", where=where, remedy="give a password, or leave it out")
    if re.search(r"[\n\r\0]", given):  # what follows would be part of the password, or cut off
        raise ConfigurationError("is more than one line", where=where, remedy="give the password and nothing else")
    return given


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
