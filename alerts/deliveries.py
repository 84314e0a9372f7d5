"""Who has to be told of what, and has it been told?

Each message of the outbox becomes one delivery for each webhook that wants it. A delivery is claimed for as long as an
attempt may last, made outside of any transaction, and marked; a relay that dies in between leaves it to the next one,
which repeats it with the same id. Deliveries of one episode are made one after the other, and none while it is snoozed.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from psycopg_pool import AsyncConnectionPool

from alerts.post import Answer, Post
from driftline.backoff import backoff_ms
from driftline.settings import WebhookSettings, format_duration
from driftline.store.connection import Connection, bounded, row, rows, run

_log = logging.getLogger("driftline.alerts")

MESSAGES_A_BATCH = 500
HOLD_MS_MAX = 20_000
"""How long a relay that was stopped may hold messages from others."""

LEASE_MARGIN_MS = 5_000
"""A claim outlives an attempt by so much: time to mark it."""

FIRST_WAIT_MS = 1_000
LONGEST_WAIT_MS = 300_000
RETRY_AFTER_MS_MAX = 3_600_000
"""A receiver may ask for a longer wait than ours, but not for a day."""


def wants(webhook: WebhookSettings, event: str, model: str) -> bool:
    """Whether a webhook is to be told of an event of a model."""
    return event in webhook.events and (webhook.models is None or model in webhook.models)


async def fan_out(connection: Connection, models: Collection[str], webhooks: Mapping[str, WebhookSettings]) -> int:
    """Make the deliveries of messages of some models that have none yet; return how many messages there were."""
    async with bounded(connection, idle_ms=HOLD_MS_MAX):
        messages = await rows(connection, "messages_to_fan_out", models=list(models), messages_max=MESSAGES_A_BATCH)
        wanted = [
            (message.sequence, name)
            for message in messages
            for name, webhook in webhooks.items()
            if wants(webhook, message.type, message.model)
        ]
        if wanted:
            sequences, names = zip(*wanted, strict=True)
            await run(connection, "add_deliveries", sequence=list(sequences), webhook=list(names))
        if messages:
            await run(connection, "mark_fanned_out", sequences=[message.sequence for message in messages])
    return len(messages)


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Tells webhooks what they are to be told.

    Parameters
    ----------
    models
        Of whom; others in the store are another configuration's.
    age_max_ms
        A delivery that fails and whose message is older, counted from the end of a snooze, is given up.
    """

    pool: AsyncConnectionPool[Connection]
    models: Collection[str]
    post: Post
    webhooks: Mapping[str, WebhookSettings]
    age_max_ms: int

    async def fan_out(self) -> None:
        """Make the deliveries of all new messages, and give up those to webhooks that nobody names any more."""
        async with self.pool.connection() as connection:
            while await fan_out(connection, self.models, self.webhooks):
                continue
            lost = await run(
                connection,
                "give_up_deliveries_of_nobody",
                models=list(self.models),
                webhooks=list(self.webhooks),
                age_max_ms=self.age_max_ms,
            )
        if lost:
            _log.error("%s deliveries given up: their webhook is not in the configuration any more", lost)

    async def deliver(self, name: str, stopping: Callable[[], bool] = lambda: False) -> None:
        """Make all deliveries of a webhook that are due, one after the other, until we stop."""
        async with self.pool.connection() as connection:
            dropped = await run(connection, "drop_pointless_deliveries", models=list(self.models), webhook=name)
        if dropped:
            _log.info("webhook %s: %s deliveries dropped: their episode was snoozed, and closed by then", name, dropped)
        while not stopping() and await self.deliver_next(name):
            continue

    async def deliver_next(self, name: str) -> bool:
        """Try the oldest delivery of a webhook that is due; return whether there was one."""
        webhook = self.webhooks[name]
        lease_ms = webhook.timeout_ms + LEASE_MARGIN_MS
        async with self.pool.connection() as connection:
            claimed = await row(connection, "claim_delivery", models=list(self.models), webhook=name, lease_ms=lease_ms)
        if claimed is None:
            return False
        answer = await self.post(webhook, claimed.event_id, claimed.payload.encode())
        async with self.pool.connection() as connection:
            if answer.delivered:
                await run(connection, "mark_delivered", webhook=name, event_id=claimed.event_id)
            else:
                await self._postpone(connection, name, claimed.event_id, claimed.attempts, answer)
        if answer.delivered:
            _log.info("webhook %s: %s delivered: %s", name, claimed.event_id, claimed.type)
        return True

    async def _postpone(self, connection: Connection, name: str, event_id: str, attempts: int, answer: Answer) -> None:
        """Try a delivery again later, unless the receiver wants none or it is too old."""
        chance = random.random()  # noqa: S311 - it spreads load, and protects nothing
        own_ms = backoff_ms(attempts, chance, first_ms=FIRST_WAIT_MS, most_ms=LONGEST_WAIT_MS)
        wait_ms = max(own_ms, min(answer.retry_after_ms, RETRY_AFTER_MS_MAX))
        done = await row(
            connection,
            "postpone_delivery",
            webhook=name,
            event_id=event_id,
            attempts=attempts,
            last_error=answer.what,
            wait_ms=wait_ms,
            unwanted=answer.unwanted,
            age_max_ms=self.age_max_ms,
        )
        place = f"webhook {name} ({self.webhooks[name].host})"
        if done is not None and done.given_up:
            age = format_duration(self.age_max_ms)
            why = "" if answer.unwanted else f" after {age}"
            _log.error("%s: %s given up%s: %s; %s", place, event_id, why, answer.what, answer.remedy)
        elif attempts == 1:
            _log.warning("%s: %s waits: %s; %s", place, event_id, answer.what, answer.remedy)
