"""Is a request run once and told in full, whichever effect of the consumer is its last one?"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from kafka import TopicPartition

from retraining.channel import Channel, Taken
from retraining.consumer import Consumer
from retraining.runs import Run, Work
from retraining.statuses import Status, status_id

PLACE = TopicPartition("requests", 0)
EFFECTS = ("publish started", "begin", "publish succeeded", "mark_reported", "commit")


class Crash(BaseException):
    """The consumer dies here."""


@dataclass
class Log:
    """Kafka, as far as a consumer sees it; it outlives consumers."""

    messages: list[bytes]
    committed: int = 0
    published: list[Status] = field(default_factory=list)


@dataclass
class LogChannel:
    """One consumer's ends of the log, one of whose effects may be its last."""

    log: Log
    crash: Callable[[str], None]
    next: int = 0

    def __post_init__(self) -> None:
        self.next = self.log.committed

    def take(self) -> Taken | None:
        if self.next == len(self.log.messages):
            return None
        self.next += 1
        return Taken(PLACE, self.next - 1, self.log.messages[self.next - 1])

    def idle(self) -> None:
        threading.Event().wait(0.02)

    def publish(self, status: Status) -> bool:
        self.crash(f"before publish {status.state}")
        self.log.published.append(status)
        self.crash(f"after publish {status.state}")
        return True

    def commit(self, taken: Taken) -> None:
        self.crash("before commit")
        self.log.committed = taken.offset + 1
        self.crash("after commit")

    def is_at_end(self) -> bool:
        return self.next == len(self.log.messages)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", EFFECTS)
def test_a_crash_before_or_after_any_effect_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effect: str, when: str
) -> None:
    event = {"type": "driftline.retraining.requested", "id": "r1", "data": {"model": "m", "version": "v1"}}
    log = Log([json.dumps(event).encode()] * 2)  # the request comes twice
    last = {f"{when} {effect}"}

    def crash(at: str) -> None:
        if at in last:
            last.clear()
            raise Crash

    keepers: list[Any] = []
    for name in ("begin", "mark_reported"):
        monkeypatch.setattr(Run, name, _crashing(getattr(Run, name), name, crash, keepers))
    runs = tmp_path / "runs"
    runs.mkdir()
    command = ("sh", "-c", f"echo run >> {tmp_path}/ran; sleep 0.2; echo '{{\"version\": 8}}'")

    def consumer() -> Consumer:
        channel = cast(Channel, LogChannel(log, crash))
        return Consumer(channel, Work(command, None, 60_000), runs, (), threading.Event())

    with pytest.raises(Crash):
        consumer().serve(once=True)
    consumer().serve(once=True)
    for begun in keepers:
        begun.wait()

    assert (tmp_path / "ran").read_text() == "run\n"
    assert log.committed == 2
    assert {(status.state, status.attempt, status.new_version) for status in log.published} == {
        ("started", 1, None),
        ("succeeded", 1, "8"),
    }
    # What was published again can be told by its id; nothing is published again that was known to be.
    again = len(log.published) - len({status_id(status) for status in log.published})
    published_in_vain = (when, effect) in {
        ("after", "publish started"),
        ("before", "begin"),
        ("after", "publish succeeded"),
        ("before", "mark_reported"),
    }
    assert again == published_in_vain


def _crashing(
    effect: Callable[..., Any], name: str, crash: Callable[[str], None], keepers: list[Any]
) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        crash(f"before {name}")
        done = effect(*arguments)
        if done is not None:
            keepers.append(done)
        crash(f"after {name}")
        return done

    return wrapped
