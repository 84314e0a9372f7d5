"""Does a worker with a long backlog stay within its memory, and with a slow Postgres within its group?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from tests.support.kafka import Broker
from tests.support.live import run_driftline, wait_for, workers
from tests.support.monitors import (
    ROLES,
    Monitor,
    Sent,
    as_json,
    create_topics,
    label,
    make_monitor,
    prediction,
    send_all,
)

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

EVENTS, N_HUGE, PARTITIONS, MIB = 60_000, 2, 4, 1024 * 1024
RSS_MAX = 400 * MIB
"""What `docs/operations.md` promises with the default limits."""

HELD_S = 9
"""Longer than the session timeout of these tests, shorter than anybody waits for a lock."""


def members(monitor: Monitor) -> list[str]:
    """Name who is in the consumer group; whoever is thrown out and comes back has another name."""
    admin = AdminClient({"bootstrap.servers": monitor.address, "log_level": 0})
    group = monitor.settings["kafka"]["group"]
    described = admin.describe_consumer_groups([group])[group].result(30)
    return sorted(member.member_id for member in described.members)


def peak_bytes(pid: int) -> int:
    """Return the kernel's own high-water mark of a process's resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def findings(monitor: Monitor, subject: str) -> str:
    """Return what `driftline doctor` says on a subject."""
    done = run_driftline("doctor", "--config", str(monitor.config), "--json")
    told = json.loads(done.stdout.splitlines()[-1])["findings"]
    return "; ".join(finding["what"] for finding in told if finding["subject"] == subject)


def test_a_backlog_stays_within_the_memory_and_a_slow_postgres_costs_no_partition(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    topics = {role: topic_name(role) for role in ROLES}
    names = [topics[role] for role in ("predictions", "labels")]
    create_topics(broker.bootstrap_servers, names, PARTITIONS, **{"max.message.bytes": str(64 * MIB)})
    monitor = make_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topics)
    padding = {"more": "x" * 700}  # 60 MB in all: many times what may be on its way
    predicted = [
        Sent(as_json(prediction(f"e-{row}", row * 10) | padding), (), row % PARTITIONS) for row in range(EVENTS)
    ]
    huge = Sent(as_json(prediction("huge", 0) | {"more": "x" * 50 * MIB}), (), 0)
    send_all(monitor.address, topics["predictions"], [*predicted[: EVENTS // 2], huge])
    send_all(monitor.address, topics["predictions"], [huge], "zstd")  # to the broker it is of some kB
    send_all(monitor.address, topics["predictions"], predicted[EVENTS // 2 :])
    truths = [Sent(as_json(label(f"e-{row}", row * 10)), (), row % PARTITIONS) for row in range(0, EVENTS, 5)]
    send_all(monitor.address, topics["labels"], truths, "zstd")

    with workers(monitor.config, tmp_path, 1) as [worker]:
        wait_for(lambda: monitor.read() > 0, "the first fetch")
        [member] = members(monitor)
        with psycopg.connect(monitor.url) as slow:
            slow.execute("lock table driftline.stream_offset in share mode")
            stuck_at = slow.execute("select sum(next) from driftline.stream_offset").fetchone()
            until = time.monotonic() + HELD_S
            while time.monotonic() < until:
                assert members(monitor) == [member]
                time.sleep(0.5)
            assert slow.execute("select sum(next) from driftline.stream_offset").fetchone() == stuck_at
            of_topic = "select sum(next) from driftline.stream_offset where topic = %s"
            [(read,)] = slow.execute(of_topic, [topics["predictions"]]).fetchall()
            told = f"{topics['predictions']}: {EVENTS + N_HUGE - read} records not read yet"
            assert told in findings(monitor, "lag")
        deadline = time.monotonic() + 120
        while monitor.read() < EVENTS + N_HUGE + len(truths) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert members(monitor) == [member]
        assert peak_bytes(worker.process.pid) < RSS_MAX
        assert worker.end() == 0

    ends = monitor.rows("select topic, sum(next)::int from driftline.stream_offset group by 1")
    assert dict(ends).items() >= {topics["predictions"]: EVENTS + N_HUGE, topics["labels"]: len(truths)}.items()
    assert monitor.rows("select count(*)::int, count(distinct key)::int from driftline.prediction") == [
        (EVENTS, EVENTS)
    ]
    counts = monitor.counts()
    expected = {("m", "prediction"): EVENTS, ("m", "label"): len(truths), ("m", "pair"): len(truths)}
    assert expected.items() <= counts.items()
    assert counts["*", "dead_too_large"] == N_HUGE
    explained = (
        f"{N_HUGE} too_large; v_dead_letters shows each with its place; too_large: larger than limits.message_bytes_max"
    )
    assert explained in findings(monitor, "dead letters")
