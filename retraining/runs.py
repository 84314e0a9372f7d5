"""How far is each request, and what is to be done next? Every request has a folder, which outlives all processes.

Invariants: what is known is read from the folder only, so a consumer may die at any line; a run is begun, and its
result reported, by who holds the folder's lock, and its keeper inherits the lock; a request with a result is never run
again; the number of folders is bounded, and the ones forgotten first are those that were reported longest ago.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from driftline.errors import StateError
from retraining import keeper
from retraining.inbox import RetrainingRequest, environment, file_name
from retraining.statuses import State, Status

ATTEMPTS_MAX = 3
"""How often a run is begun that is broken off each time: by a crash of the machine, for instance."""

FOLDERS_MAX = 10_000
KEEPER_LOG = "keeper.log"
_REPORTED = "reported"

Step = Literal["wait", "report", "done", "give_up", "start"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a request came to."""

    state: State
    attempt: int
    at_ms: int
    outcome: str
    new_version: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a folder says.

    Parameters
    ----------
    is_locked
        A run is going on, or somebody is about to begin one or to report one.
    attempts
        How many runs have begun.
    is_reported
        The result was published.
    """

    is_locked: bool = False
    attempts: int = 0
    result: Result | None = None
    is_reported: bool = False


def next_step(progress: Progress) -> Step:
    """Say what is to be done for a request.

    Examples
    --------
    >>> next_step(Progress()), next_step(Progress(is_locked=True)), next_step(Progress(attempts=ATTEMPTS_MAX))
    ('start', 'wait', 'give_up')
    """
    if progress.is_reported:
        return "done"
    if progress.is_locked:
        return "wait"
    if progress.result is not None:
        return "report"
    return "give_up" if progress.attempts >= ATTEMPTS_MAX else "start"


@dataclass(frozen=True, slots=True)
class Work:
    """What is done for a request: a command, or else a URL to which it is posted.

    Parameters
    ----------
    command
        A program and its arguments; no shell reads them.
    timeout_ms
        When a command is ended, or no more posts are tried.
    """

    command: tuple[str, ...]
    url: str | None
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Run:
    """One request and its folder."""

    request: RetrainingRequest
    folder: Path

    @classmethod
    def of(cls, request: RetrainingRequest, runs: Path) -> Run:
        """Make the folder, or find it."""
        folder = runs / file_name(request.request_id)
        folder.mkdir(mode=0o700, exist_ok=True)
        keeper.write_atomically(folder / keeper.REQUEST, request.body, is_first=True)
        return cls(request, folder)

    def progress(self) -> Progress:
        """Read how far it is."""
        # The lock first: who let it go before had written what there was to write.
        with self.lock(shared=True) as lock:
            is_locked = lock is None
        return replace(self.progress_but_for_the_lock(), is_locked=is_locked)

    def progress_but_for_the_lock(self) -> Progress:
        """Read how far it is, for who holds the lock."""
        attempts = sum(keeper.attempt_path(self.folder, number).exists() for number in range(1, ATTEMPTS_MAX + 1))
        return Progress(False, attempts, self._result(), (self.folder / _REPORTED).exists())

    def _result(self) -> Result | None:
        file = self.folder / keeper.RESULT
        try:
            told = json.loads(file.read_bytes())
            return Result(told["state"], told["attempt"], told["at_ms"], told["outcome"], told["new_version"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise StateError(
                "can't be read", where=str(file), remedy="look at the disk; remove it to run again"
            ) from None

    @contextmanager
    def lock(self, *, shared: bool = False) -> Iterator[int | None]:
        """Hold the lock for a while, or None if somebody else does."""
        file = os.open(self.folder / keeper.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield file if keeper.locked(file, shared=shared) else None
        finally:
            os.close(file)

    def begin(self, work: Work, attempt: int, lock: int) -> subprocess.Popen[bytes]:
        """Start an attempt's keeper, which holds the lock from now on."""
        job = {
            "request_id": self.request.request_id,
            "attempt": attempt,
            "command": work.command,
            "url": work.url,
            "timeout_s": work.timeout_ms / 1000,
        }
        variables = environment(self.request, attempt, str((self.folder / keeper.REQUEST).absolute()))
        with (self.folder / KEEPER_LOG).open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-I", "-S", keeper.__file__, str(self.folder.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **variables},
                pass_fds=[lock],
                start_new_session=True,
            )
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(job).encode())
        return process

    def keeper_word(self) -> str:
        """Return the last that a keeper said, which speaks only where something is in its way."""
        try:
            return keeper.last_line((self.folder / KEEPER_LOG).read_text("utf-8", "replace"))
        except FileNotFoundError:
            return ""

    def give_up(self, attempts: int) -> None:
        """Write down that it failed, because it was begun too often."""
        what = f"begun {attempts} times and broken off each time, by a crash or a kill of more than the consumer"
        keeper.finish(self.folder, attempts, keeper.Ended(False, what))

    def mark_reported(self) -> None:
        """Remember that the result was published."""
        (self.folder / _REPORTED).touch()

    def started(self, attempt: int) -> Status:
        """Return the status of an attempt that begins now."""
        return self._status("started", attempt, time.time_ns() // 1_000_000)

    def finished(self, result: Result) -> Status:
        """Return the status of a result."""
        return self._status(result.state, result.attempt, result.at_ms, result.outcome, result.new_version)

    def _status(
        self, state: State, attempt: int, at_ms: int, outcome: str = "", new_version: str | None = None
    ) -> Status:
        of = self.request
        return Status(of.request_id, of.episode_id, of.model, of.version, state, attempt, at_ms, outcome, new_version)


def forget_oldest(runs: Path, folders_max: int = FOLDERS_MAX) -> int:
    """Remove the folders that were reported longest ago, down to a number; return how many."""
    marks = [(mark.stat().st_mtime_ns, mark.parent) for mark in runs.glob(f"*/{_REPORTED}")]
    oldest = sorted(marks)[: max(0, len(marks) - folders_max)]
    for _, folder in oldest:
        shutil.rmtree(folder)
    return len(oldest)
