"""`driftline migrate`: is the database ready for this program, and what must be added to it?"""

import asyncio
import json
import os
from pathlib import Path

import click
import psycopg

from driftline.errors import ConfigurationError, ServiceUnavailableError, StateError
from driftline.settings import load_settings
from driftline.store.connection import connect, place_of
from driftline.store.migrate import Migration, migrate, schema_version

SERVER_VERSION_MIN = 14


@click.command("migrate")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(config: Path, as_json: bool) -> None:
    """Bring the database to this program's schema, or say that it is there already.

    Makes the schema `driftline` in the database of `postgres.url`, or adds what a newer program needs; nothing is ever
    dropped, and several at once wait for one another. The role must be allowed to create schemas in the database;
    workers can then do with less (see docs/operations.md).
    """
    settings = load_settings(config, os.environ)
    if settings.postgres is None:
        raise ConfigurationError(
            "has no postgres section", where=str(config), remedy="add `postgres: {url: postgresql://…}`"
        )
    url = settings.postgres.url.get_secret_value()
    applied, version = asyncio.run(_migrate(url, settings.postgres.connect_timeout_ms))
    if as_json:
        steps = [{"version": step.version, "name": step.name} for step in applied]
        click.echo(json.dumps({"schema_version": version, "applied": steps}))
        return
    for step in applied:
        click.echo(f"applied {step.version:04} {step.name}")
    click.echo(f"{place_of(url)}: schema version {version}, up to date")


async def _migrate(url: str, connect_timeout_ms: int) -> tuple[list[Migration], int]:
    connection = await connect(url, connect_timeout_ms=connect_timeout_ms, application_name="driftline migrate")
    try:
        server_version = connection.info.server_version // 10_000
        if server_version < SERVER_VERSION_MIN:
            raise StateError(
                f"PostgreSQL {server_version} is too old", where=place_of(url), remedy="use version 14 to 18"
            )
        return await migrate(connection), await schema_version(connection)
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            f"gone while migrating: {' '.join(str(error).split())}", where=place_of(url), remedy="run it again"
        ) from None
    finally:
        await connection.close()
