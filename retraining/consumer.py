"""`python -m retraining.consumer`: runs a command, or posts to a URL, once for each request to retrain a model.

Of each request, in this order: its folder is made; `started` is published; the run is begun, by a keeper that outlives
us; its result is published; its position in the topic is committed. Whoever dies between two of these leaves a folder
that says where to go on. Invariants: a request that comes again is not run again; while a run goes on, nothing else is
taken and membership of the group is kept; a message that is no request is told, and passed over.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from driftline.errors import ConfigurationError, StateError
from driftline.settings import KafkaSettings, load_settings
from driftline.settings.values import parse_duration_ms
from driftline.telling import TellingCommand
from retraining import keeper
from retraining.channel import Channel, Ends, Taken, open_channel
from retraining.inbox import RetrainingRequest, Unusable, file_name, read_request
from retraining.runs import Progress, Run, Work, forget_oldest, next_step

_log = logging.getLogger("driftline.retraining")

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
DEFAULT_GROUP = "driftline-retraining"
TELL_S = (10.0, 300.0)
"""When it is told that a run goes on, first and then again."""
PATIENCE_S = 60.0
"""How long `--once` waits for a Kafka that goes away meanwhile; without it there is no end to waiting."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """The attempt that we began last."""

    request_id: str
    attempt: int
    keeper: subprocess.Popen[bytes]


@dataclass
class Consumer:
    """Carries out one request after the other.

    Parameters
    ----------
    runs
        Where the requests' folders are.
    models
        Whose requests are carried out; all if there are none.
    """

    channel: Channel
    work: Work
    runs: Path
    models: Collection[str]
    stopping: threading.Event
    _begun: _Begun | None = None

    def serve(self, *, once: bool) -> None:
        """Take requests until told to stop, or with `once` until all that is there is done."""
        heard = time.monotonic()
        while not self.stopping.is_set():
            taken = self.channel.take()
            if taken is not None:
                if self._handle(taken):
                    self.channel.commit(taken)
                heard = time.monotonic()
            elif once and self.channel.is_at_end():
                return
            elif once and time.monotonic() - heard > PATIENCE_S:
                raise self.channel.away(f"it can't be told within {PATIENCE_S:g} s whether all is read")

    def _handle(self, taken: Taken) -> bool:
        """Do what a message asks for; return whether it is done."""
        try:
            request = read_request(taken.value)
        except Unusable as error:
            place = f"{taken.place.topic}, partition {taken.place.partition}, offset {taken.offset}"
            _log.warning("%s: passed over, it is no request: %s", place, error)
            return True
        if request is None or (self.models and request.model not in self.models):
            return True
        try:
            return self._carry_out(request)
        except OSError as error:
            raise StateError(
                f"can't be used: {error.strerror or error}", where=str(self.runs), remedy="make room or give rights"
            ) from error

    def _carry_out(self, request: RetrainingRequest) -> bool:
        """Go from step to step until a request is done; return False if told to stop before."""
        run, tell_at = Run.of(request, self.runs), time.monotonic() + TELL_S[0]
        while not self.stopping.is_set():
            step = next_step(run.progress())
            if step == "done":
                if self._begun is not None:
                    self._begun.keeper.wait()  # it has let go of the lock, so it ends now
                forget_oldest(self.runs)
                return True
            if step == "wait":
                self.channel.idle()
                if time.monotonic() >= tell_at:
                    _log.info("%s: still running %s", _named(request), run.keeper_word())
                    tell_at = time.monotonic() + TELL_S[1]
                continue
            with run.lock() as lock:
                if lock is not None:
                    self._advance(run, run.progress_but_for_the_lock(), lock)
        return False

    def _advance(self, run: Run, progress: Progress, lock: int) -> None:
        """Take one step, as the only one who does."""
        step, request = next_step(progress), run.request
        told = _named(request)
        if step == "start":
            attempt = progress.attempts + 1
            begun, self._begun = self._begun, None
            if begun is not None and (begun.request_id, begun.attempt) == (request.request_id, attempt):
                raise StateError(
                    f"a run can't be begun: {run.keeper_word() or 'its keeper left no word'}", where=str(run.folder)
                )
            if self.channel.publish(run.started(attempt)):
                self._begun = _Begun(request.request_id, attempt, run.begin(self.work, attempt, lock))
                _log.info("%s: started, attempt %s, in %s", told, attempt, run.folder)
        elif step == "give_up":
            run.give_up(progress.attempts)
        elif step == "report" and progress.result is not None and self.channel.publish(run.finished(progress.result)):
            run.mark_reported()
            _log.info("%s: %s: %s", told, progress.result.state, progress.result.outcome)


def _named(request: RetrainingRequest) -> str:
    return f"request {request.request_id} of model {request.model} {request.version}"


@click.command(cls=TellingCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--run", "command", metavar="COMMAND", help="Run this for each request. No shell reads it.")
@click.option("--post", "url", metavar="URL", help="Or post each request to this URL.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Take servers, security and topics from here.  [default: monitor.yaml, where no servers are given]",
)
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="The Kafka servers.")
@click.option("--topic", help="Where requests are read.  [default: driftline.retraining]")
@click.option("--status-topic", help="Where is told what became of them.  [default: driftline.retraining-status]")
@click.option("--models", metavar="A,B", help="Carry out the requests of these models only.  [default: all]")
@click.option(
    "--group",
    help=f"The consumer group: its members share the requests.  [default: {DEFAULT_GROUP}, with the --models behind]",
)
@click.option(
    "--state",
    default="retraining-runs",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where is kept what was run. Keep it: it is what stops a request from being run twice.",
)
@click.option(
    "--timeout",
    default="6h",
    show_default=True,
    metavar="DURATION",
    help="End a command, or stop posting, after this long.",
)
@click.option("--once", is_flag=True, help="Do what is there, and end.")
def main(
    command: str | None,
    url: str | None,
    config: Path | None,
    bootstrap_servers: str | None,
    topic: str | None,
    status_topic: str | None,
    models: str | None,
    group: str | None,
    state: Path,
    timeout: str,
    once: bool,
) -> None:
    """Retrain when Driftline asks for it: run a command, or post to a URL, once for each request.

    The command gets the request as JSON on standard input, and in variables such as DRIFTLINE_REQUEST_ID,
    DRIFTLINE_MODEL, DRIFTLINE_VERSION, DRIFTLINE_TRAIN_FROM and DRIFTLINE_TRAIN_TO. Exit code 0 means that it
    succeeded; if its last line of output is JSON with a "version", that is told as the new version. What became of a
    request shows in Driftline's view v_retraining.

    \b
      python -m retraining.consumer --run "python train.py" --bootstrap-servers kafka:9092
      python -m retraining.consumer --post https://ci.example/retrain --config monitor.yaml

    A run goes on if this process is stopped or killed; start it again and it finds the run. SIGTERM ends it with 0.

    Exit codes: 0 stopped, or with --once all done; 2 the arguments or the configuration are wrong; 3 a topic or a right
    is missing, or the state can't be used; 4 Kafka could not be reached in time.
    """  # noqa: D301 - click knows a paragraph that is not to be wrapped by its backspace
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    logging.getLogger("kafka").propagate = False  # what it says ends in our errors
    work = _work(command, url, timeout)
    wanted = [] if models is None else sorted({name.strip() for name in models.split(",")} - {""})
    kafka = _kafka(config, bootstrap_servers)
    ends = Ends(
        kafka.bootstrap_servers,
        kafka.security,
        topic or kafka.topics.retraining,
        status_topic or kafka.topics.retraining_status,
        group or "-".join([DEFAULT_GROUP, *wanted])[:200],
        kafka.session_timeout_ms,
        kafka.heartbeat_ms,
    )
    runs = _folder(state / file_name(ends.group))
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with open_channel(ends, stopping, PATIENCE_S if once else math.inf) as channel:
        click.echo(f"waiting for requests on {ends.topic} at {ends.bootstrap_servers}, group {ends.group}", err=True)
        Consumer(channel, work, runs, wanted, stopping).serve(once=once)


def _work(command: str | None, url: str | None, timeout: str) -> Work:
    """Check what is to be done for a request."""
    if (command is None) == (url is None):
        raise ConfigurationError("expected either --run COMMAND or --post URL", remedy="see --help")
    try:
        timeout_ms = parse_duration_ms(timeout)
    except ValueError as error:
        raise ConfigurationError(f"--timeout {error}") from None
    if timeout_ms == 0:
        raise ConfigurationError("--timeout must be more than 0s")
    return Work(() if command is None else _words(command), None if url is None else _checked_url(url), timeout_ms)


def _words(command: str) -> tuple[str, ...]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"--run can't be split into words: {str(error).lower()}") from None
    if not words:
        raise ConfigurationError("--run is empty")
    if shutil.which(words[0]) is None:
        raise ConfigurationError(
            f"--run: there is no command {words[0]}", remedy="name one that is on the PATH, or its whole path"
        )
    return tuple(words)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError("--post must be a URL such as https://host/path, without a user or password in it")
    return url


def _kafka(config: Path | None, bootstrap_servers: str | None) -> KafkaSettings:
    """Take Kafka's settings from the configuration, and the servers from the command line if they are given."""
    if config is None and bootstrap_servers is not None:
        return KafkaSettings(bootstrap_servers=bootstrap_servers)
    config = config or Path("monitor.yaml")
    kafka = load_settings(config, os.environ).kafka
    if kafka is None:
        raise ConfigurationError("has no kafka section", where=str(config), remedy="give --bootstrap-servers HOST:PORT")
    return kafka if bootstrap_servers is None else kafka.model_copy(update={"bootstrap_servers": bootstrap_servers})


def _folder(folder: Path) -> Path:
    """Make the folder of the runs, and make sure that it can be written and locked."""
    probe = folder / ".probe"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keeper.write_atomically(probe, b"")
        with probe.open("rb") as file:
            keeper.locked(file.fileno())
        with suppress(FileNotFoundError):
            probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"can't be used: {error.strerror or error}", where=str(folder), remedy="give another --state"
        ) from None
    return folder


if __name__ == "__main__":
    main(prog_name="python -m retraining.consumer")
