"""Does a webhook get what it can verify, whatever its receiver answers, and does one that fails hold up no other?"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import time
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from alerts.deliveries import RETRY_AFTER_MS_MAX
from alerts.post import open_post
from driftline.store.connection import Connection
from tests.support.outbox import (
    DETECTED,
    RECOVERED,
    Deliveries,
    Receiver,
    attempts,
    last_errors,
    listening,
    make_due,
    make_older,
    say,
    states,
    tell,
    until,
    webhook,
)

pytestmark = pytest.mark.postgres


async def test_a_webhook_gets_the_event_signed_as_receivers_verify_it(
    connection: Connection, deliveries: Deliveries
) -> None:
    await say(connection, "a", DETECTED, RECOVERED)
    async with listening(Receiver()) as receiver:
        await tell(deliveries(chat=webhook(receiver.url)))

    assert [event["id"] for event in receiver.verified()] == ["a-drift.detected", "a-drift.recovered"]
    headers, body = receiver.requests[0]
    assert headers["content-type"] == "application/cloudevents+json; charset=UTF-8"
    assert headers["authorization"] == f"Basic {base64.b64encode(b'hunter2:hunter2').decode()}"
    assert headers["webhook-id"] == receiver.verified()[0]["id"]
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    [(payload,)] = await (
        await connection.execute("select payload::text from driftline.outbox where type = %s", [DETECTED])
    ).fetchall()
    assert body.decode() == payload
    assert set((await states(connection, "webhook")).values()) == {"delivered"}


async def test_a_receiver_that_fails_for_ever_is_given_up_by_age_and_holds_up_nobody_else(
    connection: Connection, deliveries: Deliveries, caplog: pytest.LogCaptureFixture
) -> None:
    await say(connection, "a", DETECTED, RECOVERED)
    await say(connection, "b", DETECTED)
    async with listening(Receiver(status=500)) as bad, listening(Receiver()) as good:
        made = deliveries(bad=webhook(bad.url), good=webhook(good.url))
        for _ in range(12):
            await tell(made)
            await make_due(connection)
        assert set(bad.ids) == {"a-drift.detected", "b-drift.detected"}
        assert (await states(connection, "webhook"))["a-drift.detected@bad"] == "waiting"
        assert (await attempts(connection))["a-drift.detected@bad"] == 12
        await make_older(connection, 3600)
        await tell(made)
        assert (await states(connection, "webhook"))["a-drift.recovered@bad"] == "failed"  # tried once, at least

    assert len(bad.verified()) == len(bad.ids) > 24
    assert good.ids == ["a-drift.detected", "a-drift.recovered", "b-drift.detected"]
    given_up = {identity for identity, state in (await states(connection, "webhook")).items() if state == "failed"}
    assert given_up == {"a-drift.detected@bad", "a-drift.recovered@bad", "b-drift.detected@bad"}
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len([line for line in lines if "given up after 1h: answered 500; look at the receiver" in line]) == 3


async def test_a_receiver_that_hangs_is_left_after_its_timeout_and_holds_up_only_its_own(
    connection: Connection, deliveries: Deliveries
) -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    await say(connection, "a", DETECTED)
    async with listening(Receiver(answer=hang)) as bad, listening(Receiver()) as good:
        made = deliveries(bad=webhook(bad.url, timeout="3s"), good=webhook(good.url))
        await made.fan_out()
        hanging = asyncio.create_task(made.deliver("bad"))
        await until(lambda: _true(bool(bad.ids)), "the receiver to be asked")
        await made.deliver("good")
        assert not hanging.done()
        assert good.ids == ["a-drift.detected"]
        await hanging

    assert await last_errors(connection) == ["no answer within 3s"]


async def _true(found: bool) -> bool:
    return found


async def test_an_answer_that_never_ends_or_is_huge_is_not_read(connection: Connection, deliveries: Deliveries) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    await say(connection, "a", DETECTED, RECOVERED)
    async with listening(Receiver(answer=drip)) as receiver, asyncio.timeout(30):
        await tell(deliveries(chat=webhook(receiver.url, timeout="60s")))

    assert set((await states(connection, "webhook")).values()) == {"delivered"}


async def test_a_redirect_is_not_followed(connection: Connection, deliveries: Deliveries) -> None:
    await say(connection, "a", DETECTED)
    async with listening(Receiver()) as elsewhere:
        moved = Receiver(status=307, headers={"location": elsewhere.url})
        async with listening(moved):
            await tell(deliveries(chat=webhook(moved.url)))

    assert (len(moved.ids), elsewhere.ids) == (1, [])
    assert await last_errors(connection) == ["answered 307, a redirect, which is not followed"]


@pytest.mark.parametrize(
    ("trusted", "host", "told"),
    [
        (True, "localhost", None),
        (False, "localhost", "its certificate is not accepted: .*(unable to get local issuer|self.signed)"),
        (True, "other.example", "its certificate is not accepted: .*(localhost|[Hh]ostname)"),
    ],
)
async def test_only_a_certificate_of_its_host_from_an_authority_we_trust_is_accepted(
    connection: Connection,
    deliveries: Deliveries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool,
    host: str,
    told: str | None,
) -> None:
    authority, strangers = trustme.CA(), trustme.CA()
    (authority if trusted else strangers).cert_pem.write_to_path(str(tmp_path / "trusted.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(tls)
    await say(connection, "a", DETECTED)
    async with listening(Receiver(), tls=tls) as receiver, open_post() as post:
        await tell(deliveries(post, chat=webhook(receiver.url)))

    assert receiver.ids == ([] if told else ["a-drift.detected"])
    errors = await last_errors(connection)
    assert len(errors) == (told is not None)
    assert all(re.match(told or "", text) for text in errors), errors


async def test_a_receiver_that_was_away_gets_everything_in_order_when_it_is_back(
    connection: Connection, deliveries: Deliveries, free_port: int
) -> None:
    await say(connection, "a", DETECTED, RECOVERED)
    made = deliveries(chat=webhook(f"http://localhost:{free_port}/hunter2"))
    await tell(made)
    assert await last_errors(connection) == ["can't connect: Connection refused"]
    await make_due(connection)
    async with listening(Receiver(), port=free_port) as receiver:
        await tell(made)

    assert [event["type"] for event in receiver.verified()] == [DETECTED, RECOVERED]
    assert await last_errors(connection) == []


@pytest.mark.parametrize(
    ("asked", "waits_s"),
    [
        ("120", (119, 121)),
        ("in ten minutes", (570, 601)),
        ("99999999", (RETRY_AFTER_MS_MAX / 1000 - 2, RETRY_AFTER_MS_MAX / 1000)),
        ("soon", (0, 1.1)),
        ("-5", (0, 1.1)),
    ],
)
async def test_a_receiver_may_say_when_to_come_again(
    connection: Connection, deliveries: Deliveries, asked: str, waits_s: tuple[float, float]
) -> None:
    await say(connection, "a", DETECTED)
    told = formatdate(time.time() + 600, usegmt=True) if asked == "in ten minutes" else asked
    async with listening(Receiver(status=503, headers={"retry-after": told})) as receiver:
        await tell(deliveries(chat=webhook(receiver.url)))

    found = await connection.execute(
        "select extract(epoch from next_attempt_at - now())::float8 from driftline.delivery"
    )
    [(wait_s,)] = await found.fetchall()
    assert waits_s[0] - 30 <= wait_s <= waits_s[1]


async def test_a_receiver_that_is_gone_is_not_asked_again_for_that_message(
    connection: Connection, deliveries: Deliveries
) -> None:
    await say(connection, "a", DETECTED)
    async with listening(Receiver(status=410)) as receiver:
        made = deliveries(chat=webhook(receiver.url))
        await tell(made)
        await make_due(connection)
        await tell(made)

    assert receiver.ids == ["a-drift.detected"]
    assert await states(connection, "webhook") == {"a-drift.detected@chat": "failed"}
