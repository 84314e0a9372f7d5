"""Brings the store's schema to the version this program needs: forward only, one transaction for each step."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import resources

import psycopg

from driftline.errors import ServiceUnavailableError, StateError
from driftline.store.connection import Connection, bounded, place_of, row

TRIES_MAX = 30
LOCK_MS_MAX = 2_000
"""How long a step waits for a table; whoever comes meanwhile waits behind it."""

PAUSE_S = 0.5

# Whoever runs the database may have made the schema for a role that may not: `create schema if not exists` would fail.
_LEDGER = """
do $$ begin
    if to_regnamespace('driftline') is null then create schema driftline; end if;
end $$;
create table if not exists driftline.migration (
    version integer primary key,
    name text not null,
    applied_at timestamptz not null default now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    text: str


def migrations() -> tuple[Migration, ...]:
    """Return all steps in order; the number leads the file's name.

    Examples
    --------
    >>> [m.version for m in migrations()][:1]
    [1]
    """
    files = sorted(
        (f for f in resources.files(__package__).joinpath("migrations").iterdir() if f.name.endswith(".sql")),
        key=lambda f: f.name,
    )
    return tuple(Migration(int(f.name[:4]), f.name[5:-4], f.read_text("utf-8")) for f in files)


async def schema_version(connection: Connection) -> int:
    """Return the newest step the store has; 0 when it has none."""
    there = await (await connection.execute("select to_regclass('driftline.migration') is not null")).fetchone()
    if there is None or not there[0]:
        return 0
    newest = await (await connection.execute("select coalesce(max(version), 0) from driftline.migration")).fetchone()
    return int(newest[0]) if newest else 0


async def migrate(connection: Connection) -> list[Migration]:
    """Apply the missing steps and return them; several callers at once wait for one another.

    Workers may go on meanwhile: a lock is waited for only so long that they are not held up, and all is tried again.

    Raises
    ------
    StateError
        If the store is newer than this program, or the role may not create what is missing.
    ServiceUnavailableError
        If workers never let go of a table for long enough.
    """
    for _ in range(TRIES_MAX):
        try:
            return await _migrate(connection)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            await asyncio.sleep(PAUSE_S)
    raise ServiceUnavailableError(
        f"workers did not let go of a table in {TRIES_MAX} tries; nothing was changed",
        where=place_of(connection.info.dsn),
        remedy="run it again, or stop the workers first",
    )


async def _migrate(connection: Connection) -> list[Migration]:
    applied = []
    try:
        async with bounded(connection, whole=False):  # to make an index takes its time
            await connection.execute("select pg_advisory_xact_lock(6, 0)")
            version = await schema_version(connection)
            if version == 0:
                await connection.execute(_LEDGER)
            elif version < migrations()[-1].version:
                await connection.execute(f"set local lock_timeout = {LOCK_MS_MAX}".encode())
            for step in migrations():
                if step.version > version:
                    await connection.execute(step.text.encode())
                    await connection.execute(
                        "insert into driftline.migration (version, name) values (%s, %s)", (step.version, step.name)
                    )
                    applied.append(step)
    except psycopg.errors.InsufficientPrivilege as error:
        info, owner = connection.info, await row(connection, "owner")
        grant = f"grant create on database {info.dbname} to {info.user}, or migrate as a role that may do it"
        raise StateError(
            f"{info.user} may not migrate: {error.diag.message_primary}",
            where=place_of(info.dsn),
            remedy=f"migrate as {owner.name}, whose the schema is" if owner else grant,
        ) from None
    _refuse_newer(version)
    return applied


async def require_current_schema(connection: Connection) -> None:
    """Check that the store is at the version this program needs.

    Raises
    ------
    StateError
        If it is older or newer.
    """
    version, needed = await schema_version(connection), migrations()[-1].version
    _refuse_newer(version)
    if version < needed:
        raise StateError(
            f"the schema is version {version}, this program needs {needed}" if version else "there is no schema yet",
            where="postgres",
            remedy="run `driftline migrate`",
        )


def _refuse_newer(version: int) -> None:
    needed = migrations()[-1].version
    if version > needed:
        raise StateError(
            f"the schema is version {version}, newer than this program's {needed}",
            where="postgres",
            remedy="upgrade driftline on this machine",
        )
