"""What becomes of a fetch that Postgres refuses?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from driftline.errors import StateError
from driftline.events import Decoded
from streams import worker as module
from streams.transport import Fetch
from streams.worker import BURIED_IN_A_ROW_MAX, Worker


class PickyWorker(Worker):
    """Refuses fetches that hold a bad record, and notes what is committed."""

    def __init__(self, bad: set[int]) -> None:
        settings = SimpleNamespace(
            limits=SimpleNamespace(dead_letter_payload_bytes_max=10), privacy=SimpleNamespace(dead_letter_payloads=True)
        )
        super().__init__(cast(Any, SimpleNamespace(settings=settings)), cast(Any, None))
        self.bad = bad
        self.committed: list[int] = []
        self.buried: list[int] = []

    async def _try(self, fetch: Fetch) -> Any:
        offsets = [record.offset for record in fetch.records]
        if self.bad.intersection(offsets):
            return module._Refused("no")
        self.committed += offsets
        return None

    async def _commit(self, fetch: Fetch, decoded: Decoded) -> Any:
        self.buried += [letter.offset for letter in decoded.dead]

    async def _pause(self, tries: int) -> None:
        return


def fetch(n: int) -> Fetch:
    records = [SimpleNamespace(offset=offset, value=b"{}", headers=(), timestamp=0) for offset in range(n)]
    return Fetch("t", 0, 0, n, cast(Any, records))


async def test_a_refused_record_is_found_and_buried_and_the_rest_goes_on() -> None:
    worker = PickyWorker({3, 17})
    assert await worker.process(fetch(40)) is None
    assert worker.buried == [3, 17]
    assert worker.committed == [offset for offset in range(40) if offset not in (3, 17)]


async def test_where_record_after_record_is_refused_the_worker_stops_instead_of_burying_the_topic() -> None:
    worker = PickyWorker(set(range(1_000)))
    with pytest.raises(StateError, match="record after record is refused"):
        await worker.process(fetch(1_000))
    assert worker.buried == list(range(BURIED_IN_A_ROW_MAX))
