"""What `driftline alerts` is put together from."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from alerts.post import Answer, Post, open_post
from driftline.settings import WebhookSettings

TEST_EVENT = "driftline.alerts.test"


async def try_webhooks(webhooks: Mapping[str, WebhookSettings]) -> AsyncIterator[tuple[str, Answer, int]]:
    """Send each webhook a signed test event now; say of each what came of it, and in how many milliseconds."""
    async with open_post() as post:
        trying = {name: asyncio.create_task(_try(post, name, webhook)) for name, webhook in webhooks.items()}
        for name, task in trying.items():
            yield name, *await task


async def _try(post: Post, name: str, webhook: WebhookSettings) -> tuple[Answer, int]:
    event_id = str(uuid.uuid4())
    event = make_test_event(name, event_id, datetime.now(UTC))
    begun = time.monotonic()
    answer = await post(webhook, event_id, json.dumps(event).encode())
    return answer, round((time.monotonic() - begun) * 1000)


def make_test_event(webhook: str, event_id: str, at: datetime) -> dict[str, object]:
    """Return a CloudEvent that tells of nothing.

    Examples
    --------
    >>> make_test_event("chat", "1", datetime(2024, 5, 1, tzinfo=UTC))["type"]
    'driftline.alerts.test'
    """
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "/driftline",
        "type": TEST_EVENT,
        "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {"webhook": webhook, "message": "a test: nothing is wrong"},
    }
