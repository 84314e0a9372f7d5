"""Does the probe of a worker tell alive from gone, ended and elsewhere?"""

import os
import socket

import pytest

from driftline.doctor.probe import check_worker_here
from driftline.errors import ServiceUnavailableError
from driftline.settings import PostgresSettings
from driftline.store.connection import Connection

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize(
    ("host", "state", "seconds_ago", "alive"),
    [
        (socket.gethostname(), "running", 3, True),
        (socket.gethostname(), "running", 31, False),
        (socket.gethostname(), "stopped", 3, False),
        ("elsewhere", "running", 3, False),
    ],
)
async def test_a_worker_is_alive_where_it_was_seen_lately_on_this_host(
    connection: Connection, postgres_url: str, host: str, state: str, seconds_ago: int, alive: bool
) -> None:
    await connection.execute(
        "insert into driftline.worker (worker_id, host, pid, state, seen_at)"
        " values ('w', %s, %s, %s, now() - make_interval(secs => %s))",
        [host, os.getpid(), state, seconds_ago],
    )
    settings = PostgresSettings(url=postgres_url)

    if alive:
        assert "worker w of" in await check_worker_here(settings)
    else:
        with pytest.raises(ServiceUnavailableError, match="no worker of this host was seen in the last 30s"):
            await check_worker_here(settings)


async def test_a_database_without_the_schema_is_no_sign_of_life(postgres_url: str) -> None:
    with pytest.raises(ServiceUnavailableError):
        await check_worker_here(PostgresSettings(url=postgres_url))
