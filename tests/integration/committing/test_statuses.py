"""Does what consumers tell become what is known of a request, in whatever order and however often it comes?"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from driftline.kafka_admin import TopicInfo
from driftline.settings import KafkaSettings, PostgresSettings
from driftline.settings.services import KafkaTopics, LimitSettings
from driftline.store.connection import Connection, open_pool, run, timestamp
from retraining.statuses import Status, status_event
from streams.committing.fetches import WorkerParts
from streams.committing.statuses import read_status, read_statuses
from streams.decode.messages import Refused
from streams.reading.positions import LogPositions
from streams.reading.transport import Fetch
from streams.worker import Worker
from tests.support.desk import NoBroker
from tests.support.events import Message, records
from tests.support.live import rows_of
from tests.support.pipelines import START_MS, lab, settings_of

pytestmark = pytest.mark.postgres

TOPIC = KafkaTopics().retraining_status
EPISODE = "11111111-2222-3333-4444-555555555555"
STARTED = Status("r1", EPISODE, "m", "v1", "started", 1, START_MS)
AGAIN = replace(STARTED, attempt=2, at_ms=START_MS + 2_000)
SUCCEEDED = replace(AGAIN, state="succeeded", at_ms=START_MS + 9_000, outcome="AUC 0.91", new_version="8")
ROW = "select state, attempt, outcome, new_version, (extract(epoch from finished_at) * 1000)::bigint"


class StatusDesk:
    """A worker that is handed fetches of the status topic."""

    def __init__(self, worker: Worker, url: str) -> None:
        self._worker, self._url, self._next = worker, url, 0

    async def read(self, *messages: Status | bytes | None, start: int | None = None) -> int | None:
        values = [_value(message) for message in messages]
        first = self._next if start is None else start
        fetched = records(*(Message(value, (), offset, START_MS) for offset, value in enumerate(values, first)))
        fenced = await self._worker.fetches.process(Fetch(TOPIC, 0, first, first + len(fetched), fetched))
        self._next = first + len(fetched) if fenced is None else fenced
        return fenced

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return rows_of(self._url, query)

    def row(self, request_id: str = "r1") -> tuple[Any, ...]:
        [found] = self.rows(f"{ROW} from driftline.retraining where request_id = '{request_id}'")
        return found


def _value(message: Status | bytes | None) -> bytes | None:
    return json.dumps(status_event(message)).encode() if isinstance(message, Status) else message


@pytest.fixture
async def desk(connection: Connection, postgres_url: str) -> AsyncIterator[StatusDesk]:
    made = await lab(connection)
    info = {TOPIC: TopicInfo("first", 1)}
    settings = settings_of("m", {}).model_copy(update={"kafka": KafkaSettings(bootstrap_servers="h:1")})
    async with open_pool(postgres_url, PostgresSettings(url=postgres_url)) as pool:
        positions = LogPositions(pool, NoBroker(), info)
        await positions.register(info)
        parts = WorkerParts(settings, pool, made.pipeline, positions, {"m": ("predictions",)})
        yield StatusDesk(Worker(parts, made.decoder), postgres_url)


async def request(connection: Connection) -> None:
    await connection.execute(
        "insert into driftline.retraining (request_id, episode_id, model, version, state, requested_at, lineage)"
        " values ('r1', %s, 'm', 'v1', 'requested', '2024-01-01', '{\"data_version\": \"d\"}')",
        [EPISODE],
    )


@pytest.mark.parametrize("requested", [True, False], ids=["ours", "somebody else's"])
async def test_statuses_in_any_order_and_repeated_come_to_the_same(
    desk: StatusDesk, connection: Connection, requested: bool
) -> None:
    for order in itertools.permutations([STARTED, AGAIN, SUCCEEDED]):
        await connection.execute("delete from driftline.retraining")
        if requested:
            await request(connection)
        for status in order:
            await desk.read(status)
        await desk.read(*order)

        assert desk.row() == ("succeeded", 2, "AUC 0.91", "8", START_MS + 9_000)
        [(shown, lineage)] = desk.rows("select state, lineage from driftline.v_retraining")
        assert (shown, lineage) == ("succeeded", {"data_version": "d"} if requested else {})


async def test_a_request_is_requested_then_started_then_failed(desk: StatusDesk, connection: Connection) -> None:
    await request(connection)
    seen = [desk.row()[0]]
    for status in (STARTED, replace(STARTED, state="failed", outcome="exited with 1", at_ms=START_MS + 1), AGAIN):
        await desk.read(status)
        seen.append(desk.row()[0])

    assert seen == ["requested", "started", "failed", "failed"]
    assert desk.row() == ("failed", 1, "exited with 1", None, START_MS + 1)


async def test_a_request_whose_statuses_were_read_before_it_was_decided_has_its_lineage(
    desk: StatusDesk, connection: Connection
) -> None:
    """So it is when the same topics are read anew, into an empty store."""
    lineage, requested_ms = {"data_version": "d"}, START_MS - 60_000
    await desk.read(STARTED, SUCCEEDED)
    await run(
        connection,
        "add_retraining",
        request_id="r1",
        episode_id=EPISODE,
        model="m",
        version="v1",
        requested_at=timestamp(requested_ms),
        lineage=Jsonb(lineage),
    )

    assert desk.row() == ("succeeded", 2, "AUC 0.91", "8", START_MS + 9_000)
    since = "(extract(epoch from requested_at) * 1000)::bigint"
    assert desk.rows(f"select lineage, {since} from driftline.v_retraining") == [(lineage, requested_ms)]


async def test_what_is_no_status_is_a_dead_letter_with_its_reason_and_the_rest_counts(desk: StatusDesk) -> None:
    await desk.read(STARTED, b"{", None, b"", replace(SUCCEEDED, request_id="r2", outcome="50\0%"), b"[1]")

    letters = desk.rows("select topic, record_offset, reason, payload from driftline.v_dead_letters order by 2")
    assert letters == [(TOPIC, 1, "not_json", b"{"), (TOPIC, 5, "not_an_object", b"[1]")]
    counts = dict(desk.rows("select reason, n::int from driftline.v_counts"))
    assert counts == {
        "retraining_status": 2, "tombstone": 1, "empty": 1, "dead_not_json": 1, "dead_not_an_object": 1,
    }  # fmt: skip
    assert desk.row("r2")[2] == "50\N{REPLACEMENT CHARACTER}%"


async def test_statuses_and_the_position_behind_them_are_written_together_or_not_at_all(
    desk: StatusDesk, connection: Connection
) -> None:
    await desk.read(STARTED)

    assert await desk.read(replace(SUCCEEDED, request_id="r2"), start=0) == 1  # another worker has read on
    assert desk.rows("select request_id from driftline.retraining") == [("r1",)]

    await connection.execute("alter table driftline.retraining add check (outcome <> 'poison')")
    await desk.read(SUCCEEDED, replace(SUCCEEDED, request_id="r3", outcome="poison"), replace(STARTED, request_id="r4"))
    assert desk.rows("select request_id, state from driftline.retraining order by 1") == [
        ("r1", "succeeded"),
        ("r4", "started"),
    ]
    assert desk.rows("select record_offset, reason from driftline.v_dead_letters") == [(2, "refused_by_store")]
    assert desk.rows(f"select next::int from driftline.stream_offset where topic = '{TOPIC}'") == [(4,)]


def changed(**data: Any) -> bytes:
    """Write a status with other fields in its data; None leaves one out."""
    event = status_event(SUCCEEDED)
    event["data"] = {name: value for name, value in (event["data"] | data).items() if value is not None}
    return json.dumps(event).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff", "not_json"),
        (b"1", "not_an_object"),
        (b'{"type": "driftline.retraining.status", "data": 1}', "not_an_object"),
        (b'{"type": "driftline.drift.detected", "data": {}}', "unknown_kind"),
        (changed(state="finished"), "unknown_state"),
        (changed(state=["started"]), "unknown_state"),
        (changed(attempt=0), "wrong_type"),
        (changed(attempt=True), "wrong_type"),
        (changed(attempt=10**9), "wrong_type"),
        (changed(request_id=""), "missing_field"),
        (changed(request_id=7), "wrong_type"),
        (changed(request_id="x" * 600), "id_too_long"),
        (changed(model=None), "missing_field"),
        (changed(episode_id="1"), "wrong_type"),
        (changed(at="yesterday"), "bad_timestamp"),
        (changed(outcome={"a": 1}), "wrong_type"),
        (b"{" + b" " * 2_000_000 + b"}", "too_large"),
    ],
)
def test_each_way_to_be_no_status_has_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        read_status(value, LimitSettings())

    assert caught.value.reason == reason


def test_a_status_is_read_as_it_was_written_and_texts_are_bounded() -> None:
    assert read_status(_value(SUCCEEDED) or b"", LimitSettings()) == SUCCEEDED
    long = read_status(_value(replace(SUCCEEDED, outcome="x" * 10_000)) or b"", LimitSettings())
    assert len(long.outcome) == 2_000
    fetched = records(*(Message(_value(status), (), 0, 0) for status in (SUCCEEDED, STARTED)))
    assert read_statuses(fetched, LimitSettings(), lambda *_: pytest.fail("a dead letter")).latest == (SUCCEEDED,)
