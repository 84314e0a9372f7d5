"""Does a keeper bound what its command may do, and leave a result whatever that does?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from retraining import keeper
from retraining.inbox import read_request
from retraining.runs import Progress, Run, Work
from tests.support.live import wait_for

MINUTE_MS = 60_000


@pytest.fixture
def run(tmp_path: Path) -> Run:
    event = {"type": "driftline.retraining.requested", "id": "r1", "data": {"model": "m"}}
    found = read_request(json.dumps(event).encode())
    assert found is not None
    return Run.of(found, tmp_path)


def keep(run: Run, *command: str, attempt: int = 1, timeout_ms: int = MINUTE_MS) -> subprocess.Popen[bytes]:
    with run.lock() as lock:
        assert lock is not None
        return run.begin(Work(command, None, timeout_ms), attempt, lock)


def result(run: Run) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run.folder / keeper.RESULT).read_bytes())
    return told


def test_of_a_command_that_says_much_only_the_ends_are_kept(run: Run) -> None:
    flood = "import sys\nfor n in range(300_000): print(n); print(-n, file=sys.stderr)"

    assert keep(run, sys.executable, "-c", flood).wait(60) == 0

    told = result(run)
    assert (told["state"], told["outcome"]) == ("succeeded", "299999")
    assert [len(told[stream]) for stream in ("stdout", "stderr")] == [keeper.TAIL_BYTES] * 2
    assert told["stderr"].endswith("-299999\n")


def test_what_a_command_leaves_behind_is_not_waited_for(run: Run) -> None:
    begun = time.monotonic()

    assert keep(run, "sh", "-c", "sleep 30 & echo $!; echo '{\"version\": 8}'").wait(60) == 0

    assert time.monotonic() - begun < 25
    assert result(run)["new_version"] == "8"
    os.kill(int(result(run)["stdout"].split()[0]), signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("exit 3", "exited with 3"),
        ("echo one; echo two >&2; exit 1", "exited with 1: two"),
        ("kill -9 $$", "was ended by SIGKILL"),
        ("printf 'a\\000b\\033[1m\\377' >&2; exit 1", "exited with 1: a\ufffdb\ufffd[1m\ufffd"),
    ],
)
def test_a_failure_is_told_in_one_printable_line(run: Run, script: str, outcome: str) -> None:
    assert keep(run, "sh", "-c", script).wait(60) == 0

    assert (result(run)["state"], result(run)["outcome"]) == ("failed", outcome)


def test_a_keeper_that_is_told_to_stop_ends_its_command_and_leaves_the_request_to_be_run_again(run: Run) -> None:
    process = keep(run, "sleep", "1000")
    group = wait_for(lambda: "group" in (told := _attempt(run)) and told["group"], "the command")

    process.terminate()

    assert process.wait(120) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert run.progress() == Progress(attempts=1)


def _attempt(run: Run) -> dict[str, Any]:
    file = keeper.attempt_path(run.folder, 1)
    told: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    return told


def test_a_keeper_whose_consumer_died_before_it_had_said_what_to_do_does_nothing(run: Run) -> None:
    script = [sys.executable, "-I", "-S", keeper.__file__, str(run.folder)]

    assert subprocess.run(script, input=b'{"request_id": "r1", "comm', check=False).returncode == 0

    assert run.progress() == Progress()
