"""Is each webhook told once what it wants, in order, whoever dies or overtakes, and nobody else?"""

from __future__ import annotations

import asyncio

import pytest

import alerts.deliveries
from alerts.post import Answer, open_post
from driftline.settings import EVENT_TYPES, WebhookSettings
from driftline.store.connection import Connection
from tests.support.outbox import (
    DETECTED,
    RECOVERED,
    Deliveries,
    Receiver,
    attempts,
    episode,
    listening,
    make_older,
    open_episode,
    say,
    states,
    tell,
    until,
    webhook,
)

pytestmark = pytest.mark.postgres


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
