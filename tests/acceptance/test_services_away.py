"""What does a worker do when a service it needs is away, is not what it was, or refuses it?"""

from __future__ import annotations

import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql

from tests.support.kafka import Broker, OwnBroker
from tests.support.live import WorkerProcess, run_driftline, wait_for, workers
from tests.support.monitors import (
    ROLES,
    WINDOWS,
    Monitor,
    Sent,
    Traffic,
    as_json,
    create_topics,
    label,
    make_topics_and_monitor,
    migrate_store,
    prediction,
    send_all,
    send_events,
)
from tests.support.own_postgres import OwnPostgres
from tests.support.pipelines import START_MS
from tests.support.postgres import fresh_database

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

OUTAGE_S = 15


@contextmanager
def a_role(url: str, *grants: str) -> Iterator[str]:
    """Give the URL of a new role that has some rights in this database."""
    name, password = f"role_{secrets.token_hex(4)}", secrets.token_hex(8)
    role = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login password {}").format(role, sql.Literal(password)))
        for grant in grants:
            connection.execute(sql.SQL("grant {} to {}").format(sql.SQL(grant), role))
        at = urlsplit(url)
        try:
            yield urlunsplit(at._replace(netloc=f"{name}:{password}@{at.netloc.rpartition('@')[2]}"))
        finally:
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))


def test_a_start_that_can_not_work_is_told_in_one_line_with_the_exit_code_of_its_remedy(
    broker: Broker,
    postgres_url: str,
    postgres_server_url: str,
    topic_name: Callable[[str], str],
    tmp_path: Path,
    free_port: int,
) -> None:
    monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topic_name)
    at = urlsplit(postgres_url)
    nobody = f"127.0.0.1:{free_port}"

    def at_url(name: str, url: str) -> Monitor:
        return monitor.variant(name, postgres={"url": url})

    reads = ["usage on schema driftline", "select on all tables in schema driftline"]
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        fresh_database(postgres_server_url) as empty_url,
        fresh_database(postgres_server_url) as newer_url,
        a_role(postgres_url) as stranger_url,
        a_role(postgres_url, *reads) as reader_url,
    ):
        mute = f"127.0.0.1:{silent.getsockname()[1]}"
        migrate_store(newer_url)
        with psycopg.connect(newer_url, autocommit=True) as connection:
            connection.execute("update driftline.migration set version = 9999 where version = 1")
        cases: list[tuple[Monitor, int, str]] = [
            (monitor.variant("no-broker", kafka={"bootstrap_servers": nobody}), 4, f"kafka at {nobody}: no answer"),
            (monitor.variant("mute-broker", kafka={"bootstrap_servers": mute}), 4, f"kafka at {mute}: no answer"),
            (at_url("no-postgres", f"postgresql://me:hidden@{nobody}/ml"), 4, "can't connect: .*[Cc]onnection refused"),
            (at_url("mute-postgres", f"postgresql://me:hidden@{mute}/ml"), 4, "can't connect: .*timeout"),
            (at_url("no-database", urlunsplit(at._replace(path="/none"))), 2,
             'database "none" does not exist; correct the database in postgres.url'),
            (at_url("password", stranger_url.replace("@", "hidden@")), 2, "password authentication failed .*; correct"),
            (at_url("stranger", stranger_url), 3, "permission denied for schema driftline; grant"),
            (at_url("reader", reader_url), 3, r"role_\w+ lacks delete on driftline\.\w+, .* and \d+ more; grant"),
            (at_url("empty", empty_url), 3, "there is no schema yet; run `driftline migrate`"),
            (at_url("newer", newer_url), 3, "the schema is version 9999, newer than .*; upgrade driftline"),
            (monitor.variant("no-topic", kafka={"topics": dict.fromkeys(ROLES[:3], "absent-1")}), 3,
             "there is no topic absent-1; run `driftline topics --create`"),
            (monitor.variant("no-kafka", kafka=None), 2, "has no kafka section"),
            (monitor.variant("no-store", postgres=None), 2, "has no postgres section"),
        ]  # fmt: skip
        with ThreadPoolExecutor(4) as pool:
            ended = list(pool.map(lambda case: run_driftline("run", "--config", str(case[0].config)), cases))

    for (of, code, told), done in zip(cases, ended, strict=True):
        assert (of.config.stem, done.returncode, done.stdout) == (of.config.stem, code, ""), done.stderr
        assert re.fullmatch(rf"driftline: error: .*{told}.*\n", done.stderr), done.stderr
        assert "hidden" not in done.stderr


def closed_through(monitor: Monitor) -> int:
    """Return up to when windows are closed, in milliseconds from `START_MS`; -1 before the first."""
    [(ms,)] = monitor.rows("select max(extract(epoch from closed_through) * 1000)::bigint from driftline.evaluation")
    return -1 if ms is None else int(ms) - START_MS


def expect_everything_once(monitor: Monitor, n: int) -> None:
    """Wait until the windows of events 0 to `n` are closed, and compare them with what was sent."""
    last_ms = n * 100
    ends = [
        (role, Sent(as_json(make(f"end-{partition}", last_ms + 20_000)), (), partition))
        for role, make in (("predictions", prediction), ("labels", label))
        for partition in range(2)
    ]
    for role, end in ends:
        send_all(monitor.address, monitor.topic(role), [end])
    monitor.wait_until_read(2 * n + len(ends))
    whole = -(-last_ms // 10_000)
    wait_for(lambda: closed_through(monitor) >= whole * 10_000, "all windows to close")
    assert monitor.counts() == {("m", "prediction"): n + 2, ("m", "label"): n + 2, ("m", "pair"): n + 2}
    windows = monitor.rows(
        "select n_predictions::int, n_labelled::int from driftline.v_performance"
        " where basis = 'cohort' and metric = 'accuracy' order by window_start"
    )
    expected = [min(n - first, 100) for first in range(0, n, 100)]
    assert windows == [(events, events) for events in expected]
    drift = monitor.rows(
        "select n_current::int from driftline.v_drift where feature = 'x' and detector = 'psi' order by window_start"
    )
    assert drift == [(events,) for events in expected]


def test_a_worker_goes_on_by_itself_after_postgres_was_killed_and_nothing_is_lost_or_doubled(
    broker: Broker, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    with OwnPostgres() as postgres:
        monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres.url, topic_name)
        with workers(monitor.config, tmp_path, 1) as [worker]:
            with Traffic(monitor) as traffic:
                monitor.wait_until_read(50)
                postgres.kill()
                time.sleep(OUTAGE_S)
                assert worker.process.poll() is None
                postgres.start()
            expect_everything_once(monitor, traffic.sent)
            assert worker.end() == 0
    log = (tmp_path / "worker-0.log").read_text()
    assert "Traceback" not in log
    assert "trying again" in log


def test_a_worker_goes_on_by_itself_after_the_broker_was_killed_and_nothing_is_lost_or_doubled(
    own_broker: OwnBroker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(tmp_path, own_broker.bootstrap_servers, postgres_url, topic_name)
    send_events(monitor, 0, 330)
    with workers(monitor.config, tmp_path, 1) as [worker]:
        monitor.wait_until_read(660)
        own_broker.kill()
        time.sleep(OUTAGE_S)
        assert worker.process.poll() is None
        own_broker.start()
        send_events(monitor, 330, 500)
        expect_everything_once(monitor, 500)
        own_broker.kill()
        assert worker.end() == 0  # though nobody can be told good-bye
    log = (tmp_path / "worker-0.log").read_text()
    assert "Traceback" not in log
    assert len(log.splitlines()) < 20  # an outage is told, not repeated thirty times a second


def recreate(monitor: Monitor, role: str, events: int) -> None:
    """Delete a topic and make it anew, with so many events in it."""
    admin = AdminClient({"bootstrap.servers": monitor.address, "log_level": 0})
    topic = monitor.topic(role)
    admin.delete_topics([topic])[topic].result(30)
    wait_for(lambda: topic not in admin.list_topics(timeout=10).topics, f"{topic} to be gone")
    create_topics(monitor.address, [topic], 2)
    again = [Sent(as_json(prediction(f"again-{row}", row * 100)), (), row % 2) for row in range(events)]
    send_all(monitor.address, topic, again)


def last_line(of: Path) -> str:
    return of.read_text().splitlines()[-1]


def test_records_deleted_before_they_were_read_are_counted_and_a_recreated_topic_is_refused(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topic_name)
    predicted = monitor.topic("predictions")
    refused = rf"driftline: error: {predicted}(, partition \d)?: is another topic than the one that was read before .*"
    send_events(monitor, 0, 100)
    with workers(monitor.config, tmp_path, 1) as running:
        monitor.wait_until_read(200)
        assert running[0].end() == 0
        send_events(monitor, 100, 200)
        admin = AdminClient({"bootstrap.servers": monitor.address, "log_level": 0})
        for cut in admin.delete_records([TopicPartition(predicted, 0, 70)]).values():
            cut.result(30)
        running.append(WorkerProcess(monitor.config, tmp_path / "after-the-loss.log"))
        monitor.wait_until_read(400)
        assert monitor.counts()["*", "lost_record"] == 20
        assert monitor.counts()["m", "prediction"] == 180
        assert (
            f"{predicted}, partition 0: records 50 to 69 were deleted before they were read; they are lost"
            in (tmp_path / "after-the-loss.log").read_text()
        )
        # Longer than the log that was read: its offsets alone do not tell that it is another one.
        recreate(monitor, "predictions", 1_000)
        assert running[1].process.wait(120) == 3
        assert re.fullmatch(refused, last_line(tmp_path / "after-the-loss.log"))
        running.append(WorkerProcess(monitor.config, tmp_path / "started-again.log"))
        assert running[2].process.wait(120) == 3
        assert re.fullmatch(refused, last_line(tmp_path / "started-again.log"))
        assert "Traceback" not in (tmp_path / "started-again.log").read_text()


def assigned(monitor: Monitor) -> dict[int, tuple[str, int]]:
    """Return by process id what a worker said last: its state and the number of its partitions."""
    found = monitor.rows("select pid, state, jsonb_array_length(partitions) from driftline.v_workers")
    return {pid: (state, n) for pid, state, n in found}


def told_to_kafka(monitor: Monitor) -> dict[tuple[str, int], int]:
    """Return the positions that lag tools see: those committed for the consumer group."""
    admin = AdminClient({"bootstrap.servers": monitor.address, "log_level": 0})
    [asked] = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(monitor.settings["kafka"]["group"])]
    ).values()
    return {(of.topic, of.partition): of.offset for of in asked.result(30).topic_partitions}


def test_a_worker_told_to_stop_says_so_and_another_one_takes_over_before_any_session_ends(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(
        tmp_path, broker.bootstrap_servers, postgres_url, topic_name, kafka={"session_timeout": "100s"}
    )
    send_events(monitor, 0, 40)
    with workers(monitor.config, tmp_path, 1) as running:
        monitor.wait_until_read(80)
        running.append(WorkerProcess(monitor.config, tmp_path / "second.log"))
        pids = [worker.process.pid for worker in running]
        both = dict.fromkeys(pids, ("running", 2))
        wait_for(lambda: assigned(monitor) == both, "both to have half of the partitions")
        assert running[0].end() == 0
        assert assigned(monitor)[pids[0]] == ("stopped", 0)
        wait_for(lambda: assigned(monitor)[pids[1]] == ("running", 4), "the other one to have all", 70)
        send_events(monitor, 40, 80)
        expect_everything_once(monitor, 80)
        assert running[1].end() == 0
    stored = monitor.rows("select topic, partition, next from driftline.stream_offset")
    read = {(topic, partition): position for topic, partition, position in stored}
    assert told_to_kafka(monitor) == read
    # A group that was never told anything: what has nothing new to read must not look unread.
    renamed = monitor.variant("renamed", kafka={"group": topic_name("group")})
    with workers(renamed.config, tmp_path, 1):
        wait_for(lambda: told_to_kafka(renamed) == read, "the new group to be told")


def test_windows_close_while_partitions_are_idle_but_not_while_one_is_behind_whose_worker_is_dead(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(
        tmp_path,
        broker.bootstrap_servers,
        postgres_url,
        topic_name,
        partitions=4,
        models={"m": {"windows": WINDOWS | {"idle_after": "1s"}}},
        kafka={"session_timeout": "100s"},
    )
    predicted = monitor.topic("predictions")

    def send_at(at_ms: int, partitions: Iterable[int]) -> None:
        events = [Sent(as_json(prediction(f"{at_ms}-{to}", at_ms)), (), to) for to in partitions]
        send_all(monitor.address, predicted, events)

    with workers(monitor.config, tmp_path, 1) as running:
        send_at(5_000, [0])
        send_at(25_000, [0])
        wait_for(lambda: closed_through(monitor) == 20_000, "windows to close over three silent partitions")
        (home := tmp_path / "home").mkdir()
        running.append(WorkerProcess(monitor.config, tmp_path / "second.log", home))
        wait_for(lambda: sorted(assigned(monitor).values()) == [("running", 2)] * 2, "partitions to be shared")
        dead = running[1].process
        held = [
            partition
            for (partitions,) in monitor.rows(f"select partitions from driftline.v_workers where pid = {dead.pid}")
            for _, partition in partitions
        ]
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert list(home.iterdir()) == []  # who is killed leaves nothing behind
        send_at(35_000, held)
        send_at(65_000, set(range(4)) - set(held))
        idle = f"""select from driftline.stream_offset where topic = '{predicted}' and partition <> all (array{held})
                   and idle_through = to_timestamp({(START_MS + 65_000) / 1000})"""
        wait_for(lambda: len(monitor.rows(idle)) == 2, "the living partitions to be idle")
        time.sleep(3)  # several looks at the watermark
        assert closed_through(monitor) == 20_000
