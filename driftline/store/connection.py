"""Connections to Postgres as the rest of Driftline uses them: numpy columns, integer milliseconds, clear errors.

Nobody waits for ever. A network that is cut is noticed by the kernel (`_NETWORK`); a server or a proxy that has stopped
still answers our kernel, and is noticed because it says nothing (`Connection.silence_s_max`).
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.rows import namedtuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from driftline.errors import ConfigurationError, DriftlineError, StateError
from driftline.settings import PostgresSettings
from driftline.settings.services import tells_where_secrets_end
from driftline.store import sql
from driftline.store.arrays import POSTGRES_EPOCH_MS, register_arrays
from driftline.store.refusals import refusal

_log = logging.getLogger("driftline.store")

T = TypeVar("T")

_NETWORK = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""After half a minute without a sign of the other side's kernel, idle or not, a connection is dead."""

RECONNECT_S = 5

HOLD_MS_MAX = 30_000
"""Much longer than anybody computes between two statements, so only who is stopped or cut off is sent away."""

TRANSACTION_MS_MAX = 300_000
"""So long may a transaction last, on PostgreSQL 17 and newer: a server that has received half a statement waits for the
rest, and does not count that as idle. Nothing that workers do takes nearly as long."""

SERVICE_TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError, PoolTimeout, OSError)
"""What is raised while Postgres is away, restarts or ended our session: the same call may go through later."""


class Connection(psycopg.AsyncConnection[Any]):
    """A connection that gives up on a server that says nothing for too long.

    A statement's time is bounded by that: on a connection where nothing comes back, it ends with an
    `OperationalError`, and the connection is closed.
    """

    silence_s_max: float = math.inf

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Wait for a step of the protocol, as psycopg does."""
        return await super().wait(self._while_heard(gen), *args, **kwargs)

    def _while_heard(self, step: PQGen[T]) -> PQGen[T]:
        """Pass on what a step asks for, and end it when the socket was not ready for too long.

        psycopg wakes it ten times a second, ready or not.
        """
        try:
            asked_for = next(step)
            heard = monotonic()
            while True:
                ready = yield asked_for
                if ready:
                    heard = monotonic()
                elif monotonic() - heard > self.silence_s_max:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer for {self.silence_s_max:g}s: the connection is given up")
                asked_for = step.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


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


def _parts(url: str) -> dict[str, Any]:
    with suppress(psycopg.ProgrammingError):  # its text may quote the password
        if tells_where_secrets_end(url):
            return conninfo_to_dict(url)
    raise ConfigurationError(
        "is no URL that libpq understands",
        where="postgres.url",
        remedy="percent-encode special characters in it, and look at the names after `?`",
    )


def place_of(url: str) -> str:
    """Name a server in messages, without its secrets.

    Examples
    --------
    >>> place_of("postgresql://me:hidden@db.example:5433/ml")
    'postgres at db.example:5433/ml'
    """
    parts = _parts(url)
    return f"postgres at {parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def _manner(url: str, connect_timeout_ms: int, application_name: str) -> dict[str, Any]:
    """Say how to connect; what the URL says goes before.

    Statements are not prepared on the server, so that PgBouncer may stand between in transaction mode.
    """
    ours = {"connect_timeout": max(2, round(connect_timeout_ms / 1000)), "application_name": application_name}
    return {
        "autocommit": True,
        "prepare_threshold": None,
        "row_factory": namedtuple_row,
        **_NETWORK,
        **ours,
        **_parts(url),
    }


async def connect(
    url: str,
    *,
    connect_timeout_ms: int = 10_000,
    silence_ms_max: float = math.inf,
    application_name: str = "driftline",
) -> Connection:
    """Open a connection.

    Parameters
    ----------
    silence_ms_max
        How long a statement may wait for a sign of the server. Without it, as long as it takes.

    Raises
    ------
    ServiceUnavailableError
        If the server can't be reached.
    ConfigurationError
        If it is there but won't let us in, or the URL can't be read.
    """
    try:
        connection = await Connection.connect(**_manner(url, connect_timeout_ms, application_name))
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:  # the latter about a parameter
        raise refusal(str(error), place_of(url)) from None
    await _configure(connection)
    connection.silence_s_max = silence_ms_max / 1000
    return connection


async def _configure(connection: Connection) -> None:
    register_arrays(connection)
    connection.adapters.register_loader("timestamptz", _MillisecondsLoader)


class _Reach:
    """Tells once that no connection can be made, and why; and once that they can again."""

    def __init__(self, url: str, settings: PostgresSettings) -> None:
        self._url = url
        self._settings = settings
        self._told = ""

    async def lost(self, _: object) -> None:
        """Ask once more, for the reason, after the pool has tried in vain."""
        try:
            connection = await connect(self._url, connect_timeout_ms=self._settings.connect_timeout_ms)
        except DriftlineError as error:
            if self._told != str(error):
                self._told = str(error)
                _log.warning("%s; trying again until it works", error)
        else:
            await connection.close()

    async def found(self, connection: Connection) -> None:
        """Prepare a new connection for use."""
        await _configure(connection)
        connection.silence_s_max = self._settings.answer_timeout_ms / 1000
        if self._told:
            self._told = ""
            _log.info("%s: answers again", place_of(self._url))

    async def still_there(self, connection: Connection) -> None:
        """Ask a connection that was not in use for a sign of life: a short question, so it is not waited for long."""
        connection.silence_s_max = self._settings.connect_timeout_ms / 1000
        await AsyncConnectionPool.check_connection(connection)
        connection.silence_s_max = self._settings.answer_timeout_ms / 1000


@asynccontextmanager
async def open_pool(url: str, settings: PostgresSettings) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    """Keep a pool of connections that comes back by itself when the server does."""
    reach = _Reach(url, settings)
    pool = AsyncConnectionPool(
        connection_class=Connection,
        kwargs=_manner(url, settings.connect_timeout_ms, "driftline"),
        configure=reach.found,
        check=reach.still_there,
        reconnect_failed=reach.lost,
        reconnect_timeout=RECONNECT_S,
        min_size=min(2, settings.pool_size_max),
        max_size=settings.pool_size_max,
        timeout=settings.connect_timeout_ms / 1000,
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


@asynccontextmanager
async def bounded(
    connection: Connection, *, idle_ms: int | None = None, lock_ms: int | None = None, whole: bool = True
) -> AsyncIterator[None]:
    """Run a transaction that the server ends should this program be stopped or cut off in its middle.

    Without that a server that hears nothing more keeps its locks for ever, and everybody waits.

    Parameters
    ----------
    idle_ms
        For how long it may be idle, `HOLD_MS_MAX` if that is None.
    lock_ms
        For how long it may wait for a lock; for as long as the session says if that is None.
    whole
        Whether its whole time is bounded, too, and not only how long it may be idle.
    """
    async with connection.transaction():
        await row(
            connection,
            "bound_hold",
            idle_ms=str(HOLD_MS_MAX if idle_ms is None else idle_ms),
            lock_ms=None if lock_ms is None else str(lock_ms),
            whole_ms=str(TRANSACTION_MS_MAX if whole else 0),
        )
        yield
