"""The store of a configuration, for the commands that a person runs beside the workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from driftline.errors import ConfigurationError, ServiceUnavailableError, StateError
from driftline.settings import Settings
from driftline.store.connection import Connection, connect, place_of
from driftline.store.migrate import require_current_schema
from driftline.store.refusals import GRANT


@asynccontextmanager
async def store_of(settings: Settings, config: Path, command: str) -> AsyncIterator[Connection]:
    """Connect to the store that workers write, and tell its errors as ours.

    Parameters
    ----------
    config
        The file that was read, to name it.
    command
        What the connection is called in Postgres's own lists.

    Raises
    ------
    ConfigurationError
        If the configuration has no `postgres` section.
    StateError
        If the schema is another one, or the role may not do this.
    ServiceUnavailableError
        If Postgres can't be reached, goes away, or workers hold a lock for too long.
    """
    postgres = settings.postgres
    if postgres is None:
        remedy = "add `postgres: {url: postgresql://…}`"
        raise ConfigurationError("has no postgres section", where=str(config), remedy=remedy)
    url = postgres.url.get_secret_value()
    connection = await connect(
        url, connect_timeout_ms=postgres.connect_timeout_ms, application_name=f"driftline {command}"
    )
    try:
        await require_current_schema(connection)
        yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        what = f"{connection.info.user} may not: {error.diag.message_primary}"
        raise StateError(what, where=place_of(url), remedy=GRANT) from None
    except psycopg.errors.LockNotAvailable:
        what = "workers did not let go of the model in time; nothing was changed"
        raise ServiceUnavailableError(what, where=place_of(url), remedy="run it again") from None
    except psycopg.OperationalError as error:
        told = f"gone meanwhile: {' '.join(str(error).split())}"
        raise ServiceUnavailableError(told, where=place_of(url), remedy="run it again") from None
    finally:
        await connection.close()
