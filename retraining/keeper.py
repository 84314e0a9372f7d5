"""Who waits for a retraining when whoever asked for it is gone? This process, one for each attempt.

Run as a script of its own, with nothing but the standard library, so that it is small and quick. What to do comes as
JSON on standard input; the arguments are the request's folder and the descriptor of its lock, which is held from before
this process began until it ends, however it ends. Invariants:

* a request whose folder has a `result.json` is finished, and the first result stays;
* an attempt that has begun has an `attempt-N.json`; without a result and without the lock it was broken off;
* before an attempt begins, what is left of a broken one is ended: no two attempts run at once;
* the command gets its own process group, which is ended as a whole when its time is up;
* of its output no more than `TAIL_BYTES` of each stream are kept.

A keeper that is told to stop (SIGTERM, when the machine goes down) ends its command and leaves no result.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, NamedTuple

REQUEST = "request.json"
RESULT = "result.json"
LOCK = "lock"
ALIVE = "alive"
"""Held by a command and all that it starts, so that it is noticed when its keeper was killed."""

TAIL_BYTES = 32 * 1024
OUTCOME_CHARACTERS_MAX = 1_000
VERSION_CHARACTERS_MAX = 200
TICK_S = 0.1
DRAIN_S = 1.0
GRACE_S = 5.0
POST_S_MAX = 30.0
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
TRY_LATER = frozenset({408, 425, 429})
OK = range(200, 300)
SERVER_ERROR = 500

_told_to_stop = False


class Ended(NamedTuple):
    """What an attempt came to."""

    succeeded: bool
    outcome: str
    stdout: str = ""
    stderr: str = ""


def attempt_path(folder: Path, attempt: int) -> Path:
    """Where it stands that an attempt has begun; attempts count from 1."""
    return folder / f"attempt-{attempt}.json"


def write_atomically(path: Path, content: bytes, *, is_first: bool = False) -> bool:
    """Write a file whole or not at all.

    Parameters
    ----------
    is_first
        Leave a file that is there already as it is.

    Returns
    -------
    bool
        Whether the file now holds this content.
    """
    if is_first and path.exists():
        return False
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if not is_first:
        unfinished.replace(path)
        return True
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()
    return True


def finish(folder: Path, attempt: int, ended: Ended) -> bool:
    """Write down what a request came to, unless that is known already; return whether it was not."""
    result = {
        "state": "succeeded" if ended.succeeded else "failed",
        "attempt": attempt,
        "at_ms": time.time_ns() // 1_000_000,
        "outcome": printable(ended.outcome)[:OUTCOME_CHARACTERS_MAX],
        "new_version": new_version(ended.stdout) if ended.succeeded else None,
        "stdout": ended.stdout,
        "stderr": ended.stderr,
    }
    return write_atomically(folder / RESULT, json.dumps(result).encode(), is_first=True)


def printable(text: str) -> str:
    r"""Replace what is no printable character.

    Examples
    --------
    >>> printable("50\x00%\x1b[0m")
    '50�%�[0m'
    """
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def last_line(text: str) -> str:
    r"""Return the last line that says something.

    Examples
    --------
    >>> last_line("one\ntwo\n\n")
    'two'
    """
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def new_version(text: str) -> str | None:
    r"""Return the `version` of a last line that is a JSON object, if there is one.

    Examples
    --------
    >>> new_version('fitting\n{"version": 8}\n'), new_version("version 8")
    ('8', None)
    """
    try:
        found = json.loads(last_line(text))
    except (ValueError, RecursionError):
        return None
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, bool) or not isinstance(version, str | int | float):
        return None
    return printable(str(version))[:VERSION_CHARACTERS_MAX] or None


def main(folder: Path) -> None:
    """Run one attempt and write down its result."""
    try:
        job = json.load(sys.stdin.buffer)
    except ValueError:  # who started us is gone before it had said what to do
        return
    for number in (signal.SIGINT, signal.SIGHUP):
        # A handler is not passed on to the command, as a signal that is ignored would be.
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGTERM, _note_stop)
    attempt = int(job["attempt"])
    alive = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT, 0o600)
    _end_what_is_left(folder, attempt - 1, alive, job["timeout_s"])
    begun = {"attempt": attempt, "started_at_ms": time.time_ns() // 1_000_000, "keeper": os.getpid(), "at": _place()}
    write_atomically(attempt_path(folder, attempt), json.dumps(begun).encode())
    ended = _run(folder, job, begun, alive) if job["command"] else _post(folder, job)
    if ended is not None:
        finish(folder, attempt, ended)


def _note_stop(*_: object) -> None:
    global _told_to_stop
    _told_to_stop = True


def _end_what_is_left(folder: Path, attempt: int, alive: int, timeout_s: float) -> None:
    """End the command of an attempt whose keeper was killed; nobody would learn what came of it.

    In another container its number would be another process's here, so there its end is waited for.
    """
    if locked(alive):
        return
    left: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        left = json.loads(attempt_path(folder, attempt).read_bytes())
    is_here = left.get("at") == _place()
    until = time.monotonic() + (GRACE_S if is_here else timeout_s)
    if is_here and "group" in left:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(left["group"], signal.SIGKILL)
    while not locked(alive) and time.monotonic() < until and not _told_to_stop:
        time.sleep(TICK_S)


def _place() -> str:
    """Name the machine, and the container if there is one, in which the numbers of processes mean what they do here."""
    with suppress(OSError):
        return f"{os.uname().nodename} {Path('/proc/self/ns/pid').readlink()}"
    return os.uname().nodename


def locked(file: int, *, shared: bool = False) -> bool:
    """Lock an open file if nobody else has; return whether it is ours now."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _run(folder: Path, job: dict[str, Any], begun: dict[str, Any], alive: int) -> Ended | None:
    """Run the command; None if we were told to stop before it ended."""
    until = time.monotonic() + job["timeout_s"]
    try:
        with (folder / REQUEST).open("rb") as request:
            command = subprocess.Popen(  # noqa: S603 - what the user asked for, without a shell
                job["command"],
                stdin=request,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[alive],
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        return Ended(False, f"can't be started: {getattr(error, 'strerror', None) or error}")
    write_atomically(attempt_path(folder, begun["attempt"]), json.dumps({**begun, "group": command.pid}).encode())
    assert command.stdout is not None
    assert command.stderr is not None
    tails = _Tails(command.stdout, command.stderr)
    while command.poll() is None and time.monotonic() < until and not _told_to_stop:
        tails.read(TICK_S)
    in_time = command.poll() is not None
    if not in_time:
        _end_group(command, tails)
    tails.drain()
    if _told_to_stop and not in_time:
        return None
    stdout, stderr = tails.texts()
    said = last_line(stderr) or last_line(stdout)
    if not in_time:
        return Ended(False, _joined(f"was ended after {job['timeout_s']:g} s", said), stdout, stderr)
    if command.returncode == 0:
        return Ended(True, last_line(stdout) or "done", stdout, stderr)
    return Ended(False, _joined(_exit_text(command.returncode), said), stdout, stderr)


def _joined(what: str, said: str) -> str:
    return f"{what}: {said}" if said else what


def _exit_text(code: int) -> str:
    if code > 0:
        return f"exited with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _end_group(command: subprocess.Popen[bytes], tails: _Tails) -> None:
    """End the command and all that is in its group: politely, then at once."""
    until = time.monotonic() + GRACE_S
    with suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGTERM)
    while command.poll() is None and time.monotonic() < until:
        tails.read(TICK_S)
    with suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGKILL)
    command.wait()


class _Tails:
    """The ends of two streams, read as they come, so that a command that says much is never held up."""

    def __init__(self, *streams: IO[bytes]) -> None:
        self._selector = selectors.DefaultSelector()
        self._tails = {stream: bytearray() for stream in streams}
        for stream in streams:
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)

    def read(self, wait_s: float) -> bool:
        """Read what there is, waiting a little; return whether there was anything."""
        if not self._selector.get_map():
            time.sleep(wait_s)
            return False
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            stream: Any = key.fileobj
            content = os.read(stream.fileno(), 65_536)
            if not content:
                self._selector.unregister(stream)
            self._tails[stream] += content
            del self._tails[stream][:-TAIL_BYTES]
        return bool(ready)

    def drain(self) -> None:
        """Read what is left; whoever inherited the streams and goes on is not waited for."""
        until = time.monotonic() + DRAIN_S
        while self._selector.get_map() and time.monotonic() < until and self.read(0):
            continue

    def texts(self) -> list[str]:
        return [bytes(tail).decode("utf-8", "replace") for tail in self._tails.values()]


class _AsAnswered(urllib.request.HTTPErrorProcessor):
    """Takes every answer for what it is: a redirect is not followed, a refusal is no exception."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    https_response = http_response


def _post(folder: Path, job: dict[str, Any]) -> Ended | None:
    """Post the request until a receiver takes or refuses it, or time is up; None if we were told to stop."""
    host = urllib.parse.urlsplit(job["url"]).hostname
    body = (folder / REQUEST).read_bytes()
    opener = urllib.request.build_opener(_AsAnswered)
    until, tries = time.monotonic() + job["timeout_s"], 0
    while True:
        tries += 1
        status, said = _post_once(opener, job, body, min(POST_S_MAX, until - time.monotonic()))
        answer = _joined(f"{host} answered {status}" if status else f"{host} did not answer", last_line(said))
        if status in OK:
            return Ended(True, answer, said)
        if status and status < SERVER_ERROR and status not in TRY_LATER:
            return Ended(False, answer, said)
        again = time.monotonic() + BACK_OFF_S[min(tries, len(BACK_OFF_S)) - 1]
        if again >= until:
            return Ended(False, f"given up after {tries} tries in {job['timeout_s']:g} s; {answer}", said)
        print(f"{answer}; trying again", file=sys.stderr, flush=True)
        while time.monotonic() < again:
            if _told_to_stop:
                return None
            time.sleep(TICK_S)


def _post_once(
    opener: urllib.request.OpenerDirector, job: dict[str, Any], body: bytes, seconds: float
) -> tuple[int, str]:
    """Post once; the status is 0 without an answer."""
    headers = {
        "content-type": "application/cloudevents+json; charset=UTF-8",
        "webhook-id": job["request_id"],
        "webhook-timestamp": str(int(time.time())),
    }
    # A receiver that sends a byte now and then would keep a socket's own timeout from ever passing.
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, TICK_S))
    try:
        request = urllib.request.Request(job["url"], body, headers)  # noqa: S310 - its scheme was checked at start
        with opener.open(request, timeout=POST_S_MAX) as answer:
            return int(answer.status), answer.read(TAIL_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return 0, str(reason) or type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_long(*_: object) -> None:
    raise TimeoutError("timed out")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
