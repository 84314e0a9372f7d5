"""Which services does a benchmark run against?

The ones tests use: a real Kafka, and a real Postgres, here one that syncs every commit to the disk. Invariants: a mock
broker is refused; what we started is known by its processes, so that its use of the machine can be told; what somebody
else runs (`DRIFTLINE_TEST_KAFKA`, `DRIFTLINE_TEST_POSTGRES_URL`) is measured without that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import psutil

from driftline.embedded import embedded_postgres
from tests.support.kafka import Broker, OwnBroker, own_broker, shared_broker

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """A broker and a database server.

    Parameters
    ----------
    postgres_url
        Of a user who may create databases.
    processes
        The first process of each one that is ours: `broker`, `database`.
    """

    broker: Broker
    postgres_url: str
    processes: Mapping[str, psutil.Process]


@contextmanager
def services() -> Iterator[Services]:
    """Run both for as long as this context lasts.

    Raises
    ------
    MissingServiceError
        There is no real Kafka.
    """
    with ExitStack() as running:
        broker, broker_process = with_process(_real_broker)
        running.callback(_throw_away, broker)
        own_url = os.environ.get("DRIFTLINE_TEST_POSTGRES_URL")
        server = embedded_postgres(durable=True) if own_url is None else nullcontext(own_url)
        url, database_process = with_process(lambda: running.enter_context(server))
        processes = {"broker": broker_process, "database": database_process}
        yield Services(broker, url, {name: process for name, process in processes.items() if process})


def _real_broker() -> Broker:
    return shared_broker() if "DRIFTLINE_TEST_KAFKA" in os.environ else own_broker()


def _throw_away(broker: Broker) -> None:
    """End a broker of ours at once: nobody wants what it keeps."""
    if isinstance(broker, OwnBroker):
        broker.kill()
    broker.stop()


def with_process(start: Callable[[], T]) -> tuple[T, psutil.Process | None]:
    """Start something, and tell which process of ours it runs in, if any."""
    me = psutil.Process()
    before = set(me.children())
    started = start()
    new = [process for process in me.children() if process not in before]
    return started, new[0] if new else None
