"""What a history leaves behind, and in what it differs from what a careful reader leaves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from driftline.settings.services import KafkaTopics
from driftline.store.connection import Connection
from tests.simulation.stage import Crash
from tests.simulation.traffic import Traffic

OUT_TOPICS = (KafkaTopics().drift, KafkaTopics().retraining)


@dataclass(frozen=True)
class Left:
    """What a history leaves behind, in forms that compare with `==`.

    Parameters
    ----------
    outbox
        The messages to be sent, in order.
    sent
        By topic, the messages that arrived, in order; some more than once.
    turns
        How many turns were taken.
    deeds, crashes
        How often what was done, and was interrupted.
    """

    rows: dict[str, list[tuple[Any, ...]]]
    outbox: list[Any]
    sent: dict[str, list[bytes]]
    turns: int = 0
    deeds: Counter[tuple[str, str]] = field(default_factory=Counter)
    crashes: Counter[Crash] = field(default_factory=Counter)


JUDGEMENT = frozenset({"threshold", "p_value", "level"})
SEQUENTIAL = ("detector", "adwin")
TOLD = {
    "drift": "select * from driftline.v_drift",
    "performance": "select * from driftline.v_performance",
    "episodes": """select episode_id, version, kind, severity, causes::text as causes, opened_at, closed_at, closed_as
                     from driftline.episode""",
    "messages": "select event_id, type, topic, payload::text as payload from driftline.outbox",
    "counts": """select model, reason, sum(n)::bigint as n, case when reason <> 'pair' then topic end as topic,
                        case when reason <> 'pair' then partition end as partition
                   from driftline.v_counts group by 1, 2, 4, 5""",
    "dead letters": """select reason, detail, topic, partition, record_offset, element, payload
                         from driftline.v_dead_letters""",
    "positions": "select topic, partition, next from driftline.stream_offset",
    "predictions": """select key, event_time, c.name as prediction, score, has_features, late
                        from driftline.prediction p
                        join driftline.name c
                          on c.model_id = p.model_id and c.kind = 'class' and c.code = p.prediction""",
    "labels": """select key, event_time, c.name as label, late
                   from driftline.label l
                   join driftline.name c on c.model_id = l.model_id and c.kind = 'class' and c.code = l.label""",
}
"""What is compared: all that people and programs are told, and the rows of the log; codes and revisions may differ, and
a pair is counted where the second of the two was read."""


async def rows_of(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for name, query in TOLD.items():
        async with psycopg.AsyncCursor(connection, row_factory=dict_row) as cursor:
            rows = await (await cursor.execute(query.encode())).fetchall()
        kept = [tuple((key, str(value)) for key, value in row.items() if key != "revision") for row in rows]
        found[name] = sorted(kept)
    return found


def _unjudged(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Leave out how windows were judged; sequential detectors see nothing late, and stay as they are."""
    return [row if SEQUENTIAL in row else tuple(item for item in row if item[0] not in JUDGEMENT) for row in rows]


async def outbox_of(connection: Connection) -> list[Any]:
    query = b"select event_id, type, topic, episode_id, payload from driftline.outbox order by sequence"
    return await (await connection.execute(query)).fetchall()


def differences(traffic: Traffic, expected: Left, left: Left) -> list[str]:
    """Say in what a history differs from the careful reader's, the first few of each kind; none if in nothing."""
    found = []
    # When late events restate a window, how it is judged, and what was decided by then, depend on when.
    compared = [name for name in TOLD if not (traffic.is_late and name in ("episodes", "messages"))]
    for name in compared:
        told = _unjudged if traffic.is_late and name == "drift" else list
        only = Counter(told(left.rows[name]))
        only.subtract(Counter(told(expected.rows[name])))
        found += [f"{name}: {'one too many' if n > 0 else 'missing'}: {dict(row)}" for row, n in only.items() if n][:3]
    counted = {dict(row)["reason"]: int(dict(row)["n"]) for row in left.rows["counts"]}
    for name, n, made in (
        ("predictions", len(left.rows["predictions"]), traffic.n_predictions),
        ("pairs", counted.get("pair"), traffic.n_pairs),
    ):
        if n != made:
            found.append(f"{name}: {n} are kept, {made} were made")
    return found + _undelivered(left) + _contradictions(left)


def _contradictions(left: Left) -> list[str]:
    """Compare episodes with their messages: one that each opened, one that it closed if it did, one request at most."""
    problems = []
    told = Counter((message.episode_id, _EVENT_OF.get(message.type.rpartition(".")[2])) for message in left.outbox)
    for episode in map(dict, left.rows["episodes"]):
        wanted = {"opened": 1, "closed": int(episode["closed_at"] != "None")}
        made = {event: told.pop((UUID(episode["episode_id"]), event), 0) for event in (*wanted, "asked")}
        if made.pop("asked") > 1 or made != wanted:
            problems.append(f"episode {episode['episode_id']}: its messages are {made}, {wanted} happened")
    return (problems + [f"messages of no episode: {of}" for of in told])[:3]


_EVENT_OF = {"detected": "opened", "degraded": "opened", "recovered": "closed", "requested": "asked"}


def _undelivered(left: Left) -> list[str]:
    """Compare what arrived with the outbox: all of it as it stands there, and of each episode in order."""
    problems = []
    for topic in OUT_TOPICS:
        own = [message for message in left.outbox if message.topic == topic]
        payloads = {message.event_id: message.payload for message in own}
        arrived = [json.loads(value) for value in left.sent.get(topic, ())]
        problems += [f"{topic}: {m['id']} is not what was to be sent" for m in arrived if payloads.get(m["id"]) != m]
        first = list(dict.fromkeys(message["id"] for message in arrived))
        problems += [
            f"{topic}: {message.event_id} never arrived" for message in own if message.event_id not in set(first)
        ]
        for episode_id in {message.episode_id for message in own}:
            wanted = [message.event_id for message in own if message.episode_id == episode_id]
            if [event_id for event_id in first if event_id in set(wanted)] != wanted:
                problems.append(f"{topic}: messages of episode {episode_id} arrived in another order")
    return problems[:3]
