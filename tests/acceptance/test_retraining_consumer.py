"""Is a retraining run once for each request, whoever is killed meanwhile, and is what became of it told once?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from psycopg.types.json import Jsonb

from tests.support.kafka import Broker
from tests.support.live import rows_of, wait_for, workers
from tests.support.monitors import Sent, create_topics, make_monitor, send_all
from tests.support.retraining import Bench, Receiver, bench, request_event

pytestmark = pytest.mark.real_kafka


@pytest.fixture
def desk(tmp_path: Path, broker: Broker, topic_name: Callable[[str], str]) -> Iterator[Bench]:
    with bench(tmp_path, broker, topic_name) as made:
        yield made


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_request_that_comes_again_is_run_and_told_once(desk: Bench) -> None:
    desk.send(request_event("r1"), b"not json", request_event("r1"), {"type": "driftline.drift.detected", "id": "d"})

    first = desk.once("--run", desk.command)
    desk.send(request_event("r1"))
    second = desk.once("--run", desk.command)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "passed over, it is no request: it is not JSON" in first.stderr
    assert desk.runs() == ["r1"]
    assert desk.states() == [("r1", "started", 1), ("r1", "succeeded", 1)]
    told = desk.statuses()[1]
    assert told["type"] == "driftline.retraining.status"
    assert told["data"]["new_version"] == "8"
    assert told["data"]["episode_id"] == request_event("r1")["data"]["episode_id"]
    assert told["data"]["at"] == told["time"]


def test_a_consumer_killed_before_and_while_its_run_goes_on_is_followed_by_one_that_finds_it(desk: Bench) -> None:
    desk.hold.touch()
    desk.send(request_event("r1"), request_event("r2"))
    killed = desk.start("--run", desk.command)
    begun = desk.attempt("r1")
    killed.kill()
    killed.wait()
    wait_for(desk.runs, "the command, which goes on")
    assert is_alive(begun["keeper"])

    followers = [desk.start("--run", desk.command) for _ in range(2)]  # both wait for the run that goes on
    wait_for(lambda: desk.logs().count("waiting for requests") == 3, "both followers")
    followers[0].kill()
    desk.hold.unlink()

    desk.wait_for_states(("r1", "started", 1), ("r1", "succeeded", 1), ("r2", "started", 1), ("r2", "succeeded", 1))
    assert desk.runs() == ["r1", "r2"]


def test_a_run_that_ended_while_no_consumer_was_there_is_told_by_the_next_one(desk: Bench) -> None:
    desk.hold.touch()
    desk.send(request_event("r1"))
    stopped = desk.start("--run", desk.command)
    begun = desk.attempt("r1")
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(120) == 0
    assert is_alive(begun["keeper"])
    desk.hold.unlink()
    wait_for(lambda: not is_alive(begun["keeper"]), "the run's end")
    assert desk.states() == [("r1", "started", 1)]

    # What to run has changed meanwhile, but the request is done.
    result = desk.once("--run", "false")

    assert result.returncode == 0, result.stderr
    assert desk.states() == [("r1", "started", 1), ("r1", "succeeded", 1)]
    assert desk.runs() == ["r1"]


def test_a_run_that_is_broken_off_is_begun_again_but_not_for_ever_and_never_beside_itself(desk: Bench) -> None:
    desk.hold.touch()
    desk.send(request_event("r1"))
    desk.start("--run", desk.command)
    for number in (1, 2, 3):
        begun = desk.attempt("r1", number)
        wait_for(lambda number=number: len(desk.runs()) == number, "the command")
        os.kill(begun["keeper"], signal.SIGKILL)
        if number < 3:
            desk.attempt("r1", number + 1)
            assert not is_alive(begun["group"])  # its keeper could not end it, the next one did

    desk.wait_for_states(*[("r1", "started", number) for number in (1, 2, 3)], ("r1", "failed", 3))
    assert desk.runs() == ["r1"] * 3
    assert "begun 3 times and broken off each time" in desk.statuses()[-1]["data"]["outcome"]


def test_a_command_that_hangs_is_ended_with_all_it_started(desk: Bench) -> None:
    script = desk.folder / "hang.sh"
    script.write_text("trap '' TERM\necho before; sleep 1000 & echo $! > child; echo why >&2; wait; wait\n")
    desk.send(request_event("r1"))

    result = desk.once("--run", f"sh {script}", "--timeout", "1s")

    assert result.returncode == 0, result.stderr
    assert desk.states() == [("r1", "started", 1), ("r1", "failed", 1)]
    assert desk.statuses()[-1]["data"]["outcome"] == "was ended after 1 s: why"
    assert not is_alive(int((desk.folder / "child").read_text()))


def test_a_command_that_fails_or_vanishes_is_a_failed_status_and_the_next_request_is_run(desk: Bench) -> None:
    command = desk.folder / "train"
    command.write_text("#!/bin/sh\nrm $0\necho 'no data; $(touch pwned) \x1b[31m' >&2\nexit 7\n")
    command.chmod(0o700)
    desk.send(request_event("$(touch pwned)"), request_event("r2", "other; touch pwned"))

    result = desk.once("--run", str(command))

    assert result.returncode == 0, result.stderr
    assert [state for _, state, _ in desk.states()] == ["started", "failed"] * 2
    outcomes = [each["data"]["outcome"] for each in desk.statuses() if each["data"]["state"] == "failed"]
    assert outcomes == [
        "exited with 7: no data; $(touch pwned) \N{REPLACEMENT CHARACTER}[31m",
        "can't be started: No such file or directory",
    ]
    assert not list(desk.folder.rglob("pwned"))


def test_requests_of_other_models_are_left_to_others(desk: Bench) -> None:
    desk.send(request_event("r1", "a"), request_event("r2", "b"))

    assert desk.once("--run", desk.command, "--models", "b,c").returncode == 0

    assert desk.runs() == ["r2"]


def test_two_consumers_of_one_group_double_nothing(
    tmp_path: Path, broker: Broker, topic_name: Callable[[str], str]
) -> None:
    with bench(tmp_path, broker, topic_name, partitions=2) as desk:
        names = [f"r{number}" for number in range(6)]
        for number, name in enumerate(names):
            desk.send(request_event(name), partition=number % 2)
            desk.send(request_event(name), partition=(number + 1) % 2)  # published twice, read by both
        for _ in range(2):
            desk.start("--run", desk.command)

        wait_for(lambda: len(desk.states()) >= 12, "all statuses")
        for consumer in desk.consumers:
            consumer.send_signal(signal.SIGTERM)
        assert [consumer.wait(120) for consumer in desk.consumers] == [0, 0], desk.logs()
        assert sorted(desk.runs()) == names
        assert sorted(set(desk.states())) == sorted(
            (name, state, 1) for name in names for state in ("started", "succeeded")
        )


def test_a_receiver_that_fails_is_tried_again_under_the_same_id_until_it_takes_the_request(desk: Bench) -> None:
    desk.send(request_event("r1"), request_event("r2"))
    with Receiver(500, 503, 202, 302) as receiver:
        result = desk.once("--post", receiver.url)

    assert result.returncode == 0, result.stderr
    assert [headers["webhook-id"] for headers, _ in receiver.posts] == ["r1", "r1", "r1", "r2"]
    assert [json.loads(body)["id"] for _, body in receiver.posts] == ["r1", "r1", "r1", "r2"]
    assert {headers["content-type"] for headers, _ in receiver.posts} == {"application/cloudevents+json; charset=UTF-8"}
    told = [each["data"] for each in desk.statuses() if each["data"]["state"] != "started"]
    assert [(each["state"], each["outcome"]) for each in told] == [
        ("succeeded", '127.0.0.1 answered 202: {"version": "9"}'),
        ("failed", '127.0.0.1 answered 302: {"version": "9"}'),  # a redirect is not followed
    ]
    assert [each.get("new_version") for each in told] == ["9", None]


def test_a_topic_that_is_not_there_ends_with_3_before_anything_is_run(desk: Bench) -> None:
    desk.send(request_event("r1"))
    desk.status_topic = "absent-" + desk.status_topic

    result = desk.once("--run", desk.command)

    assert result.returncode == 3
    [line] = result.stderr.splitlines()
    assert line.startswith("driftline: error: ")
    assert desk.status_topic in line
    assert desk.runs() == []


def test_without_the_right_to_write_statuses_nothing_is_run_and_with_it_the_request_is_still_there(desk: Bench) -> None:
    desk.send(request_event("r1"))
    with denied(desk.broker.bootstrap_servers, desk.status_topic):
        result = desk.once("--run", desk.command)

    assert (result.returncode, desk.runs()) == (3, [])
    line = result.stderr.splitlines()[-1]
    assert line.startswith("driftline: error: ")
    assert f"no right to write topic {desk.status_topic}; have Write on topic {desk.status_topic} granted" in line

    assert desk.once("--run", desk.command).returncode == 0
    assert desk.states() == [("r1", "started", 1), ("r1", "succeeded", 1)]


@contextmanager
def denied(bootstrap_servers: str, topic: str) -> Iterator[None]:
    """Let everybody do everything with a topic but write it."""

    def rule(operation: AclOperation, permission: AclPermissionType) -> AclBinding:
        literal = ResourcePatternType.LITERAL
        return AclBinding(ResourceType.TOPIC, topic, literal, "User:*", "*", operation, permission)

    rules = [rule(AclOperation.ALL, AclPermissionType.ALLOW), rule(AclOperation.WRITE, AclPermissionType.DENY)]
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    anything = AclBindingFilter(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, None, None, AclOperation.ANY, AclPermissionType.ANY
    )

    def there() -> int:
        return len(admin.describe_acls(anything).result(30))

    for made in admin.create_acls(rules).values():
        made.result(30)
    wait_for(lambda: there() == 2, "the rules")
    yield
    for gone in admin.delete_acls([anything]).values():
        gone.result(30)
    wait_for(lambda: there() == 0, "no rules")


@pytest.mark.postgres
def test_what_becomes_of_a_request_of_ours_and_of_others_shows_in_the_view(
    tmp_path: Path, broker: Broker, topic_name: Callable[[str], str], postgres_url: str
) -> None:
    roles = ("predictions", "labels", "features", "drift", "retraining", "retraining_status", "dead_letters")
    topics = {role: topic_name(role.replace("_", "-")) for role in roles}
    create_topics(broker.bootstrap_servers, topics.values())
    monitor = make_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topics)
    for request_id in ("r1", "r2"):
        event = request_event(request_id)
        with psycopg.connect(postgres_url) as connection:
            connection.execute(
                "insert into driftline.outbox (event_id, type, topic, model, version, segment, episode_id, occurred_at,"
                " payload) values (%s, %s, %s, 'm', 'v1', '*', %s, now(), %s)",
                [request_id, event["type"], topics["retraining"], event["data"]["episode_id"], Jsonb(event)],
            )
            connection.execute(
                "insert into driftline.retraining (request_id, episode_id, model, version, state, requested_at)"
                " values (%s, %s, 'm', 'v1', 'requested', now())",
                [request_id, event["data"]["episode_id"]],
            )
    foreign = Sent(json.dumps(request_event("by-hand", "other", episode_id=None)).encode())
    send_all(broker.bootstrap_servers, topics["retraining"], [foreign])
    script = tmp_path / "train.sh"
    script.write_text("[ $DRIFTLINE_REQUEST_ID != r2 ] && echo '{\"version\": 8}' || { echo no data >&2; exit 1; }\n")
    consumer = [sys.executable, "-m", "retraining.consumer", "--config", str(monitor.config), "--run", f"sh {script}"]
    view = "select request_id, state, outcome, finished_at is not null from driftline.v_retraining order by request_id"

    with workers(monitor.config, tmp_path, 1):
        done: subprocess.CompletedProcess[str] | None = None

        def all_finished() -> list[tuple[str, str, str, bool]]:
            nonlocal done
            done = subprocess.run(
                [*consumer, "--once", "--group", topics["retraining"]], cwd=tmp_path, capture_output=True, text=True
            )
            found = rows_of(postgres_url, view)
            return found if len(found) == 3 and all(finished for *_, finished in found) else []

        shown = wait_for(all_finished, "three finished requests")

    assert done is not None
    assert done.returncode == 0, done.stderr
    assert shown == [
        ("by-hand", "succeeded", '{"version": 8}', True),
        ("r1", "succeeded", '{"version": 8}', True),
        ("r2", "failed", "exited with 1: no data", True),
    ]
    assert monitor.counts()["*", "retraining_status"] == 6
