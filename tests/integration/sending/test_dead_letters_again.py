"""Is a dead letter that is sent again marked, with who does it, before anybody can get it?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import psycopg
import pytest

from driftline.errors import ServiceUnavailableError
from driftline.store.connection import Connection
from streams.sending.dead_letters import letters_of, send_again
from streams.sending.publish import Message

pytestmark = pytest.mark.postgres

MARK = "select replayed_by, replay_began_at is not null, replayed_at is not null from driftline.dead_letter"
AUDIT = "select actor, action, detail ->> 'note' from driftline.audit"


@pytest.mark.parametrize("failure", [None, "the broker is away"])
async def test_it_is_marked_and_in_the_audit_before_it_is_sent(
    postgres_url: str, connection: Connection, failure: str | None
) -> None:
    await connection.execute(
        "insert into driftline.dead_letter (reason, detail, topic, partition, record_offset, element, payload)"
        " values ('wrong_type', 'score', 'events', 0, 7, 0, '{}')"
    )
    [letter] = await letters_of(connection, [1])
    stored: list[object] = []

    def look() -> None:
        with psycopg.connect(postgres_url) as other:
            stored.append((other.execute(MARK).fetchall(), other.execute(AUDIT).fetchall()))

    async def send(topic: str, messages: Sequence[Message]) -> list[str | None]:
        assert (topic, len(messages)) == ("events", 1)
        look()
        return [failure]

    told = "^dead letter 1: the broker is away; --again sends it once more$"
    with pytest.raises(ServiceUnavailableError, match=told) if failure else nullcontext():
        await send_again(connection, [(letter, Message(b"", b"{}"))], send, "ann", "mended", again=False)
    look()

    done_by_ann = [("ann", "replay_dead_letter", "mended")]
    assert stored == [([("ann", True, False)], done_by_ann), ([("ann", True, failure is None)], done_by_ann)]
