"""Can a person see what could not be used, repair it and bring it back, once and no more than once?"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from driftline.cli import main
from tests.support.kafka import Broker
from tests.support.live import wait_for, workers
from tests.support.monitors import Monitor, Sent, as_json, make_monitor, make_topics_and_monitor, prediction, send_all

pytestmark = pytest.mark.postgres

NOTHING_READ = {role: f"absent.{role}" for role in ("predictions", "labels", "features", "dead_letters")}


def dead_letters(monitor: Monitor, *arguments: str) -> Result:
    """Run the command line in this process: a process for each costs a second."""
    return CliRunner().invoke(main, ["dead-letters", *arguments, "--config", str(monitor.config)])


def done(monitor: Monitor, *arguments: str) -> str:
    result = dead_letters(monitor, *arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def listed(monitor: Monitor, *arguments: str) -> list[dict[str, Any]]:
    return list(json.loads(done(monitor, "list", "--json", *arguments))["dead_letters"])


def arrow(*events: dict[str, Any]) -> bytes:
    table, written = pa.Table.from_pylist(list(events)), io.BytesIO()
    with pa.ipc.new_stream(written, table.schema) as writer:
        writer.write_table(table)
    return written.getvalue()


@pytest.mark.real_kafka
def test_what_was_repaired_comes_back_through_its_topic_and_counts_once(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topic_name, partitions=1)
    good = [prediction(f"g-{row}", row) for row in range(3)]
    wrong = prediction("w", 5, score="high")
    in_array = [prediction("a-0", 6), prediction("a-1", 7, model="n"), prediction("a-2", 8)]
    columns = arrow(prediction("c-0", 9), prediction("c-1", 10, score=7.0))
    as_arrow = Sent(columns, [("content-type", b"application/vnd.apache.arrow.stream")])
    sent = [*(Sent(as_json(event)) for event in [*good, wrong, in_array]), as_arrow, Sent(b'{"prediction_id": "cut')]
    send_all(monitor.address, monitor.topic("predictions"), sent)

    def stored() -> int:
        return int(monitor.rows("select count(*) from driftline.prediction")[0][0])

    with workers(monitor.config, tmp_path, 1):
        monitor.wait_until_read(len(sent))
        cut, ratio, other, high = listed(monitor)
        assert [letter["reason"] for letter in (cut, ratio, other, high)] == [
            "not_json",
            "bad_score",
            "unknown_model",
            "wrong_type",
        ]
        assert (stored(), other["element"], ratio["element"]) == (6, 1, 1)
        ids = {name: str(of["dead_letter_id"]) for name, of in zip("crou", (cut, ratio, other, high), strict=True)}

        # As they are, they would only be dead letters again: of several numbers none is sent.
        refused = dead_letters(monitor, "replay", *ids.values())
        assert refused.exit_code == 2
        assert len(refused.stderr.splitlines()) == 4
        assert all("would be a dead letter again" in line for line in refused.stderr.splitlines())

        # Repaired in a file, each comes back; the model's name is corrected for the event in the array alone.
        repaired = tmp_path / "event.json"
        for name, event in (("u", wrong | {"score": 0.5}), ("o", in_array[1] | {"model": "m"})):
            repaired.write_bytes(as_json(event))
            told = done(monitor, "replay", ids[name], "--file", str(repaired), "--by", "ann", "--note", "mended")
            assert told == f"sent again: {ids[name]}, to {monitor.topic('predictions')}\n"
        repaired.write_bytes(arrow(prediction("c-1", 10)))
        done(monitor, "replay", ids["r"], "--file", str(repaired), "--by", "ann")
        wait_for(lambda: stored() == 9, "the repaired ones to be counted")

        # Not twice by accident; on purpose, yes, and it counts once all the same.
        repaired.write_bytes(as_json(wrong | {"score": 0.5}))
        again = dead_letters(monitor, "replay", ids["u"], "--file", str(repaired), "--by", "bob")
        assert again.exit_code == 2
        assert "ann has sent it already; --again sends it once more" in again.stderr
        assert monitor.counts()["m", "repeated_prediction"] == 0
        done(monitor, "replay", ids["u"], "--file", str(repaired), "--by", "bob", "--again")
        wait_for(lambda: monitor.counts()["m", "repeated_prediction"] == 1, "the repeat to be noticed")
        assert stored() == 9

    shown = {str(letter["dead_letter_id"]): letter for letter in listed(monitor)}
    assert [shown[ids[name]]["replayed_by"] for name in "crou"] == [None, "ann", "ann", "bob"]
    assert [letter["dead_letter_id"] for letter in listed(monitor, "--reason", "not_json")] == [int(ids["c"])]
    audit = monitor.rows("select actor, action, detail ->> 'note' from driftline.audit order by audit_id")
    assert audit == [("ann", "replay_dead_letter", "mended")] * 2 + [
        ("ann", "replay_dead_letter", ""),
        ("bob", "replay_dead_letter", ""),
    ]


@pytest.fixture
def kept(postgres_url: str, tmp_path: Path, free_port: int) -> Monitor:
    """A store with dead letters; nobody asks the broker."""
    monitor = make_monitor(tmp_path, f"127.0.0.1:{free_port}", postgres_url, NOTHING_READ)
    whole = as_json(prediction("x", 1))
    rows = [
        ("wrong_type", "score", "m", NOTHING_READ["predictions"], 0, b'{"score": "\x1b[2J\xe2\x80\xae"}'),
        ("not_json", "the message", None, NOTHING_READ["predictions"], 0, b"\xff\xfe"),
        ("missing_field", "timestamp", "m", NOTHING_READ["predictions"], 0, b""),
        ("unknown_state", "data.state", None, "statuses", 0, b"{}"),
        ("refused_by_store", "no", "m", NOTHING_READ["predictions"], 0, whole),
        ("too_old", "the timestamp", "m", NOTHING_READ["labels"], 3, b"[1, 2]"),
    ]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for offset, row in enumerate(rows):
            connection.execute(
                "insert into driftline.dead_letter (reason, detail, model, topic, partition, record_offset, element,"
                " payload) values (%s, %s, %s, %s, 0, %s, %s, %s)",
                [*row[:4], offset, *row[4:]],
            )
    return monitor


def test_one_is_shown_whole_and_nothing_of_it_acts_on_the_terminal(kept: Monitor) -> None:
    escapes, binary, empty = (done(kept, "show", number) for number in ("1", "2", "3"))

    assert escapes.splitlines()[-1] == '{"score": "\\x1b[2J\\u202e"}'
    assert "place   absent.predictions, partition 0, offset 0\n" in escapes
    assert binary.endswith("message 2 bytes kept\nb'\\xff\\xfe'\n")
    assert empty.endswith("message nothing is kept of it\n")
    raw = CliRunner().invoke(main, ["dead-letters", "show", "2", "--raw", "--config", str(kept.config)])
    assert raw.stdout_bytes == b"\xff\xfe"
    assert json.loads(done(kept, "show", "2", "--json"))["dead_letter"]["payload_base64"] == "//4="


def test_the_list_is_narrowed_by_model_reason_topic_time_and_number(kept: Monitor) -> None:
    def ids(*arguments: str) -> list[int]:
        return [letter["dead_letter_id"] for letter in listed(kept, *arguments)]

    assert ids() == [6, 5, 4, 3, 2, 1]
    assert ids("--model", "m", "--topic", NOTHING_READ["predictions"]) == [5, 3, 1]
    assert ids("--reason", "not_json") == [2]
    assert ids("--since", "2200-01-01T00:00Z") == []
    assert ids("--limit", "2") == [6, 5]
    assert "and 4 more, older" in done(kept, "list", "--limit", "2")
    assert done(kept, "list", "--reason", "bad_score") == "No dead letters.\n"


def test_why_one_can_not_come_back_is_said_in_words_and_nothing_is_marked(kept: Monitor, tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(b"[]")
    cases = [
        (["replay", "3"], 2, "dead letter 3: nothing is kept of its message; write the event into a file"),
        (["replay", "4"], 2, "dead letter 4: statuses is no input of this configuration"),
        (["replay", "6"], 2, "dead letter 6: its message is not kept as far as its event"),
        (["replay", "99"], 2, "there is no dead letter 99"),
        (["replay", "3", "--file", str(file)], 2, "dead letter 3: it holds no event"),
        (["replay", "1", "5", "--file", str(file)], 2, "--file: takes the place of one dead letter"),
        (["replay"], 2, "give either numbers of dead letters or filters"),
        (["replay", "1", "--reason", "too_old"], 2, "give either numbers of dead letters or filters"),
        (["show", "99"], 2, "there is no dead letter 99"),
        (["list", "--model", "n"], 2, "no model n"),
        (["list", "--reason", "wrong_typo"], 2, "--reason: 'wrong_typo' is not one of 'not_json', 'not_an_object', "),
        (["replay", "--reason", "nonsense"], 2, "--reason: 'nonsense' is not one of 'not_json', 'not_an_object', "),
    ]
    for arguments, code, told in cases:
        result = dead_letters(kept, *arguments)
        assert (arguments, result.exit_code) == (arguments, code), result.output
        assert told in result.stderr
        assert all(line.startswith("driftline: error: ") for line in result.stderr.splitlines())

    assert kept.rows("select count(*) from driftline.dead_letter where replay_began_at is not null") == [(0,)]
    assert kept.rows("select count(*) from driftline.audit") == [(0,)]
