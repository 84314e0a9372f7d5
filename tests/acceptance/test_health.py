"""Does a real worker say whether it is ready and why not, go on by itself, and end in order also when it is stuck?"""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.kafka import Broker
from tests.support.live import WorkerProcess, run_driftline, wait_for
from tests.support.monitors import Monitor, make_topics_and_monitor, send_events
from tests.support.own_postgres import OwnPostgres

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]


def ask(port: int, page: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, {"reasons": ["no answer"], "consumer_restarts": 0}


@contextmanager
def nobody_commits(monitor: Monitor) -> Iterator[None]:
    """Hold the row that a commit of predictions begins with."""
    with psycopg.connect(monitor.url) as connection:
        held = connection.execute(
            "select 1 from driftline.stream_offset where topic = %s for update", [monitor.topic("predictions")]
        )
        assert held.fetchall()
        yield
        connection.rollback()


def test_readiness_tells_the_truth_and_a_consumer_that_stands_still_is_started_anew(
    broker: Broker, topic_name: Callable[[str], str], tmp_path: Path, free_port: int
) -> None:
    with OwnPostgres() as server:
        monitor = make_topics_and_monitor(
            tmp_path,
            broker.bootstrap_servers,
            server.url,
            topic_name,
            1,
            kafka={"stuck_after": "2s"},
            web={"port": free_port},
        )
        worker = WorkerProcess(monitor.config, tmp_path / "worker.log")
        try:
            _try_all(monitor, server, worker, free_port)
        finally:
            worker.end()
            print((tmp_path / "worker.log").read_text())


def _try_all(monitor: Monitor, server: OwnPostgres, worker: WorkerProcess, port: int) -> None:
    def reasons() -> list[str]:
        return list(ask(port, "readyz")[1]["reasons"])

    def until_ready() -> None:
        wait_for(lambda: ask(port, "readyz")[0] == 200, "the worker to be ready")

    until_ready()
    probe = run_driftline("doctor", "--worker", "--config", str(monitor.config))
    assert (probe.returncode, probe.stderr) == (0, "")

    with nobody_commits(monitor):
        send_events(monitor, 0, 50, partitions=1)
        stands_still = f"{monitor.topic('predictions')}, partition 0: stands still for "
        wait_for(lambda: any(stands_still in reason for reason in reasons()), "readiness to say what stands still")
        probe = run_driftline("doctor", "--worker", "--config", str(monitor.config))
        assert (probe.returncode, "not ready: " in probe.stderr) == (4, True)
        assert ask(port, "livez")[0] == 200
        send_events(monitor, 50, 100, partitions=1)
        wait_for(lambda: ask(port, "livez")[1]["consumer_restarts"] >= 1, "the consumer to be started anew")
    until_ready()
    monitor.wait_until_read(200)
    assert (monitor.counts()["m", "prediction"], monitor.counts()["m", "pair"]) == (100, 100)
    assert monitor.counts()["m", "repeated_prediction"] == 0

    server.kill()
    send_events(monitor, 100, 150, partitions=1)
    wait_for(lambda: any("postgres has not answered for" in reason for reason in reasons()), "it to say what is away")
    assert ask(port, "livez")[0] == 200
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0
    server.start()
    assert monitor.counts()["m", "prediction"] == 100
