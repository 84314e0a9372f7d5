"""Is a fault that did not come about told as that, after some tries, and never as passed?"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tests.chaos import __main__ as program
from tests.chaos import faults
from tests.chaos.compare import Difference
from tests.chaos.faults import FAULTS, NotMadeError
from tests.chaos.world import World

CAUGHT = ("worker-stopped-with-locks", "worker-stopped-sending")


@dataclass
class Worker:
    """What it was told."""

    signals: list[signal.Signals] = field(default_factory=list)

    def signal(self, what: signal.Signals) -> None:
        self.signals.append(what)


@dataclass
class Sent:
    """A world whose second worker soon has all partitions, and in which stops meet so many transactions."""

    open_at: Iterator[int]
    workers: list[Worker] = field(default_factory=lambda: [Worker(), Worker()])
    notes: list[str] = field(default_factory=list)

    @property
    def monitor(self) -> Sent:
        return self

    url = ""

    def share(self, at: int) -> list[int]:
        return [at]

    def ends(self) -> dict[int, int]:
        return {0: 0}

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return [(0,)] * (next(self.open_at) if "idle in transaction" in query else 1)


@contextmanager
def blocker(*_: object) -> Iterator[Any]:
    class Nothing:
        def execute(self, statement: str) -> None: ...

    yield Nothing()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(faults.psycopg, "connect", blocker)


@pytest.mark.parametrize("name", CAUGHT)
def test_a_worker_is_stopped_again_until_a_transaction_stays_open(name: str) -> None:
    world = Sent(iter([0, 0, 2]))

    FAULTS[name].make(cast(World, world))

    assert world.workers[0].signals == [signal.SIGSTOP, signal.SIGCONT] * 3
    assert world.notes == ["stopped 3 times until 2 transactions were open"]


@pytest.mark.parametrize("name", CAUGHT)
def test_one_that_is_never_caught_inside_a_transaction_goes_on_and_that_is_told(name: str) -> None:
    world = Sent(iter([0] * 1000))

    with pytest.raises(NotMadeError, match="never inside a transaction"):
        FAULTS[name].make(cast(World, world))

    assert world.workers[0].signals[-1] == signal.SIGCONT


def test_a_fault_that_could_not_be_made_is_failed_and_not_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def running(*_: object, **__: object) -> Iterator[Sent]:
        yield Sent(iter([0] * 1000))

    monkeypatch.setattr(program, "running_services", running)
    monkeypatch.setattr(program, "running_world", running)
    monkeypatch.setattr(program, "end_in_order_when_told", lambda: None)
    monkeypatch.setattr(program, "recovery_of", lambda world: (1.0, 2.0))
    monkeypatch.setattr(program, "compare", lambda world: Difference(0, 0, 0, 0, {}))

    code = program.main(["--faults", "worker-stopped,worker-stopped-sending"])

    told = capsys.readouterr().out.splitlines()
    assert code == 1
    assert "| could not be made: stopped 400 times, and never inside a transaction |" in told[-2]
    assert told[-1] == "1 passed, 1 failed, 0 not possible here"
