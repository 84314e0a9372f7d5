"""Can each of the three roles do its task, with what `driftline migrate --roles` grants, and nothing beyond it?"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.support.kafka import Broker
from tests.support.live import wait_for, workers
from tests.support.monitors import Monitor, make_monitor, make_topics_and_monitor, send_events

pytestmark = pytest.mark.postgres

TASKS = ("migrator", "writer", "reader")
NO_TOPICS = {role: f"absent.{role}" for role in ("predictions", "labels", "features", "dead_letters")}


@dataclass(frozen=True)
class House:
    """A store, and three roles with passwords of their own."""

    monitor: Monitor
    prefix: str
    passwords: dict[str, str]

    def url(self, task: str) -> str:
        return re.sub(r"//[^@]*@", f"//{self.prefix}_{task}:{self.passwords[task]}@", self.monitor.url)

    def migrate(self, url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "driftline.cli", "migrate", "--roles", "--roles-prefix", self.prefix]
        return subprocess.run(
            [*command, "--config", str(self.monitor.config), *arguments],
            env={**os.environ, "DRIFTLINE__POSTGRES__URL": url, **environment},
            capture_output=True,
            text=True,
        )


@pytest.fixture
def house(postgres_url: str, tmp_path: Path, free_port: int) -> Iterator[House]:
    prefix = f"p{secrets.token_hex(4)}"
    monitor = make_monitor(tmp_path, f"127.0.0.1:{free_port}", postgres_url, NO_TOPICS)
    house = House(monitor, prefix, {task: f"pass-{task}-{secrets.token_hex(4)}" for task in TASKS})
    file = tmp_path / "password"
    file.write_text(house.passwords["reader"] + "\n")
    given = {f"DRIFTLINE_{task.upper()}_PASSWORD": house.passwords[task] for task in TASKS[:2]}
    done = house.migrate(postgres_url, **given, DRIFTLINE_READER_PASSWORD_FILE=str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"role {prefix}_{task}: may log in" in done.stdout.splitlines() for task in TASKS)
    assert not any(password in done.stdout for password in house.passwords.values())
    yield house
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for task in TASKS:
            role = sql.Identifier(f"{prefix}_{task}")
            connection.execute(sql.SQL("drop owned by {} cascade").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))


def refused(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_the_reader_reads_views_and_nothing_else(house: House) -> None:
    with psycopg.connect(house.url("reader"), autocommit=True) as connection:
        views = {
            name
            for (name,) in connection.execute(
                "select relname from pg_class where relnamespace = 'driftline'::regnamespace and relkind = 'v'"
            )
        }
        assert len(views) > 10
        for view in views - {"v_dead_letters"}:
            connection.execute(sql.SQL("select * from driftline.{}").format(sql.Identifier(view)))
    refused(
        house.url("reader"),
        "select * from driftline.v_dead_letters",
        "select * from driftline.prediction",
        "select * from driftline.audit",
        "select id_key from driftline.installation",
        "select driftline.drop_partitions('label', 60, now())",
        "select driftline.admit_names(1::smallint, 'version', '{a}', 9)",
        "delete from driftline.v_counts",
        "insert into driftline.worker (worker_id, host, pid, state) values ('w', 'h', 1, 'running')",
        "create table driftline.mine (n integer)",
    )


def test_the_writer_makes_changes_and_drops_nothing_but_rows(house: House) -> None:
    refused(
        house.url("writer"),
        "create table driftline.mine (n integer)",
        "create schema mine",
        "alter table driftline.verdict add column mine integer",
        "drop table driftline.verdict",
        "truncate driftline.verdict",
        "drop view driftline.v_drift",
        "create or replace function driftline.ensure_partitions(text, integer, timestamptz, timestamptz)"
        " returns integer language sql as 'select 1'",
        "insert into driftline.migration (version, name) values (999, 'mine')",
        "update driftline.installation set id_key = '\\x00'",
        "delete from driftline.audit",
        "update driftline.audit set actor = 'somebody else'",
        "create role mine",
        f"set role {house.prefix}_migrator",
        "copy driftline.audit to program 'true'",
        "select pg_read_file('postgresql.conf')",
    )


@pytest.mark.real_kafka
def test_a_worker_does_all_its_work_as_the_writer(
    house: House, broker: Broker, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, house.monitor.url, topic_name, 1)
    monitor = monitor.variant("as-writer", postgres={"url": house.url("writer")})

    with workers(monitor.config, tmp_path, 1) as [worker]:
        send_events(monitor, 0, 600, partitions=1)
        monitor.wait_until_read(1200)
        wait_for(lambda: monitor.rows("select 1 from driftline.v_performance where n_labelled > 0"), "a window")
        assert worker.end() == 0

    assert monitor.counts()["m", "pair"] == 600
    told = (tmp_path / "worker-0.log").read_text()
    assert "permission denied" not in told
    assert "WARNING" not in re.sub(r".*there is no topic.*\n", "", told)


def test_the_migrator_migrates_and_grants_anew_and_may_make_no_roles(house: House, tmp_path: Path) -> None:
    again = house.migrate(house.url("migrator"), "--json")

    assert (again.returncode, again.stderr) == (0, "")
    told = json.loads(again.stdout)
    assert told["applied"] == []
    assert [(role["task"], role["may_log_in"]) for role in told["roles"]] == [(task, True) for task in TASKS]
    with psycopg.connect(house.url("migrator"), autocommit=True) as connection:
        connection.execute("alter table driftline.verdict add column later integer")
        connection.execute("create table driftline.added (n integer)")
    assert house.migrate(house.url("migrator")).returncode == 0
    with psycopg.connect(house.url("writer"), autocommit=True) as connection:
        connection.execute("insert into driftline.added values (1)")
    refused(house.url("migrator"), "create role mine", "create schema mine", "select pg_read_file('postgresql.conf')")


def test_roles_without_passwords_may_not_log_in_and_what_can_not_be_set_up_is_told(
    house: House, tmp_path: Path
) -> None:
    as_writer = house.migrate(house.url("writer"), "--roles-prefix", f"{house.prefix}x")
    assert as_writer.returncode == 3
    assert f"{house.prefix}_writer may not set up roles" in as_writer.stderr
    unreadable = house.migrate(house.monitor.url, DRIFTLINE_WRITER_PASSWORD_FILE=str(tmp_path / "none"))
    assert (unreadable.returncode, unreadable.stdout) == (2, "")
    assert f"DRIFTLINE_WRITER_PASSWORD_FILE: {tmp_path / 'none'}: No such file or directory" in unreadable.stderr
    as_reader = house.migrate(house.url("reader"))
    assert as_reader.returncode == 3
    assert f"migrate as {house.prefix}_migrator, whose the schema is" in as_reader.stderr
    assert "grant create" not in as_reader.stderr

    with psycopg.connect(house.monitor.url, autocommit=True) as connection:
        connection.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(f"{house.prefix}_reader")))
    told = house.migrate(house.monitor.url).stdout
    assert f"role {house.prefix}_reader: may not log in: set DRIFTLINE_READER_PASSWORD and run this again" in told


def test_the_server_never_sees_a_password(house: House) -> None:
    with psycopg.connect(house.monitor.url, autocommit=True) as connection:
        stored = dict(
            connection.execute(
                "select rolname, rolpassword from pg_authid where rolname like %s", [f"{house.prefix}%"]
            ).fetchall()
        )
    assert len(stored) == 3
    assert all(verifier.startswith("SCRAM-SHA-256$") for verifier in stored.values())
