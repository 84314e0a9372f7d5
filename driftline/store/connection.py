"""Connections to Postgres as the rest of Driftline uses them: numpy columns, integer milliseconds, clear errors."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.rows import namedtuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from driftline.errors import ServiceUnavailableError, StateError
from driftline.settings import PostgresSettings
from driftline.store import sql
from driftline.store.arrays import POSTGRES_EPOCH_MS, register_arrays

Connection = psycopg.AsyncConnection[Any]

SERVICE_TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError, PoolTimeout, OSError)
"""What is raised while Postgres is away, restarts or ended our session: the same call may go through later."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1
BEGINNING_OF_TIME_MS = _MIN_INT64
"""What `-infinity` is read as."""


class _MillisecondsLoader(Loader):
    """Reads timestamptz as milliseconds since 1970 UTC."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        (microseconds,) = struct.unpack(">q", data)
        if microseconds in (_MIN_INT64, _MAX_INT64):
            return int(microseconds)
        return int(microseconds // 1000 + POSTGRES_EPOCH_MS)


def timestamp(ms: int) -> datetime:
    """Turn milliseconds since 1970 UTC into the datetime that a query parameter wants.

    Examples
    --------
    >>> timestamp(1_451_606_400_000).isoformat()
    '2016-01-01T00:00:00+00:00'
    """
    return _EPOCH + timedelta(milliseconds=ms)


def place_of(url: str) -> str:
    """Name a server in messages, without its secrets.

    Examples
    --------
    >>> place_of("postgresql://me:hidden@db.example:5433/ml")
    'postgres at db.example:5433/ml'
    """
    parts = conninfo_to_dict(url)
    return f"postgres at {parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


async def connect(url: str, *, connect_timeout_ms: int = 10_000, application_name: str = "driftline") -> Connection:
    """Open a connection.

    Statements are not prepared on the server, so that PgBouncer may stand between in transaction mode.

    Raises
    ------
    ServiceUnavailableError
        If the server can't be reached or refuses.
    """
    try:
        connection: Connection = await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            prepare_threshold=None,
            row_factory=namedtuple_row,
            connect_timeout=max(2, round(connect_timeout_ms / 1000)),
            application_name=application_name,
        )
    except psycopg.OperationalError as error:
        # A line that begins with a tab is advice on the line before it.
        told = [line for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
        reason = told[-1].strip() if told else type(error).__name__
        raise ServiceUnavailableError(
            f"can't connect: {reason}", where=place_of(url), remedy="check the server and postgres.url"
        ) from None
    await _configure(connection)
    return connection


async def _configure(connection: Connection) -> None:
    register_arrays(connection)
    connection.adapters.register_loader("timestamptz", _MillisecondsLoader)


@asynccontextmanager
async def open_pool(url: str, settings: PostgresSettings) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    """Keep a pool of connections that comes back by itself when the server does."""
    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        url,
        kwargs={
            "autocommit": True,
            "prepare_threshold": None,
            "row_factory": namedtuple_row,
            "application_name": "driftline",
            "connect_timeout": max(2, round(settings.connect_timeout_ms / 1000)),
        },
        configure=_configure,
        check=AsyncConnectionPool.check_connection,
        min_size=min(2, settings.pool_size_max),
        max_size=settings.pool_size_max,
        timeout=settings.connect_timeout_ms / 1000,
        reconnect_timeout=5,
        open=False,
    )
    async with pool:
        yield pool


async def rows(connection: Connection, statement: str, **parameters: object) -> list[Any]:
    """Run a named statement and return its rows as named tuples."""
    cursor = await connection.execute(sql(statement), parameters, binary=True)
    return await cursor.fetchall()


async def row(connection: Connection, statement: str, **parameters: object) -> Any:
    """Run a named statement and return its first row, or None."""
    cursor = await connection.execute(sql(statement), parameters, binary=True)
    return await cursor.fetchone()


async def run(connection: Connection, statement: str, **parameters: object) -> int:
    """Run a named statement and return how many rows it touched."""
    return (await connection.execute(sql(statement), parameters)).rowcount


async def the_row(connection: Connection, statement: str, **parameters: object) -> Any:
    """Run a named statement and return its first row.

    Raises
    ------
    StateError
        If there is none, though there must be one.
    """
    found = await row(connection, statement, **parameters)
    if found is None:
        raise StateError(f"nothing found by {statement}", remedy="run `driftline migrate`")
    return found
