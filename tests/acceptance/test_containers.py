"""Do the services of docker-compose.yml work together as they are written, and is the image's package whole?"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import psycopg
import pytest

from dashboards.grafana.files import provisioning
from tests.support.compose import Outside, compose_file, python_programs, running
from tests.support.kafka import Broker
from tests.support.live import rows_of, wait_for

SERVICES: dict[str, dict[str, Any]] = compose_file()["services"]
ONCE = ("migrate", "topics", "reference", "dashboards")
LASTING = ("worker", "worker", "relay", "retraining", "traffic")
TOPICS = ("predictions", "labels", "features", "drift", "retraining", "retraining_status", "dead_letters")


def outside(
    name: str, broker: Broker, url: str, prefix: str, topics: dict[str, str], folder: Path, port: int
) -> Outside:
    """Say where the places of a service's container are here."""
    (folder / name).mkdir(exist_ok=True)
    places = {
        "postgresql://driftline:driftline@postgres:5432/driftline": url,
        "postgresql://driftline_writer:writer@postgres:5432/driftline": as_role(url, f"{prefix}_writer", "writer"),
        "--roles-prefix=driftline": f"--roles-prefix={prefix}",
        "kafka:9092": broker.bootstrap_servers,
        "/etc/driftline": str(folder / "etc"),
        "/var/lib/driftline": str(folder / name),
        "/var/lib/reference": str(folder / "reference"),
        "/srv/provisioning": str(folder / "provisioning"),
        "python ": f"{sys.executable} ",
    }
    environment = {f"DRIFTLINE__KAFKA__TOPICS__{kind.upper()}": topic for kind, topic in topics.items()}
    environment |= {"DRIFTLINE__KAFKA__GROUP": topics["predictions"], "DRIFTLINE__WEB__PORT": str(port)}
    return Outside(places, python_programs(), environment)


def as_role(url: str, role: str, password: str) -> str:
    server = urlsplit(url)
    return server._replace(netloc=f"{role}:{password}@{server.hostname}:{server.port}").geturl()


def tell(processes: list[tuple[Any, Path]], url: str) -> None:
    """Print what is shown if the test fails: what was said, and how far it came."""
    for _, log in processes:
        print(f"== {log.name}\n{log.read_text()}")
    for view in ("v_workers", "v_retraining", "v_events", "v_counts"):
        print(f"== {view}", *rows_of(url, f"select * from driftline.{view}"), sep="\n")
    print("== positions", *rows_of(url, "select * from driftline.stream_offset order by topic, partition"), sep="\n")


@pytest.fixture
def prefix(postgres_url: str) -> Iterator[str]:
    """A prefix for the names of the roles, which belong to the whole server and are gone afterwards."""
    prefix = f"c{secrets.token_hex(4)}"
    yield prefix
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for (name,) in connection.execute("select rolname from pg_roles where rolname like %s", [f"{prefix}%"]):
            connection.execute(f"drop owned by {name} cascade; drop role {name}".encode())


@pytest.mark.real_kafka
@pytest.mark.postgres
def test_services_start_in_their_order_become_healthy_retrain_and_end_when_they_are_told(
    broker: Broker,
    postgres_url: str,
    topic_name: Callable[[str], str],
    prefix: str,
    tmp_path: Path,
    project: Path,
    free_port: int,
) -> None:
    shutil.copytree(project / "examples" / "compose", tmp_path / "etc")
    topics = {kind: topic_name(kind.replace("_", "-")) for kind in TOPICS}

    def translated(name: str) -> tuple[Outside, dict[str, str]]:
        place = outside(name, broker, postgres_url, prefix, topics, tmp_path, free_port)
        return place, place.environment_of(SERVICES[name])

    for name in ONCE:
        place, environment = translated(name)
        command = place.command(SERVICES[name]["command"])
        done = subprocess.run(command, env=environment, cwd=tmp_path / "etc", capture_output=True, text=True)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
    for path, text in provisioning().items():
        assert (tmp_path / "provisioning" / path).read_text() == text

    with ExitStack() as stack:
        processes: list[tuple[Any, Path]] = []
        stack.callback(tell, processes, postgres_url)
        for number, name in enumerate(LASTING):
            place, environment = translated(name)
            log = tmp_path / f"{name}-{number}.log"
            command = place.command(SERVICES[name]["command"])
            if number:  # here the two workers share a loopback
                environment["DRIFTLINE__WEB__PORT"] = "0"
            processes.append((stack.enter_context(running(command, environment, tmp_path / "etc", log)), log))

        def ask(query: str) -> list[tuple[Any, ...]]:
            for process, log in processes:
                assert process.poll() is None, log.read_text()
            return rows_of(postgres_url, query)

        for name in dict.fromkeys(LASTING):
            place, environment = translated(name)
            check = place.command(SERVICES[name]["healthcheck"]["test"])
            wait_for(
                lambda check=check, environment=environment: (
                    subprocess.run(check, env=environment, cwd=tmp_path / "etc", capture_output=True).returncode == 0
                ),
                f"{name} to be healthy",
            )
        assert len(wait_for(lambda: ask("select 1 from driftline.v_workers where state = 'running'")[1:], "two")) == 1
        wait_for(lambda: ask("select 1 from driftline.v_retraining where state = 'succeeded'"), "a retraining")
        assert ask("select 1 from driftline.v_events where type like '%requested' and published_at is not null")
        as_reader = as_role(postgres_url, f"{prefix}_reader", "reader")
        assert rows_of(as_reader, "select 1 from driftline.v_drift limit 1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows_of(as_reader, "select 1 from driftline.prediction")

        for process, _ in processes:
            process.send_signal(signal.SIGTERM)
        assert [(process.wait(30), log.name) for process, log in processes] == [(0, log.name) for _, log in processes]


def test_the_wheel_of_the_image_holds_every_file_and_starts_away_from_the_tree(project: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    for line in (project / ".dockerignore").read_text().splitlines():
        source = project / line[1:]
        if line.startswith("!") and source.is_dir():
            shutil.copytree(source, context / line[1:], ignore=shutil.ignore_patterns("__pycache__"))
        elif line.startswith("!"):
            shutil.copy(source, context)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(context)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("driftline-*.whl")
    with ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    files = {str(file.relative_to(context)) for kind in ("py", "sql") for file in context.rglob(f"*.{kind}")}
    assert {name for name in files if "/" in name and not name.startswith("build/")} <= packed

    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed"), "PYTHONSAFEPATH": "1"}
    told = "import streams, dashboards.grafana.files as f; print(streams.__file__); print(len(f.dashboard_json()))"
    done = subprocess.run([sys.executable, "-c", told], env=environment, cwd=tmp_path, capture_output=True, text=True)
    where, size = done.stdout.split()
    assert Path(where).is_relative_to(tmp_path)
    assert int(size) > 10_000
    listed = subprocess.run(
        [sys.executable, "-m", "driftline.cli", "dashboards", "export", "--out", "-"],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(listed.stdout)["uid"] == "driftline-overview"
