"""Do a worker's two pages tell the truth and nothing else, whatever strangers send them?"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

from driftline.errors import ConfigurationError
from driftline.settings import WebSettings
from driftline.wiring.probes import probes
from streams.health import Health, Sight

STUCK_AFTER_S = 30.0
WORKER = "worker-1"


def seen(*, standing_s: float = 0.0) -> Health:
    """A worker of one partition whose services answer; with records to read, it has not moved for so long."""
    health, now_s = Health(STUCK_AFTER_S), monotonic()
    health.look({("events", 3): Sight(7, 9)}, now_s - standing_s)
    health.look({("events", 3): Sight(7, 12)}, now_s)
    health.answered("kafka", now_s)
    health.answered("postgres", now_s)
    return health


@asynccontextmanager
async def asked(health: Health) -> AsyncIterator[tuple[str, int]]:
    async with probes(WebSettings(), health, WORKER) as address:
        at = urlsplit(address)
        assert at.hostname is not None
        assert at.port is not None
        yield at.hostname, at.port


async def answer(at: tuple[str, int], sent: bytes) -> tuple[int, dict[str, str], Any]:
    """Send bytes, and read the status, the headers, and what the body says."""
    reader, writer = await asyncio.open_connection(*at)
    try:
        writer.write(sent)
        head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    return int(first.split()[1]), headers, json.loads(body) if "json" in headers.get("content-type", "") else body


def get(page: str, rest: str = "", method: str = "GET") -> bytes:
    return f"{method} {page} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n{rest}\r\n".encode()


async def test_by_default_only_this_machine_can_ask() -> None:
    async with asked(seen()) as (host, _):
        assert host == "127.0.0.1"


async def test_a_worker_that_does_its_work_is_live_and_ready() -> None:
    async with asked(seen()) as at:
        live, ready = await answer(at, get("/livez")), await answer(at, get("/readyz"))

    assert (live[0], live[2]) == (200, {"live": True, "worker_id": WORKER, "consumer_restarts": 0})
    of_partitions = {"unread_records": {"events/3": 5}, "consumer_restarts": 0}
    assert (ready[0], ready[2]) == (200, {"ready": True, "reasons": [], "worker_id": WORKER} | of_partitions)


async def test_one_whose_consumer_makes_no_progress_is_not_ready_and_lives_while_it_starts_that_anew() -> None:
    health = seen(standing_s=2 * STUCK_AFTER_S + 1)
    health.trouble = "LockNotAvailable: canceling statement"
    assert health.must_restart(monotonic()) == [("events", 3)]
    async with asked(health) as at:
        status, _, told = await answer(at, get("/readyz"))
        [reason] = told["reasons"]
        assert (status, told["ready"]) == (503, False)
        assert re.fullmatch(
            r"events, partition 3: stands still for 6\ds: LockNotAvailable: canceling statement", reason
        )
        assert (await answer(at, get("/livez")))[0] == 200

        health.restarted()

        status, _, told = await answer(at, get("/readyz"))
        assert (status, told["reasons"], told["consumer_restarts"]) == (503, ["no share of the partitions yet"], 1)
        live = await answer(at, get("/livez"))
        assert (live[0], live[2]["consumer_restarts"]) == (200, 1)


async def test_one_whose_services_are_away_is_not_ready_and_lives() -> None:
    async with asked(Health(STUCK_AFTER_S)) as at:
        status, _, told = await answer(at, get("/readyz"))
        live = await answer(at, get("/livez"))

    assert status == 503
    assert told["reasons"][:2] == ["kafka has not answered yet", "postgres has not answered yet"]
    assert live[0] == 200


def test_one_whose_loop_stands_still_gives_no_answer_until_it_goes_on() -> None:
    goes_on, ended, address = threading.Event(), threading.Event(), ""
    opened = threading.Event()

    async def serve() -> None:
        nonlocal address
        async with probes(WebSettings(), seen(), WORKER) as address:
            opened.set()
            goes_on.wait()  # holds the whole loop up, as a call that never comes back would
            while not ended.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert opened.wait(30)
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(f"{address}/livez", timeout=0.5)
        goes_on.set()
        with urllib.request.urlopen(f"{address}/livez", timeout=30) as live:
            assert live.status == 200
    finally:
        goes_on.set()
        ended.set()
        thread.join()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(method: str) -> None:
    async with asked(seen()) as at:
        for page in ("/livez", "/readyz"):
            assert (await answer(at, get(page, method=method)))[0] == 405
        assert (await answer(at, get("/", method=method)))[0] == 404


@pytest.mark.parametrize(
    "rest",
    [
        "X-Forwarded-For: 10.0.0.1\r\n",
        "Cookie: a=b\r\nAuthorization: Basic aHVudGVyMg==\r\n",
        "Content-Length: 3\r\n\r\nabc",
    ],
)
async def test_what_is_told_does_not_depend_on_who_asks(rest: str) -> None:
    async with asked(seen()) as at:
        assert await told_by(at, get("/livez?live=false", rest)) == await told_by(at, get("/livez"))


async def told_by(at: tuple[str, int], sent: bytes) -> tuple[int, Any]:
    status, _, told = await answer(at, sent)
    return status, told


@pytest.mark.parametrize(
    "sent",
    [
        b"\0" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # as TLS begins
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET " + b"/livez" * 10_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\na: \x1b[2J\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_request_are_refused_without_a_word_and_the_next_one_is_answered(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with asked(seen()) as at:
        reader, writer = await asyncio.open_connection(*at)
        try:
            writer.write(sent)
            refused = await asyncio.wait_for(reader.read(), 30)
        except ConnectionError:
            refused = b""
        finally:
            writer.close()
        assert (await answer(at, get("/livez")))[0] == 200

    assert re.match(rb"(HTTP/1\.[01] 4\d\d |$)", refused), refused[:100]
    assert WORKER.encode() not in refused
    assert caplog.records == []  # or a stranger could fill the log


async def test_an_address_that_is_taken_is_told() -> None:
    async with asked(seen()) as (host, port):
        with pytest.raises(ConfigurationError, match=rf"{host}:{port}: can't listen there: .*; choose another web"):
            async with probes(WebSettings(port=port), seen(), "worker-2"):
                pass
