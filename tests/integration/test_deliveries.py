"""Is each webhook told once what it wants, in order, signed, whatever its receiver does, and no secret ever shown?"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest
import trustme
from aiohttp import web

import alerts.deliveries
from alerts.deliveries import RETRY_AFTER_MS_MAX, Deliverer
from alerts.post import Answer, Post, open_post
from driftline.settings import EVENT_TYPES, PostgresSettings, WebhookSettings
from driftline.store.connection import Connection, open_pool
from tests.support.outbox import (
    DETECTED,
    RECOVERED,
    SECRET,
    Receiver,
    attempts,
    episode,
    listening,
    make_due,
    make_older,
    open_episode,
    say,
    states,
    until,
)

pytestmark = pytest.mark.postgres

HOUR_MS = 3_600_000


def webhook(url: str, **settings: Any) -> WebhookSettings:
    return WebhookSettings.model_validate({"url": url, "secret": SECRET, "timeout": "10s", **settings})


@pytest.fixture(autouse=True)
def _nothing_secret_is_told_and_no_proxy_used(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    caplog.set_level("DEBUG")
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    yield
    assert "hunter2" not in caplog.text
    assert SECRET.removeprefix("whsec_") not in caplog.text


Deliveries = Callable[..., Any]


@pytest.fixture
async def deliveries(connection: Connection, postgres_url: str) -> AsyncIterator[Deliveries]:
    """Make a relay's part that delivers, to webhooks by name; `connection` has migrated the store."""
    settings = PostgresSettings.model_validate({"url": postgres_url})
    async with open_pool(postgres_url, settings) as pool, open_post() as post:

        def make(post: Post = post, models: tuple[str, ...] = ("m",), **webhooks: WebhookSettings) -> Deliverer:
            return Deliverer(pool, models, post, webhooks, HOUR_MS)

        yield make


async def tell(deliverer: Deliverer) -> None:
    """Do what a relay does in one round."""
    await deliverer.fan_out()
    await asyncio.gather(*map(deliverer.deliver, deliverer.webhooks))


async def last_errors(connection: Connection) -> list[str]:
    found = await connection.execute("select distinct last_error from driftline.delivery where last_error is not null")
    return [text for (text,) in await found.fetchall()]


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


async def test_a_webhook_gets_what_it_wants_and_nothing_else(connection: Connection, deliveries: Deliveries) -> None:
    for name, model in (("a", "m"), ("b", "n")):
        await say(connection, name, *EVENT_TYPES, model=model)
    made = deliveries(
        models=("m", "n"),
        all=webhook("http://x"),
        some=webhook("http://x", events=[RECOVERED, DETECTED]),
        other=webhook("http://x", models=["n"]),
        both=webhook("http://x", models=["n"], events=["driftline.retraining.requested"]),
    )

    await made.fan_out()
    await made.fan_out()

    kinds = [kind.removeprefix("driftline.") for kind in EVENT_TYPES]
    assert (await states(connection, "webhook")).keys() == {
        *(f"{of}-{kind}@all" for of in "ab" for kind in kinds),
        *(f"{of}-drift.{kind}@some" for of in "ab" for kind in ("detected", "recovered")),
        *(f"b-{kind}@other" for kind in kinds),
        "b-retraining.requested@both",
    }


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


async def test_what_no_relay_took_for_too_long_is_tried_once_and_then_given_up(
    connection: Connection, deliveries: Deliveries
) -> None:
    await say(connection, "a", DETECTED)
    await say(connection, "b", DETECTED)
    await make_older(connection, 3600)
    async with listening(Receiver()) as good, listening(Receiver(status=500)) as bad:
        await tell(deliveries(good=webhook(good.url), bad=webhook(bad.url)))

    assert good.ids == bad.ids == ["a-drift.detected", "b-drift.detected"]
    assert {state for identity, state in (await states(connection, "webhook")).items() if "bad" in identity} == {
        "failed"
    }


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
    tmp_path: Any,
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


async def test_two_relays_at_once_tell_everything_once_and_each_episode_in_order(
    connection: Connection, deliveries: Deliveries
) -> None:
    names = [f"e{number}" for number in range(20)]
    async with listening(Receiver()) as receiver:
        relays = [deliveries(chat=webhook(receiver.url)) for _ in range(2)]
        for name in names:
            await say(connection, name, DETECTED, RECOVERED)
        await asyncio.gather(*(tell(relay) for relay in relays))
        await asyncio.gather(*(tell(relay) for relay in relays))

    assert sorted(receiver.ids) == sorted({*receiver.ids})
    assert len(receiver.ids) == 40
    for name in names:
        assert [i for i in receiver.ids if i.startswith(f"{name}-")] == [
            f"{name}-drift.detected",
            f"{name}-drift.recovered",
        ]


async def test_a_relay_that_dies_before_it_marks_is_followed_by_one_that_repeats_the_id(
    connection: Connection, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts.deliveries, "LEASE_MARGIN_MS", 0)
    await say(connection, "a", DETECTED, RECOVERED)
    async with listening(Receiver()) as receiver, open_post() as post:

        async def post_and_die(of: WebhookSettings, message_id: str, body: bytes) -> Answer:
            await post(of, message_id, body)
            raise asyncio.CancelledError

        settings = webhook(receiver.url, timeout="1s")
        dying, next_one = deliveries(post_and_die, chat=settings), deliveries(chat=settings)
        await dying.fan_out()
        with pytest.raises(asyncio.CancelledError):
            await dying.deliver("chat")
        await next_one.deliver("chat")
        first = list(receiver.ids)

        async def all_told() -> bool:
            await next_one.deliver("chat")
            return len(receiver.ids) > 2

        await until(all_told, "the claim to end")

    assert first == ["a-drift.detected"]  # claimed: nobody else may have it, nor what follows it
    assert [event["id"] for event in receiver.verified()] == [
        "a-drift.detected",
        "a-drift.detected",
        "a-drift.recovered",
    ]


async def test_who_was_overtaken_cannot_take_back_what_another_one_delivered(
    connection: Connection, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts.deliveries, "LEASE_MARGIN_MS", -10_000)
    await say(connection, "a", DETECTED)
    slow_may_go_on = asyncio.Event()

    async def slow(of: WebhookSettings, message_id: str, body: bytes) -> Answer:
        await slow_may_go_on.wait()
        return Answer("answered 410 (gone)", "", unwanted=True)

    async with listening(Receiver()) as receiver:
        settings = webhook(receiver.url)
        overtaken, quick = deliveries(slow, chat=settings), deliveries(chat=settings)
        await quick.fan_out()
        waiting = asyncio.create_task(overtaken.deliver_next("chat"))
        await until(lambda: _tried(connection), "the slow one to claim it")
        await quick.deliver("chat")
        slow_may_go_on.set()
        await waiting

    assert receiver.ids == ["a-drift.detected"]
    left = await connection.execute(
        "select state, failed_at, last_error from driftline.v_deliveries where channel = 'webhook'"
    )
    assert await left.fetchall() == [("delivered", None, None)]


async def _tried(connection: Connection) -> bool:
    return (await attempts(connection)).get("a-drift.detected@chat") == 1


async def test_a_snoozed_episode_is_told_when_the_snooze_ends_or_not_at_all_if_it_is_over(
    connection: Connection, deliveries: Deliveries
) -> None:
    for name in ("lasts", "passes"):
        await open_episode(connection, name, snoozed_ms=600_000)
        await say(connection, name, DETECTED)
    await open_episode(connection, "awake")
    await say(connection, "awake", DETECTED)
    async with listening(Receiver()) as receiver:
        made = deliveries(chat=webhook(receiver.url))
        await tell(made)
        assert receiver.ids == ["awake-drift.detected"]
        assert (await states(connection, "webhook"))["lasts-drift.detected@chat"] == "waiting"
        await say(connection, "passes", RECOVERED)
        await connection.execute(
            "update driftline.episode set closed_at = now(), closed_as = 'recovered' where episode_id = %s",
            [episode("passes")],
        )
        await tell(made)
        assert receiver.ids == ["awake-drift.detected"]
        await connection.execute("update driftline.episode set snoozed_until = now() where snoozed_until is not null")
        await tell(made)

    assert receiver.ids == ["awake-drift.detected", "lasts-drift.detected"]
    assert await states(connection, "webhook") == {
        "awake-drift.detected@chat": "delivered",
        "lasts-drift.detected@chat": "delivered",
        "passes-drift.detected@chat": "dropped",
        "passes-drift.recovered@chat": "dropped",
    }


async def test_alerts_of_another_configurations_models_are_left_to_its_own_relay_though_the_webhooks_share_a_name(
    connection: Connection, deliveries: Deliveries
) -> None:
    await say(connection, "a", DETECTED)
    await say(connection, "b", DETECTED, model="elsewhere")
    async with listening(Receiver()) as ours, listening(Receiver()) as theirs:
        await deliveries(models=("elsewhere",), chat=webhook(theirs.url)).fan_out()
        await make_older(connection, 7200)
        await tell(deliveries(chat=webhook(ours.url)))
        await tell(deliveries(other=webhook(ours.url)))
        assert ours.ids == ["a-drift.detected"]
        assert (await states(connection, "webhook"))["b-drift.detected@chat"] == "waiting"
        await tell(deliveries(models=("elsewhere",), chat=webhook(theirs.url)))

    assert theirs.ids == ["b-drift.detected"]


async def test_whoever_was_told_of_an_episode_is_told_of_its_end_though_it_was_snoozed_meanwhile(
    connection: Connection, deliveries: Deliveries
) -> None:
    await open_episode(connection, "told")
    await say(connection, "told", DETECTED)
    async with listening(Receiver()) as receiver:
        made = deliveries(chat=webhook(receiver.url))
        await tell(made)
        await connection.execute("update driftline.episode set snoozed_until = now() + interval '10 min'")
        await say(connection, "told", RECOVERED)
        await connection.execute("update driftline.episode set closed_at = now(), closed_as = 'recovered'")
        await tell(made)
        assert receiver.ids == ["told-drift.detected"]
        await connection.execute("update driftline.episode set snoozed_until = now()")
        await tell(made)

    assert receiver.ids == ["told-drift.detected", "told-drift.recovered"]


async def test_what_waits_for_a_webhook_that_was_taken_out_is_given_up_in_the_end(
    connection: Connection, deliveries: Deliveries, caplog: pytest.LogCaptureFixture
) -> None:
    await say(connection, "a", DETECTED)
    await deliveries(chat=webhook("http://x")).fan_out()
    await deliveries(other=webhook("http://x")).fan_out()
    assert await states(connection, "webhook") == {"a-drift.detected@chat": "waiting"}

    await make_older(connection, 3600)
    await deliveries(other=webhook("http://x")).fan_out()

    assert await states(connection, "webhook") == {"a-drift.detected@chat": "failed"}
    assert "1 deliveries given up: their webhook is not in the configuration any more" in caplog.text
