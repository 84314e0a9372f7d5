"""Who may do what in the store: three roles, each with what its task needs and nothing else.

The migrator owns the schema; the writer, for workers, relays and commands, reads and writes rows and can neither make,
change nor drop anything; the reader, for dashboards, reads views. Statements are written by the server itself, so that
names are quoted as it wants them. No password leaves this process: the server is told its SCRAM verifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import psycopg

from driftline.errors import StateError
from driftline.store.connection import Connection, bounded, place_of, rows, the_row

Task = Literal["migrator", "writer", "reader"]
TASKS: tuple[Task, ...] = get_args(Task)
PREFIX = "driftline"


@dataclass(frozen=True, slots=True)
class Role:
    """A role as it is now."""

    task: Task
    name: str
    may_log_in: bool


def role_names(prefix: str = PREFIX) -> dict[Task, str]:
    """Name the roles.

    Examples
    --------
    >>> role_names("acme")["reader"]
    'acme_reader'
    """
    return {task: f"{prefix}_{task}" for task in TASKS}


async def ensure_roles(connection: Connection, names: Mapping[Task, str], passwords: Mapping[Task, str]) -> list[Role]:
    """Make the roles that are missing, and give each exactly its rights; all of it or nothing.

    Parameters
    ----------
    passwords
        Who gets one; the others keep the one they have, if any. A new role without one may not log in.

    Raises
    ------
    StateError
        If we may not make roles, or hand over the schema.
    """
    migrator, writer, reader = (names[task] for task in TASKS)
    try:
        async with bounded(connection):
            await _do(
                connection, await rows(connection, "making_of_roles", migrator=migrator, writer=writer, reader=reader)
            )
            await _do(connection, await rows(connection, "handing_over", migrator=migrator))
            await _do(connection, await rows(connection, "granting", writer=writer, reader=reader))
            for task, password in passwords.items():
                verifier = connection.pgconn.encrypt_password(
                    password.encode(), names[task].encode(), b"scram-sha-256"
                ).decode()
                await _do(connection, [await the_row(connection, "admitting", role=names[task], verifier=verifier)])
    except psycopg.errors.InsufficientPrivilege as error:
        raise StateError(
            f"{connection.info.user} may not set up roles: {error.diag.message_primary}",
            where=place_of(connection.info.dsn),
            remedy="run it as a role that may create roles and owns the schema, or do what docs/operations.md lists",
        ) from None
    logins = {item.name: item.may_log_in for item in await rows(connection, "logins", roles=list(names.values()))}
    return [Role(task, name, logins[name]) for task, name in names.items()]


async def _do(connection: Connection, written: Sequence[Any]) -> None:
    for item in written:
        await connection.execute(item.statement.encode())
