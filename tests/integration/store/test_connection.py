"""Does nobody wait for ever for Postgres, and is it said why it can't be had?"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from driftline.errors import ConfigurationError
from driftline.settings import PostgresSettings
from driftline.store import connection as module
from driftline.store.connection import SERVICE_TROUBLE, Connection, connect, open_pool
from tests.support.own_postgres import OwnPostgres
from tests.support.proxy import Proxy

pytestmark = pytest.mark.postgres

SILENCE_MS = 2_000
ENDS_S_MAX = 120


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as between:
        yield between


def impatient(url: str) -> PostgresSettings:
    return PostgresSettings(url=url, connect_timeout="2s", answer_timeout="1s", pool_size_max=3)


async def answer(pool: AsyncConnectionPool[Connection]) -> int:
    """Ask until there is an answer."""
    while True:
        try:
            async with pool.connection() as connection:
                found = await (await connection.execute("select 7")).fetchone()
                assert found is not None
                return int(found[0])
        except SERVICE_TROUBLE:
            await asyncio.sleep(0.05)


async def test_a_network_that_is_cut_is_noticed_by_the_kernel_within_half_a_minute(postgres_url: str) -> None:
    async with await connect(postgres_url) as connection, asyncio.timeout(ENDS_S_MAX):
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            options = {
                name: line.getsockopt(level, getattr(socket, name))
                for level, name in (
                    (socket.SOL_SOCKET, "SO_KEEPALIVE"),
                    (socket.IPPROTO_TCP, "TCP_KEEPIDLE"),
                    (socket.IPPROTO_TCP, "TCP_KEEPINTVL"),
                    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"),
                )
            }

    assert options == {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_USER_TIMEOUT": 30_000}


async def test_what_the_url_says_of_the_network_goes_before(postgres_url: str) -> None:
    async with await connect(f"{postgres_url}?keepalives_idle=77&application_name=mine") as connection:
        told = connection.info.get_parameters()

    assert (told["keepalives_idle"], told["application_name"]) == ("77", "mine")


async def test_a_statement_ends_when_nothing_comes_back_and_not_while_the_server_works(proxy: Proxy) -> None:
    async with asyncio.timeout(ENDS_S_MAX), await connect(proxy.url, silence_ms_max=SILENCE_MS) as connection:
        # Longer than the silence that is allowed, all together; a row is large, so that it is sent at once.
        await connection.execute("select pg_sleep(0.5), repeat('x', 100000) from generate_series(1, 5)")
        proxy.cut()
        with pytest.raises(psycopg.OperationalError, match="no answer for 2s: the connection is given up"):
            async with connection.transaction():
                await connection.execute("select 1")

    assert connection.closed


@pytest.mark.parametrize("sent", [1, 30_000_000])
async def test_a_transaction_ends_when_the_network_is_cut_in_its_middle(proxy: Proxy, sent: int) -> None:
    async with (
        asyncio.timeout(ENDS_S_MAX),
        await connect(proxy.url, silence_ms_max=SILENCE_MS) as connection,
        connection.transaction(),
    ):
        await connection.execute("select 1")
        proxy.cut()
        with pytest.raises(psycopg.OperationalError, match="no answer for 2s"):
            await connection.execute("select length(%s)", ["x" * sent])


async def test_a_pool_goes_on_over_new_connections_after_all_of_its_own_went_dead(proxy: Proxy) -> None:
    async with open_pool(proxy.url, impatient(proxy.url)) as pool, asyncio.timeout(ENDS_S_MAX):
        assert await asyncio.gather(*(answer(pool) for _ in range(6))) == [7] * 6
        proxy.cut()
        with pytest.raises(SERVICE_TROUBLE):
            async with pool.connection() as connection:
                await connection.execute("select 1")
        proxy.mend()
        made = proxy.made

        assert await asyncio.gather(*(answer(pool) for _ in range(6))) == [7] * 6

        assert proxy.made > made


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:hid%%den@db/ml", "is no URL that libpq understands"),
        ("postgresql://me:hidden/2@db/ml", "is no URL that libpq understands"),
        ("postgresql://me:hidden@2@db/ml", "is no URL that libpq understands"),
        ("postgresql://me:hidden@db/ml?poolsize=3", "is no URL that libpq understands"),
    ],
)
async def test_a_url_that_can_not_be_read_is_a_configuration_error_without_it(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        await connect(url)

    assert "hid" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("sslmode=foo", 'invalid sslmode value: "foo"'),
        ("sslnegotiation=direct", 'weak sslmode "prefer" may not be used with sslnegotiation=direct'),
        ("ssl_min_protocol_version=TLSv9", 'invalid "ssl_min_protocol_version" value: "TLSv9"'),
        ("target_session_attrs=none", 'invalid target_session_attrs value: "none"'),
        ("connect_timeout=10s", "bad value for connect_timeout: '10s'"),
        ("keepalives_idle=10s", 'invalid integer value "10s" for connection option "keepalives_idle"'),
        ("port=1,2", "could not match 2 port numbers to 1 hosts"),
        ("service=none", 'definition of service "none" not found'),
    ],
)
async def test_a_parameter_that_libpq_can_not_use_is_one_too_and_named_before_anybody_is_asked(
    written: str, told: str, free_port: int
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"can't connect: {told}")) as caught:
        await connect(f"postgresql://me:hidden@127.0.0.1:{free_port}/ml?{written}")

    assert "correct it in postgres.url" in str(caught.value)
    assert "hid" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("options=-c%20statement_timeot%3D1", 'unrecognized configuration parameter "statement_timeot"'),
        ("options=-c%20statement_timeout%3Dx", 'invalid value for parameter "statement_timeout": "x"'),
        ("options=-Q", "invalid command-line argument for server process: -Q"),
        ("client_encoding=none", 'invalid value for parameter "client_encoding": "none"'),
    ],
)
async def test_a_parameter_that_the_server_does_not_know_is_one_too(postgres_url: str, written: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"can't connect: {told}")):
        await connect(f"{postgres_url}?{written}")


async def test_what_no_other_try_can_mend_is_a_configuration_error_and_told_once_while_it_lasts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_S", 0.2)
    caplog.set_level(logging.INFO, "driftline.store")

    def told() -> list[str]:
        return [record.message for record in caplog.records if record.name == "driftline.store"]

    with OwnPostgres() as postgres, psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute("create role worker login password 'before'")
        at = urlsplit(postgres.url)
        url = urlunsplit(at._replace(netloc=f"worker:before@{at.netloc.rpartition('@')[2]}"))
        with pytest.raises(ConfigurationError, match='database "none" does not exist; correct the database'):
            await connect(urlunsplit(urlsplit(url)._replace(path="/none")))
        async with open_pool(url, impatient(url)) as pool, asyncio.timeout(ENDS_S_MAX):
            assert await answer(pool) == 7
            owner.execute("alter role worker password 'after'")
            with pytest.raises(
                ConfigurationError, match=r"password authentication failed .*; correct the user and the"
            ):
                await connect(url)
            while owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'worker'"
            ).rowcount:
                await asyncio.sleep(0.05)
            waiting = asyncio.create_task(answer(pool))
            with pytest.raises(SERVICE_TROUBLE):
                await pool.getconn()
            while not told():
                await asyncio.sleep(0.05)
            [once] = told()
            assert "password authentication failed" in once
            assert once.endswith("trying again until it works")
            assert "before" not in once
            owner.execute("alter role worker password 'before'")
            assert await waiting == 7
            assert told()[1:] == [f"postgres at {at.hostname}:{at.port}/postgres: answers again"]

        admitted = Path(str(owner.execute("show hba_file").fetchall()[0][0]))
        admitted.write_text("host all worker 127.0.0.1/32 reject\n" + admitted.read_text())
        owner.execute("select pg_reload_conf()")
        deadline = time.monotonic() + ENDS_S_MAX
        while True:  # a reload is a signal: new connections see it a moment later
            try:
                await (await connect(url)).close()
                assert time.monotonic() < deadline
            except ConfigurationError as error:
                refused = str(error)
                break
    assert "pg_hba.conf rejects connection" in refused
    assert "have this user admitted" in refused
