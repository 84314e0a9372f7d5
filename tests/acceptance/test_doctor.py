"""Does `driftline doctor`, as a real process, find what is wrong with each thing it stands on, and only that?"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from driftline.kafka_admin import topic_ids
from tests.support.kafka import Broker

Name = Callable[[str], str]

REFERENCE = "id,age,prediction,score\n" + "".join(f"{n},{20 + n % 50},{n % 2},0.{n % 10}\n" for n in range(200))


@dataclass
class Told:
    """What a run of the doctor said."""

    exit_code: int
    output: str
    findings: list[dict[str, str]]

    def of(self, subject: str) -> list[tuple[str, str]]:
        return [(finding["level"], finding["what"]) for finding in self.findings if finding["subject"] == subject]

    def levels(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for finding in self.findings:
            found.setdefault(finding["subject"], set()).add(finding["level"])
        return found


def doctor(folder: Path, **environ: str) -> Told:
    run = subprocess.run(
        [sys.executable, "-m", "driftline.cli", "doctor", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | environ,
    )
    assert run.stderr == ""
    told = json.loads(run.stdout)
    assert told["exit_code"] == run.returncode
    return Told(run.returncode, run.stdout, told["findings"])


def driftline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftline.cli", *arguments], cwd=folder, capture_output=True, text=True
    )


@dataclass
class House:
    """A configuration whose database is migrated and whose topics exist."""

    folder: Path
    url: str
    bootstrap_servers: str
    topics: dict[str, str]

    def configure(self, url: str | None = None, bootstrap_servers: str | None = None) -> None:
        (self.folder / "reference.csv").write_text(REFERENCE)
        (self.folder / "monitor.yaml").write_text(
            f"postgres: {{url: '{url or self.url}'}}\n"
            f"kafka: {{bootstrap_servers: '{bootstrap_servers or self.bootstrap_servers}',"
            f" topics: {json.dumps(self.topics)}}}\n"
            "models:\n"
            "  m:\n"
            "    task: binary\n"
            "    reference: {path: reference.csv}\n"
            "    columns: {id: id}\n"
        )

    def partitions(self) -> int:
        info = topic_ids(self.bootstrap_servers, [self.topics["predictions"]])
        return info[self.topics["predictions"]].partitions

    def read_up_to(self, position: int, topic_id: str = "", newest: str = "2024-01-01") -> None:
        """Say that every partition of the predictions was read up to a position."""
        with psycopg.connect(self.url) as connection:
            for partition in range(self.partitions()):
                connection.execute(
                    "insert into driftline.stream_offset (topic, partition, topic_id, next, newest_event)"
                    " values (%s, %s, %s, %s, %s)",
                    [self.topics["predictions"], partition, topic_id, position, newest],
                )


@pytest.fixture
def house(tmp_path: Path, postgres_url: str, broker: Broker, topic_name: Name) -> House:
    roles = ("predictions", "labels", "features", "drift", "retraining", "retraining_status", "dead_letters")
    house = House(
        tmp_path, postgres_url, broker.bootstrap_servers, {role: topic_name(role.replace("_", "-")) for role in roles}
    )
    house.configure()
    for topic in house.topics.values():
        broker.create_topic(topic)
    assert driftline(tmp_path, "migrate").returncode == 0
    return house


def test_a_house_in_order_ends_with_0_and_each_thing_is_told(house: House) -> None:
    house.read_up_to(0)

    told = doctor(house.folder)

    assert told.exit_code == 0
    assert {subject for subject, levels in told.levels().items() if levels != {"ok"}} == {"workers", "positions"}
    assert told.levels().keys() >= {
        "python", "packages", "tree", "configuration", "reference", "postgres", "schema", "rights", "workers",
        "dead letters", "topics", "positions", "lag", "watermark",
    }  # fmt: skip
    [(_, reference)] = told.of("reference")
    assert "1 features, digest " in reference  # age: the others are the event's own fields


def test_without_json_each_finding_is_a_line_of_its_own(house: House) -> None:
    printed = driftline(house.folder, "doctor")

    assert printed.returncode == 0
    assert printed.stderr == ""
    lines = printed.stdout.splitlines()
    assert len(lines) >= 13
    assert [line for line in lines if not re.match(r"(ok|warn|fail) +\S", line)] == []


def test_a_worker_that_beats_and_dead_letters_are_told(house: House) -> None:
    with psycopg.connect(house.url) as connection:
        connection.execute(
            "insert into driftline.worker values ('w-1', 'h', 7, now(), now(), 'running', '[[\"t\", 0]]')"
        )
        for _ in range(3):
            connection.execute(
                "insert into driftline.dead_letter (reason, detail, topic, partition, record_offset, element)"
                " values ('not_json', 'cut off', 't', 0, 0, 0)"
            )
        connection.execute("update driftline.dead_letter set at = now() - interval '2 days' where dead_letter_id = 1")

    told = doctor(house.folder)

    assert told.of("workers") == [("ok", "w-1 running with 1 partitions")]
    assert "in the last day: 2 not_json;" in told.of("dead letters")[0][1]


def test_a_log_that_was_read_further_than_it_reaches_ends_with_3(house: House) -> None:
    house.read_up_to(5)

    told = doctor(house.folder)

    assert told.exit_code == 3
    assert "ends at offset 0, but was read up to 5" in told.of("positions")[0][1]


@pytest.mark.real_kafka
def test_a_recreated_topic_ends_with_3(house: House) -> None:
    house.read_up_to(0, topic_id="6f4b7e1c-0000-0000-0000-000000000000")

    told = doctor(house.folder)

    assert told.exit_code == 3
    assert "is another topic than the one that was read before" in told.of("positions")[0][1]


def test_a_database_that_was_never_migrated_ends_with_3_and_says_so(house: House) -> None:
    with psycopg.connect(house.url) as connection:
        connection.execute("drop schema driftline cascade")

    told = doctor(house.folder)

    assert told.exit_code == 3
    assert told.of("schema") == [("fail", "postgres: there is no schema yet; run `driftline migrate`")]
    assert told.levels()["topics"] == {"ok"}


def test_a_role_without_rights_ends_with_3_and_what_it_lacks(house: House) -> None:
    role = f"poor_{house.url.rpartition('_')[2]}"
    with psycopg.connect(house.url, autocommit=True) as owner:
        owner.execute(f"create role {role} login password 'hunter2'".encode())
        try:
            house.configure(url=re.sub(r"//[^@]*@", f"//{role}:hunter2@", house.url))
            nothing = doctor(house.folder)
            owner.execute(f"grant usage on schema driftline to {role}".encode())
            owner.execute(f"grant select on all tables in schema driftline to {role}".encode())
            reader = doctor(house.folder)
        finally:
            owner.execute(f"drop owned by {role}".encode())
            owner.execute(f"drop role {role}".encode())

    assert (nothing.exit_code, reader.exit_code) == (3, 3)
    assert "may not look: permission denied" in nothing.of("rights")[0][1]
    assert f"{role} lacks " in reader.of("rights")[0][1]
    assert "grant what docs/operations.md lists" in reader.of("rights")[0][1]
    assert "hunter2" not in nothing.output + reader.output


def test_services_that_are_not_there_end_with_4_and_hide_the_password(house: House, free_port: int) -> None:
    house.configure(f"postgresql://me:hunter2@127.0.0.1:{free_port}/ml", f"127.0.0.1:{free_port}")

    told = doctor(house.folder)

    assert told.exit_code == 4
    assert [level for level, _ in told.of("postgres") + told.of("kafka")] == ["fail", "fail"]
    assert "hunter2" not in told.output


def test_missing_topics_end_with_3(house: House, topic_name: Name) -> None:
    house.topics["predictions"] = topic_name("nowhere")
    house.configure()

    told = doctor(house.folder)

    assert told.exit_code == 3
    assert f"there is no topic {house.topics['predictions']};" in told.of("topics")[0][1]


def test_every_problem_of_a_configuration_is_a_finding_and_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text("models: {m: {task: binray, reference: {first_evnets: 3}}}\n")

    told = doctor(tmp_path)

    assert told.exit_code == 2
    assert [level for level, _ in told.of("configuration")] == ["fail"] * 2


@pytest.mark.parametrize("reference", ["missing.csv", "odd.csv"])
def test_a_reference_that_cannot_be_used_ends_with_2(tmp_path: Path, reference: str) -> None:
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    (tmp_path / "monitor.yaml").write_text(f"models: {{m: {{task: binary, reference: {{path: {reference}}}}}}}\n")

    told = doctor(tmp_path)

    assert told.exit_code == 2
    [(level, what)] = told.of("reference")
    assert level == "fail"
    assert reference in what


def test_a_configuration_for_replay_alone_is_in_order(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text("models: {m: {task: binary, reference: {first_events: 100}}}\n")

    told = doctor(tmp_path)

    assert told.exit_code == 0
    assert told.of("kafka") == told.of("postgres") == [("ok", "not configured: only replay can be run")]
