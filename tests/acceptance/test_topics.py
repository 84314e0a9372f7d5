"""Does `driftline topics`, as a real process, say which topics there are, and make those that are missing?"""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftline.kafka_admin import topic_ids
from tests.support.kafka import Broker

Name = Callable[[str], str]


def configuration(folder: Path, bootstrap_servers: str, new_name: Name) -> dict[str, str]:
    """Write a configuration of two models, whose topics no other test has; return the topics by role."""
    roles = ("predictions", "labels", "features", "drift", "retraining", "retraining_status", "dead_letters")
    topics = {role: new_name(role.replace("_", "-")) for role in roles}
    own = new_name("own")
    (folder / "monitor.yaml").write_text(
        f"kafka: {{bootstrap_servers: '{bootstrap_servers}', topics: {json.dumps(topics)}}}\n"
        "models:\n"
        "  one: {task: binary, reference: {first_events: 100}, columns: {label: y}}\n"
        f"  two: {{task: regression, reference: {{first_events: 100}}, topics: {{predictions: {own}}}}}\n"
    )
    return topics | {"own": own}


def driftline_topics(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftline.cli", "topics", *arguments], cwd=folder, capture_output=True, text=True
    )


def told(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {topic["topic"]: topic for topic in json.loads(result.stdout)["topics"]}


def test_every_topic_of_the_configuration_is_listed_with_what_it_is_for(
    tmp_path: Path, broker: Broker, topic_name: Name
) -> None:
    topics = configuration(tmp_path, broker.bootstrap_servers, topic_name)

    result = driftline_topics(tmp_path, "--json")

    listed = told(result)
    assert listed.keys() == set(topics.values())
    assert {topic["exists"] for topic in listed.values()} == {False}
    assert listed[topics["predictions"]]["models"] == ["one"]
    assert listed[topics["features"]] == {
        "topic": topics["features"],
        "roles": ["features"],
        "models": ["one", "two"],
        "needed": False,
        "exists": False,
        "created": False,
        "partitions": None,
        "topic_id": None,
    }
    optional = {role for role, name in topics.items() if not listed[name]["needed"]}
    assert optional == {"features", "retraining_status"}
    assert {role for role, name in topics.items() if role != "own" and listed[name]["roles"] != [role]} == set()


def test_a_needed_topic_that_is_missing_ends_with_3_and_how_to_make_it(
    tmp_path: Path, broker: Broker, topic_name: Name
) -> None:
    topics = configuration(tmp_path, broker.bootstrap_servers, topic_name)
    broker.create_topic(topics["own"])

    result = driftline_topics(tmp_path)

    [line] = result.stderr.splitlines()
    assert result.returncode == 3
    assert "`driftline topics --create` makes them" in line
    assert topics["predictions"] in line
    assert topics["own"] not in line
    assert topics["features"] not in line  # feature events are optional
    assert topics["retraining_status"] not in line
    [status] = [row for row in result.stdout.splitlines() if row.startswith(topics["retraining_status"])]
    assert status.split()[1:] == ["retraining_status", "no,", "optional"]
    [row] = [row for row in result.stdout.splitlines() if row.startswith(topics["own"])]
    assert row.split()[1:4] == ["predictions", "two", "yes"]


@pytest.mark.real_kafka
def test_missing_topics_are_made_once_and_those_that_are_there_left_alone(
    tmp_path: Path, broker: Broker, topic_name: Name
) -> None:
    topics = configuration(tmp_path, broker.bootstrap_servers, topic_name)
    broker.create_topic(topics["own"], partitions=2)

    first = driftline_topics(tmp_path, "--create", "--partitions", "3", "--json")
    second = driftline_topics(tmp_path, "--create", "--partitions", "5", "--json")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    made = topic_ids(broker.bootstrap_servers, list(topics.values()))
    assert {name: info.partitions for name, info in made.items()} == dict.fromkeys(made, 3) | {topics["own"]: 2}
    assert [name for name, topic in told(first).items() if not topic["created"]] == [topics["own"]]
    assert not any(topic["created"] for topic in told(second).values())
    assert {name: uuid.UUID(topic["topic_id"]) for name, topic in told(second).items()} == {
        name: uuid.UUID(info.topic_id) for name, info in made.items()
    }


@pytest.mark.real_kafka
def test_more_replicas_than_the_cluster_has_brokers_ends_with_2(
    tmp_path: Path, broker: Broker, topic_name: Name
) -> None:
    configuration(tmp_path, broker.bootstrap_servers, topic_name)

    result = driftline_topics(tmp_path, "--create", "--replication", "1000")

    assert result.returncode == 2
    assert "give other --partitions or --replication" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_one_topic_may_serve_several_inputs_and_stands_in_the_list_once(
    tmp_path: Path, broker: Broker, topic_name: Name
) -> None:
    shared = topic_name("shared")
    (tmp_path / "monitor.yaml").write_text(
        f"kafka: {{bootstrap_servers: '{broker.bootstrap_servers}',"
        f" topics: {{predictions: {shared}, labels: {shared}, features: {shared}}}}}\n"
        "models: {m: {task: binary, reference: {first_events: 100}, columns: {label: y}}}\n"
    )

    listed = told(driftline_topics(tmp_path, "--json"))

    assert listed[shared]["roles"] == ["predictions", "labels", "features"]
    assert listed[shared]["needed"]


def test_a_broker_that_is_not_there_ends_with_4(tmp_path: Path, topic_name: Name, free_port: int) -> None:
    configuration(tmp_path, f"127.0.0.1:{free_port}", topic_name)

    result = driftline_topics(tmp_path)

    [line] = result.stderr.splitlines()
    assert result.returncode == 4
    assert line.startswith(f"driftline: error: kafka at 127.0.0.1:{free_port}: no answer within ")


def test_a_configuration_without_kafka_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text("models: {m: {task: binary, reference: {first_events: 100}}}\n")

    result = driftline_topics(tmp_path)

    assert result.returncode == 2
    assert "add `kafka: {bootstrap_servers: HOST:PORT}`" in result.stderr
