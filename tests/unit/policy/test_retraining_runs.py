"""What is a request, what is to be done for it next, and what is passed on to its command?"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from driftline.errors import StateError
from retraining import keeper
from retraining.inbox import RetrainingRequest, Unusable, environment, read_request
from retraining.runs import ATTEMPTS_MAX, Progress, Result, Run, forget_oldest, next_step

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "r1",
    "type": "driftline.retraining.requested",
    "data": {"model": "m", "version": "7", "episode_id": "e", "kind": "drift"},
}
RESULT = Result("failed", 2, 1_000, "exited with 1", None)


def request(**data: Any) -> RetrainingRequest:
    found = read_request(json.dumps(EVENT | {"data": EVENT["data"] | data}).encode())
    assert found is not None
    return found


def test_the_next_step_follows_from_what_is_known_and_a_result_is_never_run_again() -> None:
    for is_locked, attempts, result, is_reported in itertools.product(
        (False, True), range(ATTEMPTS_MAX + 1), (None, RESULT), (False, True)
    ):
        step = next_step(Progress(is_locked, attempts, result, is_reported))
        assert (step == "done") == is_reported
        if not is_reported:
            assert (step == "wait") == is_locked
        if not is_reported and not is_locked:
            assert (step == "report") == (result is not None)
            assert (step == "start") == (result is None and attempts < ATTEMPTS_MAX)
            assert (step == "give_up") == (result is None and attempts >= ATTEMPTS_MAX)


def test_a_folder_tells_what_was_written_to_it_and_the_first_result_stays(tmp_path: Path) -> None:
    run = Run.of(request(), tmp_path)
    assert run.progress() == Progress()

    keeper.write_atomically(keeper.attempt_path(run.folder, 1), b"{}")
    assert run.progress() == Progress(attempts=1)
    with run.lock() as lock:
        assert lock is not None
        assert Run.of(request(), tmp_path).progress().is_locked
        with run.lock() as second:
            assert second is None
    assert not run.progress().is_locked

    assert keeper.finish(run.folder, 1, keeper.Ended(True, "done", '{"version": "8"}'))
    assert not keeper.finish(run.folder, 2, keeper.Ended(False, "too late"))
    result = run.progress().result
    assert result is not None
    assert (result.state, result.attempt, result.outcome, result.new_version) == ("succeeded", 1, "done", "8")
    run.mark_reported()
    assert next_step(Run.of(request(), tmp_path).progress()) == "done"


def test_a_result_that_can_not_be_read_is_told_and_not_taken_for_none(tmp_path: Path) -> None:
    run = Run.of(request(), tmp_path)
    (run.folder / keeper.RESULT).write_text("")

    with pytest.raises(StateError, match=r"result\.json: can't be read"):
        run.progress()


def test_only_what_was_reported_is_forgotten_and_that_the_oldest_first(tmp_path: Path) -> None:
    for number in range(6):
        run = Run(request(), tmp_path / f"r{number}")
        run.folder.mkdir()
        if number:
            run.mark_reported()
            os.utime(run.folder / "reported", ns=(0, 10 - number))

    assert forget_oldest(tmp_path, 2) == 3
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["r0", "r1", "r2"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'{"id": "r1"}',
        json.dumps(EVENT | {"data": None}).encode(),
        json.dumps(EVENT | {"id": ""}).encode(),
        json.dumps(EVENT | {"id": 7}).encode(),
        json.dumps(EVENT | {"id": "x" * 513}).encode(),
        json.dumps(EVENT | {"id": "a\0b"}).encode(),
        json.dumps(EVENT | {"id": "\ud800"}).encode(),
        json.dumps(EVENT | {"data": {"version": "7"}}).encode(),
    ],
)
def test_what_is_no_request_is_said_to_be_none(value: bytes | None) -> None:
    with pytest.raises(Unusable):
        read_request(value)


def test_events_of_other_types_are_nobody_s_mistake() -> None:
    assert read_request(b'{"type": "driftline.drift.detected"}') is None


def test_any_id_gets_a_folder_of_its_own_within_the_state(tmp_path: Path) -> None:
    names = ["r1", "R1", "..", ".", "a/b", "/etc", "é", "x" * 512, "=r1", "r1 "]

    folders = {read.folder for name in names if (read := Run.of(_named(name), tmp_path))}

    assert len(folders) == len(names)
    assert {folder.parent for folder in folders} == {tmp_path}


def _named(name: str) -> RetrainingRequest:
    found = read_request(json.dumps(EVENT | {"id": name}).encode())
    assert found is not None
    return found


def test_a_command_is_told_in_variables_what_the_request_says_and_no_value_breaks_them() -> None:
    window = {"from": "2024-01-01T00:00:00Z", "to": "2024-01-02T00:00:00Z"}
    told = environment(request(lineage={"recommended_window": window, "registry_uri": "models:/m/7"}), 2, "/f")
    assert told == {
        "DRIFTLINE_REQUEST_ID": "r1",
        "DRIFTLINE_REQUEST_FILE": "/f",
        "DRIFTLINE_EPISODE_ID": "e",
        "DRIFTLINE_MODEL": "m",
        "DRIFTLINE_VERSION": "7",
        "DRIFTLINE_KIND": "drift",
        "DRIFTLINE_REGISTRY_URI": "models:/m/7",
        "DRIFTLINE_TRAIN_FROM": window["from"],
        "DRIFTLINE_TRAIN_TO": window["to"],
        "DRIFTLINE_ATTEMPT": "2",
    }

    odd = environment(request(kind="a\0\ud800" + "x" * 9_000, severity=["no text"], lineage=7), 1, "/f")
    assert odd["DRIFTLINE_KIND"] == "a\N{REPLACEMENT CHARACTER}?" + "x" * 3_997
    assert not {"DRIFTLINE_SEVERITY", "DRIFTLINE_TRAIN_FROM"} & odd.keys()
