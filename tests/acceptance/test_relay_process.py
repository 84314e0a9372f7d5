"""Does `driftline relay` bring everything out, whatever is killed, stopped or away meanwhile, and tell no secret?"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from confluent_kafka import Consumer, TopicPartition

from driftline.store.connection import Connection, connect
from tests.support.kafka import Broker
from tests.support.live import run_driftline
from tests.support.monitors import Monitor, create_topics, make_monitor
from tests.support.outbox import DETECTED, RECOVERED, SECRET, Receiver, episode, listening, say, states, until
from tests.support.own_postgres import OwnPostgres

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

ROLES = ("predictions", "labels", "drift", "retraining", "dead_letters")


def monitor_of(folder: Path, address: str, url: str, topic_name: Callable[[str], str], receiver: Receiver) -> Monitor:
    topics = {role: topic_name(role) for role in ROLES}
    create_topics(address, [topic for role, topic in topics.items() if role != "retraining"])
    webhook = {"url": receiver.url, "secret": SECRET, "timeout": "2s"}
    return make_monitor(folder, address, url, topics, alerts={"webhooks": {"chat": webhook}})


@contextmanager
def processes(*commands: str, config: Path, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `driftline COMMAND` processes, which write into `COMMAND-NUMBER.log`; none is left at the end."""
    running = []
    for number, command in enumerate(commands):
        with (folder / f"{command.split()[0]}-{number}.log").open("wb") as log:
            line = [sys.executable, "-m", "driftline.cli", *command.split(), "--config", str(config)]
            running.append(subprocess.Popen(line, stdout=log, stderr=log))
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def in_topic(monitor: Monitor, role: str, n: int) -> list[tuple[bytes, dict[str, Any]]]:
    """Read at least `n` messages of a topic that has one partition, and all that are there."""
    consumer = Consumer({"bootstrap.servers": monitor.address, "group.id": "g", "auto.offset.reset": "earliest"})
    try:
        partition = TopicPartition(monitor.topic(role), 0, 0)
        consumer.assign([partition])
        _, end = consumer.get_watermark_offsets(partition, timeout=30)
        assert end >= n
        return [(message.key(), json.loads(message.value())) for message in consumer.consume(end, timeout=30)]
    finally:
        consumer.close()


async def all_delivered(connection: Connection) -> bool:
    found = {**await states(connection, "topic"), **await states(connection, "webhook")}
    return bool(found) and set(found.values()) == {"delivered"}


async def told(receiver: Receiver, n: int) -> bool:
    return len(receiver.ids) >= n


def no_secret_in(*texts: str) -> bool:
    return not any("hunter2" in text or SECRET.removeprefix("whsec_") in text for text in texts)


async def test_relays_that_are_killed_or_stopped_lose_nothing_and_keep_each_episodes_order(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response()

    async with listening(Receiver(answer=slow)) as receiver, AsyncExitStack() as services:
        monitor = await asyncio.to_thread(
            monitor_of, tmp_path, broker.bootstrap_servers, postgres_url, topic_name, receiver
        )
        connection = await services.enter_async_context(await connect(postgres_url))
        names = [f"e{number}" for number in range(40)]
        with processes("relay", "relay", "relay", config=monitor.config, folder=tmp_path) as (killed, stopped, last):
            for log in sorted(tmp_path.glob("relay-*.log")):
                await until(lambda log=log: _logged(log, "relaying from"), "all relays to have started")
            for name in names:
                await say(connection, name, DETECTED, RECOVERED, topic=monitor.topic("drift"))
            await until(lambda: told(receiver, 5), "the relays to have begun")
            killed.kill()
            stopped.send_signal(signal.SIGSTOP)
            await until(lambda: all_delivered(connection), "everything to be delivered", 90)
            stopped.send_signal(signal.SIGCONT)
            for process in (stopped, last):
                process.terminate()
                assert await asyncio.to_thread(process.wait, 30) == 0

        published = await asyncio.to_thread(in_topic, monitor, "drift", 80)
        for ids in ([event["id"] for _, event in published], [event["id"] for event in receiver.verified()]):
            assert len(set(ids)) == 80
            assert len(ids) <= 84  # what was under way in the killed and in the stopped one
            for name in names:
                own = [i for i in dict.fromkeys(ids) if i.startswith(f"{name}-")]
                assert own == [f"{name}-drift.detected", f"{name}-drift.recovered"]
        assert {key.decode() for key, _ in published} == {str(episode(name)) for name in names}
    logs = [file.read_text() for file in tmp_path.glob("*.log")]
    assert len(logs) == 3
    assert no_secret_in(*logs)
    assert "Traceback" not in "".join(logs)


async def test_a_relay_uses_services_again_that_come_back_and_a_worker_leaves_its_work_to_it(
    broker: Broker, topic_name: Callable[[str], str], tmp_path: Path, free_port: int
) -> None:
    with OwnPostgres() as postgres:
        receiver = Receiver(url=f"http://localhost:{free_port}/hunter2")
        monitor = await asyncio.to_thread(
            monitor_of, tmp_path, broker.bootstrap_servers, postgres.url, topic_name, receiver
        )
        missing = monitor.topic("retraining")
        with processes("relay", "run --no-relay", config=monitor.config, folder=tmp_path) as (relay, worker):
            async with await connect(postgres.url) as connection:
                await say(connection, "a", DETECTED, topic=monitor.topic("drift"))
                await say(connection, "b", "driftline.retraining.requested", topic=missing)
                await until(lambda: _all_tried(connection), "everything to be tried once")
                assert await states(connection, "topic") == {
                    "a-drift.detected": "delivered",
                    "b-retraining.requested": "waiting",
                }
            relay.terminate()
            assert await asyncio.to_thread(relay.wait, 30) == 0
            async with await connect(postgres.url) as connection:
                await say(connection, "a", RECOVERED, topic=monitor.topic("drift"))
                beats = "select count(*)::int from driftline.worker where seen_at > now() - interval '3 s'"
                await until(lambda: _holds(connection, f"select ({beats}) > 0"), "the worker to be alive")
                await asyncio.sleep(3)
                assert (await states(connection, "topic"))["a-drift.recovered"] == "waiting"
            worker.terminate()
            assert await asyncio.to_thread(worker.wait, 30) == 0
        assert (
            f"{missing}: messages wait: there is no topic {missing}; `driftline topics --create` makes it"
            in (tmp_path / "relay-0.log").read_text()
        )

        with processes("relay", config=monitor.config, folder=tmp_path) as [relay]:
            await until(lambda: _logged(tmp_path / "relay-0.log", "relaying from"), "the relay to start")
            await asyncio.to_thread(postgres.kill)
            await until(lambda: _logged(tmp_path / "relay-0.log", "WARNING driftline.timer: "), "the outage to be told")
            await asyncio.to_thread(postgres.start)
            create_topics(monitor.address, [missing])
            async with listening(receiver, port=free_port), await connect(postgres.url) as connection:
                await connection.execute("update driftline.delivery set next_attempt_at = now()")
                await until(lambda: all_delivered(connection), "everything to be delivered", 90)
            relay.terminate()
            assert await asyncio.to_thread(relay.wait, 30) == 0
        assert sorted(event["id"] for event in receiver.verified()) == [
            "a-drift.detected",
            "a-drift.recovered",
            "b-retraining.requested",
        ]
        log = (tmp_path / "relay-0.log").read_text()
        assert no_secret_in(log)
        assert "Traceback" not in log


async def _holds(connection: Connection, question: str) -> bool:
    [(answer,)] = await (await connection.execute(question.encode())).fetchall()
    return bool(answer)


async def _all_tried(connection: Connection) -> bool:
    tried = "select count(*) = 4 and bool_and(attempts > 0) from driftline.v_deliveries"
    return await _holds(connection, tried)


async def _logged(file: Path, text: str) -> bool:
    return text in file.read_text()


def test_a_relay_that_can_not_start_says_why_with_the_exit_code_of_its_remedy(
    postgres_url: str, tmp_path: Path, free_port: int
) -> None:
    nobody = f"127.0.0.1:{free_port}"
    topics = {role: role for role in ROLES}
    monitor = make_monitor(tmp_path, nobody, postgres_url, topics)

    for of, code, said in (
        (monitor, 4, f"kafka at {nobody}: no answer"),
        (monitor.variant("no-kafka", kafka=None), 2, "has no kafka section"),
        (monitor.variant("no-postgres", postgres={"url": f"postgresql://me:hunter2@{nobody}/ml"}), 4, "can't connect"),
    ):
        done = run_driftline("relay", "--config", str(of.config))
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.startswith("driftline: error: ")
        assert said in done.stderr
        assert no_secret_in(done.stderr)
