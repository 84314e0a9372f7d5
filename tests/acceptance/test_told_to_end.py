"""Does every program that runs for good end in order within ten seconds when it is told to, whatever it waits for?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.compose import running
from tests.support.kafka import Broker
from tests.support.live import wait_for
from tests.support.monitors import create_topics, make_topics_and_monitor, send_events
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

END_S_MAX = 10
"""What docs/operations.md promises: supervisors kill who takes longer than they were told to wait."""

PROGRAMS = {
    "worker": (["driftline.cli", "run"], "watching"),
    "relay": (["driftline.cli", "relay"], "relaying"),
    "consumer": (["retraining.consumer", "--run", "true"], "waiting for requests"),
}


@pytest.mark.parametrize("is_cut", [False, True], ids=["all is well", "Postgres is silent"])
def test_a_program_that_is_told_to_end_ends_in_order_within_ten_seconds(
    is_cut: bool, broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    with Proxy(postgres_url) as network, ExitStack() as stack:
        monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topic_name, 1)
        more = {role: topic_name(role) for role in ("drift", "retraining", "retraining_status")}
        create_topics(broker.bootstrap_servers, more.values())
        topics = monitor.settings["kafka"]["topics"] | more
        config = monitor.variant("through", postgres={"url": network.url}, kafka={"topics": topics}).config
        logs = {name: tmp_path / f"{name}.log" for name in PROGRAMS}
        processes = {
            name: stack.enter_context(
                running([sys.executable, "-m", *words, "--config", str(config)], dict(os.environ), tmp_path, logs[name])
            )
            for name, (words, _) in PROGRAMS.items()
        }
        for name, (_, said) in PROGRAMS.items():
            wait_for(lambda name=name, said=said: said in logs[name].read_text(), f"{name} to begin")
        send_events(monitor, 0, 300, partitions=1)
        monitor.wait_until_read(1)
        if is_cut:
            network.cut()
            send_events(monitor, 300, 600, partitions=1)
            time.sleep(2)  # so that each of them has asked Postgres for something

        told = time.monotonic()
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        ended = {name: _code(process, told + END_S_MAX) for name, process in processes.items()}

        assert ended == dict.fromkeys(PROGRAMS, 0), {name: log.read_text()[-2_000:] for name, log in logs.items()}


def _code(process: subprocess.Popen[bytes], until: float) -> int | None:
    try:
        return process.wait(max(0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
