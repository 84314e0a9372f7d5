"""Does `driftline demo`, as a real process, find what goes wrong, end by itself, and leave nothing behind?"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from tests.support.kafka import Broker

RUN_SECONDS_MAX = 600
"""The demo waits for a slow machine, and gives up by itself where nothing moves."""
GONE_SECONDS_MAX = 120
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;)")
PLAYING = "minutes of event time in each"


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let a demo be interrupted: what a shell runs in the background ignores SIGINT, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder for temporary files of one demo alone; the account `nobody` may enter it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a demo whose temporary files are in a folder."""
    # A worker that minded the user's own variables would write into another database.
    misleading = {"DRIFTLINE__POSTGRES__URL": "postgresql://nobody@127.0.0.1:1/elsewhere"}
    return subprocess.Popen(
        [sys.executable, "-m", "driftline.cli", "demo", *arguments],
        env=os.environ | misleading | environment | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def play(folder: Path, *arguments: str, **environment: str) -> tuple[dict[str, Any], str]:
    """Run a demo to its end, which must be a good one; return the object of its last line, and all it says."""
    demo = start(folder, *arguments, **environment)
    try:
        said, complaints = demo.communicate(timeout=RUN_SECONDS_MAX)
    finally:
        demo.kill()
    assert demo.returncode == 0, said + complaints
    assert complaints == ""
    last: dict[str, Any] = json.loads(said.splitlines()[-1])
    return last, said


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes whose temporary files are in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.environ().get("TMPDIR", ""):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:  # gone, or not ours to look at
            continue
    return found


def left_behind(folder: Path) -> list[str]:
    """Return the processes and files of a demo that are still there."""
    return processes_of(folder) + [str(path) for path in folder.iterdir()]


def assert_all_is_found(last: dict[str, Any]) -> None:
    assert last["detected"] == ["shift", "missing", "relation"]
    assert last["missed"] == []
    assert last["false_alarms"] == 0
    assert last["windows"] == 48
    assert last["predictions"] > 50_000
    assert 0.9 < last["labels_joined"] / last["predictions"] < 1
    assert last["drift_events"] >= 2
    assert last["performance_events"] >= 1
    assert last["retraining_requests"] == last["retrainings_finished"] >= 3
    # Every episode is told twice, when it opens and when it closes.
    assert last["quality_events"] == 1  # the values that go missing
    opened = last["drift_events"] + last["performance_events"] + last["quality_events"]
    told = 2 * opened + last["retraining_requests"]
    assert last["webhooks_verified"] == told


def test_the_demo_finds_all_three_incidents_on_a_bare_machine_and_leaves_nothing(folder: Path) -> None:
    last, said = play(folder, DEMO_SECONDS="10")

    assert_all_is_found(last)
    assert "librdkafka's mock, for the demo only" in said
    for seen in (
        "script   amounts grow by half",
        "FOUND    drift of amount",
        "FOUND    drift of account_age_days",
        "FOUND    loss of recall",
        "is over",
        "retrain  requested for the drift of day 1",
        "retrain  the drift of day 1 08:00: succeeded, version v1-retrained",
        "webhook  driftline.performance.degraded received, signature verified",
        "labels joined",
        "of labels in",
        "to do ",
    ):
        assert seen in said
    assert left_behind(folder) == []


@pytest.mark.real_kafka
@pytest.mark.postgres
def test_on_real_services_the_results_stay_and_the_topics_go(folder: Path, broker: Broker, postgres_url: str) -> None:
    last, _ = play(folder, "--seconds", "10", "--kafka", broker.bootstrap_servers, "--postgres", postgres_url)

    assert_all_is_found(last)
    assert left_behind(folder) == []
    with psycopg.connect(postgres_url) as connection:
        kept = connection.execute("select distinct model from driftline.v_drift where level = 'drift'").fetchall()
    assert len(kept) == 1
    assert kept[0][0].startswith("fraud-")
    client = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    topics = [*client.list_topics(timeout=30).topics]
    groups = [group.group_id for group in client.list_consumer_groups().result(30).valid]
    assert [name for name in topics + groups if name.startswith("driftline-demo-")] == []


@pytest.mark.parametrize(
    ("number", "exit_code", "when"),
    [
        (signal.SIGINT, 130, "three incidents"),
        (signal.SIGINT, 130, "kafka "),
        (signal.SIGINT, 130, "retrain  requested"),
        (signal.SIGTERM, 143, PLAYING),
        (signal.SIGKILL, -signal.SIGKILL, PLAYING),
    ],
)
def test_a_demo_that_is_ended_leaves_nothing(folder: Path, number: signal.Signals, exit_code: int, when: str) -> None:
    demo = start(folder, "--seconds", "10")
    try:
        assert demo.stdout is not None
        while when not in (line := demo.stdout.readline()):
            assert line, demo.communicate()[1]
        demo.send_signal(number)
        _, complaints = demo.communicate(timeout=RUN_SECONDS_MAX)
    finally:
        demo.kill()

    assert demo.returncode == exit_code
    assert complaints == ""
    assert wait_until(lambda: not left_behind(folder)), left_behind(folder)


def wait_until(condition: Callable[[], bool]) -> bool:
    """Wait for something that others do when they notice, and tell whether it came."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_terminal_is_shown_a_screen_and_given_back(folder: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"TMPDIR": str(folder), "TERM": "xterm-256color", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "driftline.cli", "demo", "--seconds", "10"]
    demo = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        written = b"".join(iter(lambda: read_some(ours), b"")).decode()
        assert demo.wait(RUN_SECONDS_MAX) == 0, written
    finally:
        demo.kill()
        demo.wait()
        os.close(ours)

    assert_all_is_found(json.loads("".join(written.rstrip().splitlines()[-1:])))
    assert (written.count(ENTER), written.count(LEAVE)) == (1, 1)
    screens = written[written.index(ENTER) : written.index(LEAVE)]
    for words in ("features nearest to drift", "recall by hour of payment", "episodes", "retraining", "signatures"):
        assert words in screens
    assert COLOUR.search(written) is None
    assert left_behind(folder) == []


def read_some(terminal: int) -> bytes:
    """Read what a process writes to its terminal; nothing when it has ended."""
    try:
        return os.read(terminal, 65_536)
    except OSError:  # on Linux a terminal that nobody holds any more can't be read
        return b""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["--seconds", "1"], 2, "--seconds"),
        (["--postgres", "postgresql://me:hidden@127.0.0.1:1/ml"], 4, "driftline: error: postgres at 127.0.0.1:1/ml: "),
        (["--kafka", "127.0.0.1:1"], 4, "driftline: error: kafka at 127.0.0.1:1: "),
    ],
)
def test_what_can_not_be_had_is_one_plain_error(folder: Path, arguments: list[str], exit_code: int, told: str) -> None:
    demo = start(folder, *arguments)
    _, complaints = demo.communicate(timeout=RUN_SECONDS_MAX)

    assert demo.returncode == exit_code
    assert told in complaints
    assert "hidden" not in complaints
    assert "Traceback" not in complaints
    assert left_behind(folder) == []
