"""What becomes of a fetch that Postgres refuses?"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from driftline.errors import StateError
from driftline.events import Decoded
from streams.committing.fetches import BURIED_IN_A_ROW_MAX, Fetches, _Refused
from streams.health import Health
from streams.reading.transport import Fetch
from tests.support.events import Message, records


class PickyFetches(Fetches):
    """Refuses fetches that hold a bad record, and notes what is committed."""

    def __init__(self, bad: set[int]) -> None:
        settings = SimpleNamespace(
            limits=SimpleNamespace(dead_letter_payload_bytes_max=10),
            privacy=SimpleNamespace(dead_letter_payloads="keep"),
        )
        super().__init__(cast(Any, SimpleNamespace(settings=settings)), cast(Any, None), Health(1), asyncio.Event())
        self.bad = bad
        self.committed: list[int] = []
        self.buried: list[int] = []

    async def _try(self, fetch: Fetch, decoding: Any = None) -> Any:
        offsets = fetch.records.offsets.tolist()
        if self.bad.intersection(offsets):
            return _Refused("no")
        self.committed += offsets
        return None

    async def _commit(self, fetch: Fetch, decoded: Decoded) -> Any:
        self.buried += [letter.offset for letter in decoded.dead]

    async def _pause(self, tries: int) -> None:
        return


class QuotingFetches(Fetches):
    """Has a Postgres that quotes what it refuses, and that takes dead letters."""

    def __init__(self, *, may_quote: bool) -> None:
        settings = SimpleNamespace(
            limits=SimpleNamespace(dead_letter_payload_bytes_max=10),
            privacy=SimpleNamespace(dead_letter_payloads="keep" if may_quote else "redact"),
        )
        parts = SimpleNamespace(settings=settings, pipeline=SimpleNamespace(models={}))
        super().__init__(cast(Any, parts), cast(Any, None), Health(1), asyncio.Event())
        self.details: list[str] = []

    def _decode(self, fetch: Fetch) -> Decoded:
        return Decoded()

    async def _commit(self, fetch: Fetch, decoded: Any) -> Any:
        if not decoded.dead:
            raise psycopg.errors.InvalidTextRepresentation('invalid input: "Ada"\nDETAIL: Ada, born 1815')
        self.details += [letter.detail for letter in decoded.dead]

    async def _pause(self, tries: int) -> None:
        return


def fetch(n: int) -> Fetch:
    return Fetch("t", 0, 0, n, records(*(Message(b"{}", (), offset) for offset in range(n))))


async def test_a_refused_record_is_found_and_buried_and_the_rest_goes_on() -> None:
    fetches = PickyFetches({3, 17})
    assert await fetches.process(fetch(40)) is None
    assert fetches.buried == [3, 17]
    assert fetches.committed == [offset for offset in range(40) if offset not in (3, 17)]


async def test_where_record_after_record_is_refused_the_worker_stops_instead_of_burying_the_topic() -> None:
    fetches = PickyFetches(set(range(1_000)))
    with pytest.raises(StateError, match="record after record is refused"):
        await fetches.process(fetch(1_000))
    assert fetches.buried == list(range(BURIED_IN_A_ROW_MAX))


@pytest.mark.parametrize("may_quote", [True, False])
async def test_what_postgres_quotes_of_a_record_is_told_only_where_messages_may_be_kept(
    may_quote: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fetches = QuotingFetches(may_quote=may_quote)
    assert await fetches.process(fetch(1)) is None
    assert "InvalidTextRepresentation" in caplog.text
    assert ["Ada" in told for told in (caplog.text, *fetches.details)] == [may_quote, may_quote]
