"""Does everything work over TLS with passwords, is what is wrong told in a line, and is no secret ever told?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import CliRunner
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from psycopg import sql

from driftline.cli import main
from driftline.settings import load_settings
from tests.conftest import not_shown, service_missing
from tests.support.compose import running
from tests.support.encrypted import Authority, encrypted_postgres, make_authority
from tests.support.grafana import FakeGrafana, serving
from tests.support.kafka import JarBroker
from tests.support.live import rows_of, wait_for
from tests.support.monitors import (
    WINDOWS,
    Monitor,
    Sent,
    create_topics,
    make_monitor,
    prediction,
    send_all,
    send_events,
)
from tests.support.services import MissingServiceError

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

ROLES = ("predictions", "labels", "features", "drift", "retraining", "retraining_status", "dead_letters")
KAFKA_PASSWORD, STORE_PASSWORD = "kafka-hunter2", "store-hunter2"
ID_KEY, TOKEN, SIGNING = "idkey-hunter2-hunter2", "token-hunter2", "aHVudGVyMi1odW50ZXIyLWh1bnRlcjItaHVudGVy"
KEY_PASSWORD, GRAFANA_TOKEN = "key-hunter2", "grafana-hunter2"
PASSWORDS = {task: f"{task}-hunter2" for task in ("MIGRATOR", "WRITER", "READER")}
SECRETS = ("hunter2", TOKEN, SIGNING)


@dataclass(frozen=True)
class Place:
    """A broker and a store that speak TLS, a monitor of both, and strangers whom they don't know."""

    monitor: Monitor
    own: Authority
    stranger: Authority
    plain_servers: str
    admin_url: str
    folder: Path
    key: Path

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DRIFTLINE", "PG"))}
        return {**inherited, "DRIFTLINE__KAFKA__SECURITY__PASSWORD": KAFKA_PASSWORD, **more}

    def run(self, *words: str, monitor: Monitor | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        config = str((monitor or self.monitor).config)
        command = [sys.executable, "-m", *words, "--config", config]
        return subprocess.run(command, env=self.environment(**more), capture_output=True, text=True, timeout=120)

    def store_url(self, of: Authority | None = None, database: str = "guarded") -> str:
        at = urlsplit(self.admin_url)
        own = f"postgresql://guarded:{STORE_PASSWORD}@{at.hostname}:{at.port}/{database}"
        key = f"sslcert={self.key}&sslkey={self.key}&sslpassword={KEY_PASSWORD}"
        return f"{own}?sslmode=verify-full&sslrootcert={(of or self.own).file}&{key}"


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with ExitStack() as services:
        # Not a folder of pytest's, which nobody else may enter: the server runs as another user.
        folder = Path(services.enter_context(tempfile.TemporaryDirectory(prefix="driftline-encrypted-")))
        folder.chmod(0o755)
        own, stranger = make_authority(folder / "own"), make_authority(folder / "stranger")
        try:
            kafka = JarBroker({"alice": KAFKA_PASSWORD}, own.identity("kafka", "127.0.0.1"))
        except MissingServiceError as missing:
            service_missing(request, missing)
        services.callback(kafka.stop)
        try:
            admin_url = services.enter_context(encrypted_postgres(own.identity("postgres", "127.0.0.1")))
        except MissingServiceError as missing:
            not_shown(request, str(missing))
        with psycopg.connect(admin_url, autocommit=True) as connection:
            role = sql.SQL("create role guarded login createrole password {}")
            connection.execute(role.format(sql.Literal(STORE_PASSWORD)))
            connection.execute("create database guarded owner guarded")
            connection.execute("create database replayed owner guarded")
        topics = {role: f"{role}-tls" for role in ROLES}
        create_topics(kafka.bootstrap_servers, [topics[role] for role in ROLES[:3]])
        key = own.client("guarded", KEY_PASSWORD)
        made = Place(Monitor(Path(), {}), own, stranger, kafka.bootstrap_servers, admin_url, folder, key)
        security = {"protocol": "sasl_ssl", "sasl_mechanism": "SCRAM-SHA-512", "username": "alice"}
        monitor = make_monitor(
            folder,
            kafka.guarded_servers,
            made.store_url(),
            topics,
            models={"m": {"labels": {"horizon": "1d"}, "windows": {**WINDOWS, "idle_after": "2s"}}},
            kafka={"security": {**security, "ca_file": str(own.file)}},
            privacy={"id_key": ID_KEY},
            alerts={"webhooks": {"pager": {"url": f"http://127.0.0.1:9/{TOKEN}", "secret": f"whsec_{SIGNING}"}}},
        )
        yield replace(made, monitor=monitor)


def all_that_is_stored(url: str) -> str:
    """Every table of the store as text."""
    tables = rows_of(url, "select relname from pg_class where relnamespace = 'driftline'::regnamespace and relkind='r'")
    told = [str(rows_of(url, f"select t::text from driftline.{name} t")) for (name,) in tables]
    return "\n".join(told)


def all_messages(servers: str, topics: Sequence[str]) -> str:
    """Keys, headers and values of all that Driftline wrote to some topics."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reads-all", "enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in topics])
        told, ended = [], set()
        while len(ended) < len(topics):
            if (message := consumer.poll(30)) is None:
                raise AssertionError("no answer")
            if message.error():
                ended.add(message.topic())
            else:
                told.append(f"{message.key()!r} {message.headers()} {message.value()!r}")
    finally:
        consumer.close()
    return "\n".join(told)


def assert_no_secret(told: Mapping[str, str]) -> None:
    forms = {form for secret in SECRETS for form in (secret, secret.encode().hex())}  # a table shows bytes so
    found = [(where, form) for where, text in told.items() for form in forms if form in text]
    assert found == []


def test_every_program_works_over_tls_and_none_of_them_tells_a_secret(place: Place) -> None:
    told: dict[str, str] = {}

    def command(*words: str, code: int = 0, **environment: str) -> str:
        done = place.run(*words, **environment)
        told[" ".join(words)] = done.stdout + done.stderr
        assert done.returncode == code, told[" ".join(words)]
        return done.stdout

    files = {f"DRIFTLINE_{task}_PASSWORD_FILE": place.folder / task for task in PASSWORDS}
    for file, password in zip(files.values(), PASSWORDS.values(), strict=True):
        file.write_text(password)
    command("driftline.cli", "migrate", "--roles", **{name: str(file) for name, file in files.items()})
    command("driftline.cli", "topics", "--create", "--partitions", "1")
    programs = {
        "worker": ["driftline.cli", "run", "--verbose"],
        "relay": ["driftline.cli", "relay", "--verbose"],
        "consumer": ["retraining.consumer", "--run", "true", "--state", str(place.folder / "state")],
    }
    logs = {name: place.folder / f"{name}.log" for name in programs}
    monitor = place.monitor
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                running(
                    [sys.executable, "-m", *words, "--config", str(monitor.config)],
                    place.environment(),
                    place.folder,
                    logs[name],
                )
            )
            for name, words in programs.items()
        }
        # Producers of the test take the way without TLS: what is tried is what Driftline does.
        plain = monitor.variant("plain", kafka={"bootstrap_servers": place.plain_servers})
        send_events(plain, 0, 300, partitions=1)
        send_all(plain.address, monitor.topic("predictions"), [Sent(b'{"prediction_id": "x", "model": "m"}')])
        monitor.wait_until_read(601)
        wait_for(lambda: monitor.rows("select 1 from driftline.dead_letter where published_at is not null"), "a letter")
        wait_for(lambda: monitor.rows("select 1 from driftline.v_drift limit 1"), "a window")
        wait_for(lambda: "waiting for requests" in logs["consumer"].read_text(), "the consumer")
        with psycopg.connect(place.admin_url) as connection:
            clients = connection.execute(
                "select s.ssl, count(*) from pg_stat_ssl s join pg_stat_activity a using (pid)"
                " where a.usename = 'guarded' group by 1"
            ).fetchall()
        assert [encrypted for encrypted, _ in clients] == [True]
        repaired = place.folder / "event.json"
        repaired.write_text(json.dumps(prediction("x", 30_000)))
        replay = ["dead-letters", "replay", "1", "--by", "ann"]
        with ThreadPoolExecutor(4) as pool:
            programs_alone = [(["doctor", "--json"], 0), (["topics"], 0), (["alerts", "test", "pager"], 4), (replay, 2)]
            list(pool.map(lambda case: command("driftline.cli", *case[0], code=case[1]), programs_alone))
        command("driftline.cli", *replay, "--file", str(repaired))
        events, out = place.folder / "events.jsonl", place.folder / "out"
        events.write_text("".join(json.dumps(prediction(f"e-{row}", row * 100)) + "\n" for row in range(300)))
        stretch = ["--from", "2024-01-01T00:00Z", "--to", "2024-01-01T00:00:10Z", "--by", "ann"]
        target = ["--database", place.store_url(database="replayed")]
        # What asks Postgres only leaves nothing open, and need not be a process of its own.
        for words, code in (
            (["doctor", "--worker"], 0),
            (["episodes", "list"], 0),
            (["episodes", "ack", "1", "--by", "ann"], 2),
            (["dead-letters", "list"], 0),
            (["dead-letters", "show", "1", "--json"], 0),
            (["forget", "--prediction-id", "e-1", "--by", "ann"], 0),
            (["reference", "build"], 0),
            (["reference", "accept", "--model", "m", *stretch], 0),
            (["replay", "--predictions", str(events), "--out", str(out), "--no-pictures", *target], 0),
        ):
            done = CliRunner(env=place.environment()).invoke(main, [*words, "--config", str(monitor.config)])
            told[" ".join(words[:2])] = done.output
            assert (words[0], done.exit_code) == (words[0], code), done.output
        told |= {file.name: file.read_text() for file in out.iterdir()}
        with serving(FakeGrafana(GRAFANA_TOKEN)) as grafana:
            push = ["dashboards", "push", "--url", grafana, *target]
            done = CliRunner(env=place.environment(GRAFANA_TOKEN=GRAFANA_TOKEN, NO_PROXY="127.0.0.1")).invoke(
                main, push
            )
        told["push"] = done.output
        assert done.exit_code == 0, told["push"]
        assert {name: process.poll() for name, process in processes.items()} == dict.fromkeys(processes)
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(processes, 0)

    told |= {name: log.read_text() for name, log in logs.items()}
    told["store"] = all_that_is_stored(monitor.url)
    told["replayed"] = all_that_is_stored(place.store_url(database="replayed"))
    told["messages"] = all_messages(place.plain_servers, [monitor.topic(role) for role in ROLES[3:]])
    settings = load_settings(monitor.config, place.environment())
    told["settings"] = f"{settings!r} {settings} {settings.model_dump_json()}"
    assert all(told.values())
    assert_no_secret(told)


def test_who_can_not_be_trusted_or_does_not_trust_us_is_told_in_one_line(place: Place) -> None:
    monitor = place.monitor
    security = dict(monitor.settings["kafka"]["security"])
    at = urlsplit(place.store_url())

    def kafka(name: str, **keys: str) -> Monitor:
        return monitor.variant(name, kafka={"security": security | keys})

    def store(name: str, url: str) -> Monitor:
        return monitor.variant(name, postgres={"url": url})

    key = place.store_url().replace(KEY_PASSWORD, "wrong-hunter2")
    stranger = kafka("k-stranger", ca_file=str(place.stranger.file))
    password = place.store_url().replace(STORE_PASSWORD, "bad-hunter2")
    host = at._replace(netloc=at.netloc.replace("127.0.0.1", "localhost")).geturl()
    wrong = {"DRIFTLINE__KAFKA__SECURITY__PASSWORD": "wrong-hunter2"}
    refused, certificate = "refuses us: SASL authentication error", "certificate verify failed"
    consumer = ["retraining.consumer", "--run", "true", "--state", str(place.folder / "s")]
    servers = monitor.address.replace("127.0.0.1", "localhost")
    renamed = monitor.variant("k-host", kafka={"bootstrap_servers": servers})
    cases: list[tuple[list[str], Monitor, Mapping[str, str], int, str]] = [
        (["driftline.cli", "run"], stranger, {}, 2, certificate),
        (["driftline.cli", "run"], renamed, {}, 2, certificate),
        (["driftline.cli", "relay"], monitor, wrong, 2, refused),
        (consumer, stranger, {}, 2, certificate),
        (["driftline.cli", "run"], store("p-stranger", place.store_url(of=place.stranger)), {}, 2, certificate),
        (["driftline.cli", "run"], store("p-password", password), {}, 2, "password authentication failed"),
        (["driftline.cli", "migrate"], store("p-key", key), {}, 2, "could not load private key file"),
        (["driftline.cli", "migrate"], store("p-host", host), {}, 2, "does not match host name"),
    ]
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda case: place.run(*case[0], monitor=case[1], **case[2]), cases))

    for (words, of, _, code, words_told), done in zip(cases, ended, strict=True):
        case = (of.config.stem, words[1], done.stderr)
        assert (done.returncode, done.stdout) == (code, ""), case
        [line] = [line for line in done.stderr.splitlines() if "there is no topic" not in line]
        assert line.startswith("driftline: error: "), case
        assert words_told in line, case
    assert_no_secret({str(number): done.stderr for number, done in enumerate(ended)})
