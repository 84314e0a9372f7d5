"""What tests of the store share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from alerts.deliveries import Deliverer
from alerts.post import Post, open_post
from driftline.settings import PostgresSettings, WebhookSettings
from driftline.store.connection import Connection, open_pool
from tests.support.outbox import SECRET, Deliveries
from tests.support.pipelines import migrated

HOUR_MS = 3_600_000


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[Connection]:
    """A connection to a migrated database of this test's own."""
    async with migrated(postgres_url) as connection:
        yield connection


@pytest.fixture
def nothing_secret_is_told_and_no_proxy_used(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """What a test logs holds neither the secret of `webhook` nor what stands in the URL of a `Receiver`."""
    caplog.set_level("DEBUG")
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    yield
    assert "hunter2" not in caplog.text
    assert SECRET.removeprefix("whsec_") not in caplog.text


@pytest.fixture
async def deliveries(
    nothing_secret_is_told_and_no_proxy_used: None, connection: Connection, postgres_url: str
) -> AsyncIterator[Deliveries]:
    """Make a relay's part that delivers, to webhooks by name; `connection` has migrated the store."""
    settings = PostgresSettings.model_validate({"url": postgres_url})
    async with open_pool(postgres_url, settings) as pool, open_post() as post:

        def make(post: Post = post, models: tuple[str, ...] = ("m",), **webhooks: WebhookSettings) -> Deliverer:
            return Deliverer(pool, models, post, webhooks, HOUR_MS)

        yield make
