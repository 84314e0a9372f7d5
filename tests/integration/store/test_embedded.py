"""Does an embedded Postgres come up wherever we run, keep what it should, and end with whoever started it?"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import psycopg
import pytest

from driftline import embedded
from driftline.embedded import embedded_binaries, embedded_postgres
from driftline.errors import ConfigurationError, ServiceUnavailableError, StateError

SECONDS_MAX = 30

HOLDING_ONE = """
import sys
from driftline.embedded import embedded_postgres
with embedded_postgres(durable=False) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _binaries() -> None:
    try:
        embedded_binaries()
    except ServiceUnavailableError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing} (CI=true)", pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name, "kept")


def setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("select current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_server_is_gone_after_the_context_and_so_are_its_files() -> None:
    with embedded_postgres(durable=False) as url:
        folder = Path(setting(url, "data_directory")).parent

    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)


def test_the_server_ends_although_someone_is_still_connected_and_the_body_raised() -> None:
    def body() -> None:
        with embedded_postgres(durable=False) as url:
            connections.append(psycopg.connect(url))
            raise ZeroDivisionError

    connections: list[psycopg.Connection[tuple[object, ...]]] = []
    with pytest.raises(ZeroDivisionError):
        body()

    [left_open] = connections
    with pytest.raises(psycopg.OperationalError):
        left_open.execute("select 1")
    left_open.close()


def test_data_in_a_folder_of_ones_own_survive_a_restart(open_folder: Path) -> None:
    with embedded_postgres(open_folder, durable=True) as url, psycopg.connect(url) as connection:
        connection.execute("create table kept (n integer)")
        connection.execute("insert into kept values (6)")

    with embedded_postgres(open_folder, durable=True) as url, psycopg.connect(url) as connection:
        assert connection.execute("select n from kept").fetchall() == [(6,)]


def test_only_a_durable_server_waits_for_the_disk(open_folder: Path) -> None:
    with embedded_postgres(open_folder, durable=True) as url:
        durable = {name: setting(url, name) for name in ("fsync", "synchronous_commit", "full_page_writes")}
    with embedded_postgres(open_folder, durable=False) as url:
        throw_away = {name: setting(url, name) for name in durable}

    assert durable == dict.fromkeys(durable, "on")
    assert throw_away == dict.fromkeys(durable, "off")


def test_nobody_comes_in_without_the_password() -> None:
    with embedded_postgres(durable=False) as url, pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(url.split("@")[0], "postgresql://postgres:guess"))


def test_two_servers_never_share_a_folder(open_folder: Path) -> None:
    with (
        embedded_postgres(open_folder, durable=False),
        pytest.raises(StateError, match=r"postmaster\.pid"),
        embedded_postgres(open_folder, durable=False),
    ):
        pass


def test_a_port_that_is_taken_at_the_last_moment_is_given_up_for_another(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken: int = other.getsockname()[1]
        ports = iter([taken, free_port])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        with embedded_postgres(durable=False) as url:
            assert setting(url, "port") == str(free_port)
        monkeypatch.setattr(embedded, "_free_port", lambda: taken)
        monkeypatch.setattr(embedded, "PORTS_TRIED_MAX", 1)
        told = "does not start: .*could not bind .*Address already in use; try again, or end what listens"
        with pytest.raises(ServiceUnavailableError, match=told), embedded_postgres(durable=False):
            pass


def test_a_full_disk_is_told_though_the_server_could_not_even_write_why(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (open_folder / "data").mkdir(parents=True)  # nothing that a server could start on
    (open_folder / "password").write_text("")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=5_000_000))

    with (
        pytest.raises(ServiceUnavailableError, match="4 MiB are left on the disk; free some space"),
        embedded_postgres(open_folder, durable=False),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")
def test_a_folder_that_the_servers_account_cannot_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    with pytest.raises(ConfigurationError, match="can't enter"), embedded_postgres(tmp_path / "x", durable=False):
        pass


def test_a_machine_without_binaries_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ServiceUnavailableError, match="give a Postgres server's URL"), embedded_postgres(durable=True):
        pass


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_the_server_ends_when_its_starter_is_killed(project: Path, end: signal.Signals) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", HOLDING_ONE], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    url = starter.stdout.readline().strip()
    folder = Path(setting(url, "data_directory")).parent
    descendants = psutil.Process(starter.pid).children(recursive=True)
    assert any(process.name() == "postgres" for process in descendants)

    starter.send_signal(end)
    starter.communicate()

    _, alive = psutil.wait_procs(descendants, timeout=SECONDS_MAX)
    assert alive == []
    wait_until(lambda: not folder.exists())
