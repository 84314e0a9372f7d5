"""What may any test ask for, and what is said when it cannot be had?

Services are started once a session, when the first test asks. A missing one skips its tests and is named, with what
it would have shown and what to install, in the last lines; with ``CI=true`` it fails them instead.
"""

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import kafka, postgres
from tests.support.services import MissingServiceError
from tests.support.services import free_port as find_free_port

PROJECT = Path(__file__).parents[1]
NOT_SHOWN = pytest.StashKey[dict[str, list[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Let a polite end (SIGTERM, as `timeout` and CI send) stop the services, as Ctrl-C does."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    config.stash[NOT_SHOWN] = {}
    signal.signal(signal.SIGTERM, interrupt)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    """Say last, and loudly, what this run did not show."""
    yield
    for reason, tests in config.stash[NOT_SHOWN].items():
        terminalreporter.section("NOT SHOWN BY THIS RUN", sep="!", red=True)
        terminalreporter.line(reason)
        for test in tests:
            terminalreporter.line(f"  {test}")


def not_shown(request: pytest.FixtureRequest, reason: str) -> NoReturn:
    """Skip this test for want of something outside, and remember to say so."""
    request.config.stash[NOT_SHOWN].setdefault(reason, []).append(request.node.nodeid)
    pytest.skip(reason)


def service_missing(request: pytest.FixtureRequest, missing: MissingServiceError) -> NoReturn:
    """Fail where everything must be shown, else skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{missing} (CI=true)", pytrace=False)
    not_shown(request, str(missing))


@pytest.fixture(scope="session")
def broker() -> Iterator[kafka.Broker]:
    """The session's Kafka; a mock where there is none and it need not be real."""
    broker = kafka.shared_broker()
    yield broker
    broker.stop()


@pytest.fixture
def own_broker(request: pytest.FixtureRequest) -> Iterator[kafka.OwnBroker]:
    """A real Kafka for this test alone, which may `kill()` and `start()` it."""
    try:
        broker = kafka.own_broker()
    except MissingServiceError as missing:
        service_missing(request, missing)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def topic_name() -> Callable[[str], str]:
    """Make a topic name that no other test and no earlier run has used, from a stem that says what it is for."""
    run, number = secrets.token_hex(4), count(1)
    return lambda stem: f"{stem}-{run}-{next(number)}"


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str | MissingServiceError]:
    """The session's Postgres server, as a user who may create databases; for most tests `postgres_url` is right."""
    with ExitStack() as services:
        try:
            server: str | MissingServiceError = services.enter_context(postgres.postgres_server())
        except MissingServiceError as missing:
            server = missing
        yield server


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres_server_url: str | MissingServiceError) -> Iterator[str]:
    """The URL of an empty database for this test alone."""
    if isinstance(postgres_server_url, MissingServiceError):
        service_missing(request, postgres_server_url)
    with postgres.fresh_database(postgres_server_url) as url:
        yield url


@pytest.fixture(autouse=True)
def _services_that_the_marks_demand(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("real_kafka"):
        missing = request.getfixturevalue("broker").missing
        if missing:
            service_missing(request, missing)
    if request.node.get_closest_marker("postgres"):
        server = request.getfixturevalue("postgres_server_url")
        if isinstance(server, MissingServiceError):
            service_missing(request, server)


@pytest.fixture
def free_port() -> int:
    """A loopback TCP port that nobody listens on."""
    return find_free_port()


@pytest.fixture(scope="session")
def project() -> Path:
    """The folder that holds the Makefile."""
    return PROJECT


@pytest.fixture
def shared_data(request: pytest.FixtureRequest) -> Path:
    """The folder of public data sets, which is no part of the project: ``DRIFTLINE_SHARED_DATA`` or ../shared/data."""
    folder = Path(os.environ.get("DRIFTLINE_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        not_shown(request, f"the public data sets are missing: no folder {folder}; set DRIFTLINE_SHARED_DATA")
    return folder
