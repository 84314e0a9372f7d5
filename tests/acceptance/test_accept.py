"""Can an engineer say "this is the new normal" while the worker runs, and does it stay so, as the runbook tells?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from driftline.cli import main
from tests.support.kafka import Broker
from tests.support.live import WorkerProcess, run_driftline, wait_for, workers
from tests.support.monitors import Monitor, Sent, as_json, make_topics_and_monitor, prediction, send_all
from tests.support.pipelines import START_MS

pytestmark = pytest.mark.postgres

A_SECOND = 20
"""Events in a second of event time; windows are of ten seconds."""

DIGEST = "select p.digest from driftline.profile_in_force f join driftline.profile p using (profile_id)"


def send(monitor: Monitor, from_s: int, to_s: int) -> None:
    """Send predictions whose `x` is beyond all of the reference."""
    events = [
        prediction(
            f"e-{row}",
            row * 1000 // A_SECOND,
            features={"x": 2.0 + row % 7, "c": "ab"[row % 2]},
            score=row % 100 / 100,
        )
        for row in range(from_s * A_SECOND, to_s * A_SECOND)
    ]
    send_all(monitor.address, monitor.topic("predictions"), [Sent(as_json(event)) for event in events])


def judged(monitor: Monitor, end_s: int) -> tuple[Any, ...]:
    """Wait for the verdict on `x` of the window that ends then: level, sizes of the reference and of the window."""
    query = (
        "select level, n_reference::int, n_current::int from driftline.v_drift where feature = 'x' and detector = 'psi'"
        f" and segment = '*' and window_end = to_timestamp({START_MS / 1000 + end_s})"
    )
    [verdict] = wait_for(lambda: monitor.rows(query), f"the verdict of second {end_s}")
    return verdict


def episodes(monitor: Monitor, *arguments: str) -> str:
    """List episodes, in this process: the worker needs the time."""
    done = CliRunner().invoke(main, ["episodes", "list", *arguments, "--config", str(monitor.config)])
    assert done.exit_code == 0, done.stderr
    return done.stdout


@contextmanager
def restarted(monitor: Monitor, folder: Path) -> Iterator[WorkerProcess]:
    with workers(monitor.config, folder, 1) as [worker]:
        wait_for(lambda: "watching m" in (folder / "worker-0.log").read_text(), "the worker to start")
        yield worker


def test_what_is_accepted_is_normal_at_once_stays_through_a_restart_and_goes_with_the_file(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(
        tmp_path, broker.bootstrap_servers, postgres_url, topic_name, partitions=1, models={"m": {}}
    )
    with restarted(monitor, tmp_path):
        send(monitor, 0, 55)
        assert judged(monitor, 50) == ("drift", 400, 200)
        listed = json.loads(episodes(monitor, "--json"))["episodes"]
        assert [(episode["kind"], episode["version"]) for episode in listed] == [("drift", "v1")]

        stretch = ("--from", "2024-01-01", "--to", "2024-01-01T00:00:50")
        done = run_driftline("reference", "accept", "--model", "m", *stretch, "--config", str(monitor.config))

        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[:2] == [
            "m, all versions that share its reference (v1): 2024-01-01T00:00Z to 2024-01-01T00:00:50Z",
            "5 windows, 1000 events",
        ]
        assert lines[4].split()[0] == "x"  # changed most
        # The window that is open, half of it sent before, is judged whole; what was judged stays.
        send(monitor, 55, 75)
        assert judged(monitor, 60) == ("ok", 1000, 200)
        assert judged(monitor, 70) == ("ok", 1000, 200)
        assert judged(monitor, 50) == ("drift", 400, 200)
        assert "No episode is open" in episodes(monitor)
        [closed] = json.loads(episodes(monitor, "--all", "--json"))["episodes"]
        assert (closed["episode_id"], closed["closed_as"]) == (listed[0]["episode_id"], "superseded")
    accepted = monitor.rows(DIGEST)

    with restarted(monitor, tmp_path):
        send(monitor, 75, 95)
        assert judged(monitor, 90) == ("ok", 1000, 200)
        assert monitor.rows(DIGEST) == accepted

    reference = tmp_path / "reference.parquet"
    pq.write_table(pq.read_table(reference).slice(0, 300), reference)
    (tmp_path / "worker-0.log").unlink()
    with restarted(monitor, tmp_path):
        assert monitor.rows(DIGEST) != accepted
        assert monitor.rows(
            "select (content ->> 'n')::int from driftline.profile order by profile_id desc limit 1"
        ) == [(300,)]
