"""What must hold before a process that needs both services begins, and whose fault it is if it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
from psycopg_pool import PoolTimeout

from driftline.errors import ConfigurationError, ServiceUnavailableError, StateError
from driftline.settings import KafkaSettings, PostgresSettings, Settings
from driftline.store.connection import Connection, connect, place_of, the_row
from driftline.store.migrate import require_current_schema
from driftline.store.refusals import GRANT, lacking


def services(settings: Settings, where: str = "the configuration") -> tuple[KafkaSettings, PostgresSettings]:
    """Return the two services that all but a replay needs.

    Parameters
    ----------
    where
        How the user calls the configuration.

    Raises
    ------
    ConfigurationError
        If one of them is not configured.
    """
    if settings.kafka is None or settings.postgres is None:
        absent = "kafka" if settings.kafka is None else "postgres"
        raise ConfigurationError(f"has no {absent} section", where=where, remedy=f"add {absent}: {{…}}")
    return settings.kafka, settings.postgres


@contextmanager
def told(place: str) -> Iterator[None]:
    """Tell errors of Postgres as ours."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise StateError(error.diag.message_primary or "permission denied", where=place, remedy=GRANT) from None
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        text = " ".join(str(error).split())
        raise ServiceUnavailableError(f"gone while starting: {text}", where=place, remedy="start again") from None


@asynccontextmanager
async def ready_store(postgres: PostgresSettings) -> AsyncIterator[Connection]:
    """Connect to a store that has our schema, and as a role that may do what a worker does.

    Raises
    ------
    ConfigurationError, StateError, ServiceUnavailableError
        As `connect`; or if the schema is another one, the role lacks a right or the server goes away meanwhile.
    """
    url = postgres.url.get_secret_value()
    place = place_of(url)
    connection = await connect(
        url, connect_timeout_ms=postgres.connect_timeout_ms, silence_ms_max=postgres.answer_timeout_ms
    )
    with told(place):
        async with connection:
            await require_current_schema(connection)
            await _require_rights(connection, place)
            yield connection


async def _require_rights(connection: Connection, place: str) -> None:
    missing = (await the_row(connection, "missing_rights")).words
    if missing:
        raise StateError(lacking(connection.info.user, missing), where=place, remedy=GRANT)
