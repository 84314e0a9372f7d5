"""Do benchmarks send what they say they send, and say what they measured?"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from benchmarks import calibration
from benchmarks.measuring import peer
from benchmarks.measuring.workers import decoded_of, longest_pause_s, longest_wait_s, partitions_of
from benchmarks.report.constants import COMMITTED, CONSTANTS, constants_of
from benchmarks.report.results import Measured, Result, Target, as_json, ratio
from benchmarks.report.table import write_results
from benchmarks.rows import ROWS
from benchmarks.setting import traffic
from benchmarks.setting.stage import FULL, QUICK
from benchmarks.store.month import Month
from benchmarks.store.page import as_page
from benchmarks.store.tidying import Tidied
from benchmarks.store.views import BY_HAND, WITHOUT_TIME, Timed, asked

EVENTS = 60_000


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.kind in ("peer", "limit")])
def test_the_program_of_a_peer_is_where_it_is_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **_: object) -> None:
        started.append(command)
        raise InterruptedError

    monkeypatch.setattr(peer.subprocess, "Popen", start)
    (tmp_path / "python").touch()
    topics = SimpleNamespace(predictions="json")
    stage: Any = SimpleNamespace(
        peers=tmp_path / "python",
        once=lambda *_: tmp_path,
        folder=tmp_path,
        bootstrap_servers="",
        topics=lambda _: topics,
        by_segment="by segment",
        size=FULL,
    )
    with pytest.raises(InterruptedError):
        ROWS[name].measure(stage)
    assert Path(started[0][1]).is_file()


@pytest.fixture(scope="module")
def events() -> traffic.Traffic:
    return traffic.make_traffic(EVENTS, seed=3)


def test_the_same_seed_makes_the_same_bytes_and_another_one_others(events: traffic.Traffic) -> None:
    again, other = traffic.make_traffic(EVENTS, seed=3), traffic.make_traffic(EVENTS, seed=4)

    assert list(traffic.json_predictions(events, 4)) == list(traffic.json_predictions(again, 4))
    assert list(traffic.json_labels(events, 4)) == list(traffic.json_labels(again, 4))
    assert next(traffic.json_predictions(events, 4)).value != next(traffic.json_predictions(other, 4)).value


def test_a_prediction_has_twenty_features_in_460_bytes_of_json(events: traffic.Traffic) -> None:
    messages = list(islice(traffic.json_predictions(events, 4), 5_000))
    read = [orjson.loads(message.value) for message in messages]

    assert 450 <= np.mean([len(message.value) for message in messages]) <= 470
    assert all(len(event["features"]) == 20 for event in read)
    assert sum(type(value) is str for value in read[0]["features"].values()) == 2
    assert {event["segment"]["region"] for event in read} == {"north", "south", "west"}
    assert [message.key.decode() for message in messages] == [event["prediction_id"] for event in read]


def test_a_fifth_gets_its_label_later_and_labels_come_in_the_order_of_their_time(events: traffic.Traffic) -> None:
    share = len(events.labelled) / EVENTS
    delay_ms = events.label_time_ms - events.time_ms[events.labelled]

    assert abs(share - 0.2) < 5 * np.sqrt(0.2 * 0.8 / EVENTS)
    assert len(set(events.labelled.tolist())) == len(events.labelled)
    assert delay_ms.min() > 0
    assert delay_ms.max() <= 300_000
    assert (np.diff(events.label_time_ms) >= 0).all()


def test_arrow_messages_hold_the_events_that_json_messages_hold(events: traffic.Traffic) -> None:
    import pyarrow as pa

    table, partition_of = traffic.predictions_table(events), np.arange(EVENTS) % 4
    by_partition: dict[int, list[dict[str, object]]] = {partition: [] for partition in range(4)}
    for message in traffic.arrow_messages(table, partition_of, 4, 2_000):
        read = pa.ipc.open_stream(message.value).read_all()
        assert read.num_rows == message.events <= 2_000
        by_partition[message.partition] += read.slice(0, 3).to_pylist()

    from_json: dict[int, list[dict[str, object]]] = {partition: [] for partition in range(4)}
    for message in traffic.json_predictions(events, 4):
        from_json[message.partition].append(orjson.loads(message.value))
    for partition, rows in by_partition.items():
        wanted = from_json[partition]
        assert rows == [wanted[start + place] for start in range(0, len(wanted), 2_000) for place in range(3)]


def turns(*rates: float) -> list[Measured]:
    return [Measured({"events_per_s": rate}, {"worker": 2.0}, {"worker": 100.0}, 1_000) for rate in rates]


def test_a_ratio_compares_turn_with_turn() -> None:
    ours, peer = turns(100, 50, 90), turns(10, 5, 30)

    assert ratio(ours, peer) == 10  # of the medians it would be 9
    assert ratio(ours, peer[:1]) == 10
    assert ratio(ours, []) is None


def test_a_row_of_json_has_medians_ratios_and_what_became_of_its_targets() -> None:
    targets = (
        Target("events_per_s", at_least=100),
        Target("ratio", at_least=5, peer="slow"),
        Target("x_ms", at_most=1),
    )
    ours = Result("ours", "what", "driftline", targets=targets, turns=turns(80, 90, 130))
    slow = Result("slow", "what", "peer", turns=turns(8, 9, 13))

    row = as_json(ours, [ours, slow])

    assert row["events_per_s"] == 90
    assert row["ratio"] == {"slow": 10}
    assert row["cpu_us_per_event"] == {"worker": 2_000}
    assert row["peak_mib"] == {"worker": 100}
    assert [target["met"] for target in row["target"]] == [False, True, None]
    assert as_json(slow, [ours, slow])["ratio"] == {}


def test_a_row_that_could_not_be_measured_says_why() -> None:
    row = as_json(Result("gone", "what", "peer", missing="not installed"), [])

    assert row["missing"] == "not installed"
    assert row["events_per_s"] is None


def test_quick_measures_every_kind_of_row() -> None:
    quick = {name for name, row in ROWS.items() if row.quick}

    ours = {"driftline", "driftline-labels", "driftline-arrow"}
    assert ours | {"faust", "quix", "quix-durable", "consumer", "decoder"} <= quick
    assert QUICK.events < FULL.events
    assert QUICK.turns < FULL.turns == 5


def test_the_quick_run_that_is_committed_has_every_quick_row_and_took_no_longer_than_it_may() -> None:
    found = orjson.loads((COMMITTED / "quick.json").read_bytes())

    assert {row["name"] for row in found["rows"]} == {name for name, row in ROWS.items() if row.quick}
    assert not [row["name"] for row in found["rows"] if row["missing"]]
    assert found["seconds"] <= 90
    assert {row["run"]["seconds"] for row in found["rows"]} == {found["seconds"]}


def test_results_are_a_table_a_chart_and_json_and_rows_of_before_stay_if_they_are_to(tmp_path: Path) -> None:
    targets = (Target("events_per_s", at_least=100_000), Target("ratio", at_least=5, peer="slow"))
    ours = Result("ours", "our | work", "driftline", targets=targets, turns=turns(80_000, 90_000, 130_000))
    slow = Result("slow", "their work", "peer", turns=turns(8_000, 9_000, 13_000))
    gone = Result("gone", "no work", "peer", missing="not installed\nat all")
    run = {"date": "2024-05-01", "command": "python -m benchmarks", "events": 1_000, "seconds": 71.2}

    def write(*results: Result, keep: bool) -> None:
        machine = {"cpu": "a", "cores": 2, "memory_mib": 2_048, "system": "Linux", "python": "3"}
        rows = [as_json(result, [ours, slow]) | {"run": run} for result in results]
        write_results(tmp_path, {"machine": machine, "rows": rows}, keep=keep)

    write(slow, keep=False)
    write(ours, gone, keep=True)

    table = (tmp_path / "results.md").read_text().splitlines()
    assert "| `ours`: our / work | 3 | 90,000 events/s | slow 10 | worker 2,000 | worker 100 " in "\n".join(table)
    assert "≥ 100,000 events/s: MISSED; ≥ 5 times slow: met" in "\n".join(table)
    assert "* 2024-05-01: `python -m benchmarks`, 1,000 events, 71 s" in table
    assert "not measured: not installed at all" in "\n".join(table)
    assert [row["name"] for row in orjson.loads((tmp_path / "results.json").read_bytes())["rows"]] == [
        "ours", "gone", "slow"
    ]  # fmt: skip
    assert "their work" in (tmp_path / "results.svg").read_text()

    write(ours, keep=False)
    assert [row["name"] for row in orjson.loads((tmp_path / "results.json").read_bytes())["rows"]] == ["ours"]


def test_the_constants_of_capacity_are_what_the_committed_results_say() -> None:
    results, store, constants = (
        orjson.loads(path.read_bytes()) for path in (COMMITTED / "results.json", COMMITTED / "store.json", CONSTANTS)
    )

    assert constants_of(results, store) == constants
    assert constants_of({"rows": []}, store) is None


@pytest.mark.parametrize(("row", "features", "segments"), [("window", 100, 20), ("arrears", 20, 3)])
def test_the_constants_of_closing_give_back_what_was_measured_of_a_wide_and_of_a_usual_model(
    row: str, features: int, segments: int
) -> None:
    results, constants = (orjson.loads(path.read_bytes()) for path in (COMMITTED / "results.json", CONSTANTS))
    figures = next(of["figures"] for of in results["rows"] if of["name"] == row)

    series = (segments + 1) * (features + 2)  # the prediction and the score are watched like features
    for part, name in (("worker", "window_worker_ms"), ("postgres", "window_database_ms")):
        us = constants["closing_us"][part]
        assert (us["model"] + us["series"] * series) / 1_000 == pytest.approx(figures[name], rel=0.01)


def test_the_constants_follow_each_figure_that_they_are_made_of() -> None:
    results, store = (orjson.loads((COMMITTED / name).read_bytes()) for name in ("results.json", "store.json"))
    figures = {row["name"]: row["figures"] for row in results["rows"]}
    figures["window"] |= {"window_worker_ms": 4 + 2_142 * 0.05, "window_database_ms": 2 + 2_142 * 0.03}
    figures["arrears"] |= {"window_worker_ms": 4 + 88 * 0.05, "window_database_ms": 2 + 88 * 0.03}
    figures["models-200"] |= {"model_worker_us": 300.4, "model_database_us": 40.0}
    figures["models-1000"] |= {"model_worker_us": 200.0, "model_database_us": 70.0}

    found = constants_of(results, store)

    assert found is not None
    assert found["closing_us"] == {
        "worker": {"model": 4_000, "series": 50},
        "postgres": {"model": 2_000, "series": 30},
    }
    assert found["fetch_of_models"] == {"events": 17_000, "worker_us": 300, "postgres_us": 70}
    del figures["arrears"]["window_database_ms"]
    assert constants_of(results, store) is None


def test_the_committed_page_is_what_follows_from_the_committed_results(tmp_path: Path) -> None:
    write_results(tmp_path, orjson.loads((COMMITTED / "results.json").read_bytes()), keep=False)

    for name in ("results.md", "results.json"):
        assert (tmp_path / name).read_text("utf-8") == (COMMITTED / name).read_text("utf-8"), name


def test_a_pause_is_between_commits_of_any_partition_and_a_wait_between_those_of_one_with_records_left() -> None:
    a, b, goal = ("t", 0), ("t", 1), {("t", 0): 6, ("t", 1): 9}
    looks = [
        (at, {a: of_a, b: of_b})
        for at, of_a, of_b in (
            (0.0, 0, 0),
            (1.0, 5, 0),
            (2.0, 5, 0),
            (4.0, 5, 8),
            (5.0, 5, 9),
            (8.0, 6, 9),
            (20.0, 6, 9),
        )
    ]

    assert longest_pause_s(looks, 1.5, 2.0) == 4 - 1
    assert longest_pause_s(looks, 4.2, 4.8) == 5 - 4
    assert longest_pause_s(looks, 0.0, 20.0) == 3  # what comes after the end is none
    assert longest_wait_s(looks, goal) == 8 - 1


def test_logs_tell_a_worker_s_share_and_what_was_decoded() -> None:
    log = b"reading partitions: 4 of a, 2 of b\ndecoding a 0 0 300\n"
    log += b"reading partitions: 1 of a, 1 of b\ndecoding b 1 7 20\n"

    assert partitions_of(log) == 2
    assert decoded_of([log.decode(), "decoding a 0 0 300\n"]) == 300 + 20 + 300


def test_every_view_is_measured_on_a_month() -> None:
    migrations = resources.files("driftline.store").joinpath("migrations").iterdir()
    views = {view for of in migrations for view in re.findall(r"view driftline\.(v_\w+)", of.read_text("utf-8"))}

    assert "v_drift" in views
    assert {*BY_HAND, *WITHOUT_TIME} == views


def test_the_page_of_the_store_tells_the_time_of_every_view() -> None:
    month = Month()
    timed = [Timed(query, 12.0, 345) for query in asked(month.end)]

    page = as_page("18", month, [], timed, Tidied(1, 1, 1, 1))

    assert "| `v_workers` | 12 (345) |" in page.splitlines()
    for of in (page, (COMMITTED / "store.md").read_text("utf-8")):
        told = re.findall(r"^\| `(v_\w+)` \|(?: \d+ \([\d,]+\) \|)+$", of, re.MULTILINE)
        assert sorted(told) == sorted((*BY_HAND, *WITHOUT_TIME))


@pytest.mark.parametrize("option", ["--days", "--models", "--predictions-a-day", "--runs"])
def test_an_empty_store_is_not_measured(option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.store", option, "0"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert f"argument {option}: must be at least 1, not 0" in done.stderr


def cells_of_the_page() -> list[calibration.Counted]:
    """Read the committed page's table."""
    found = []
    for line in calibration.TABLE.read_text("utf-8").splitlines():
        row = [of.strip().replace(",", "") for of in line.strip("| ").split("|")]
        if len(row) == 10 and row[1].isdecimal():
            cell = calibration.Cell(row[0], *(int(of) for of in row[1:4]), row[4], float(row[5]), 1)
            expected = float(row[6])
            found.append(calibration.Counted(cell, expected, int(row[7]), round(float(row[9]) * expected), 0.0))
    return found


def test_the_committed_page_of_calibration_is_what_its_generator_writes_of_its_cells() -> None:
    counted = cells_of_the_page()

    assert len(counted) == len(calibration.cells(1000))
    assert calibration.table(counted, "make calibrate", len(counted)) == calibration.TABLE.read_text("utf-8")


def test_every_cell_of_the_committed_calibration_keeps_what_is_promised() -> None:
    counted = cells_of_the_page()

    assert min(of.expected for of in counted) >= 400
    assert [of for of in counted if not 0.5 <= of.ratio <= 1.1] == []
    # After the gate never more than declared, within two standard errors.
    assert [of for of in counted if of.drift > of.expected + 2 * of.expected**0.5] == []


def test_the_page_of_calibration_tells_of_the_cells_that_lie_outside_and_of_no_others() -> None:
    below, above, within = (
        calibration.Counted(calibration.Cell(name, 12, 50, 60, "even", 0.01, 10), 1_000, n, 0, 0.0)
        for name, n in (("linf", 400), ("ks", 1_200), ("psi", 1_100))
    )

    told = calibration.table([below, above, within], "make calibrate", 3)

    assert "3 cells with at least 1,000 expected alarms each, 1 lie within 0.5 to\n1.1 times" in told
    outside = [line for line in told.splitlines() if line.startswith("* ")]
    assert outside == [
        "* `linf`, 12 even bins, 50 and 60 rows: 0.400, 19.1 standard errors below 1",
        "* `ks`, 12 even bins, 50 and 60 rows: 1.200, 6.4 standard errors above 1",
    ]
    assert "Outside are" not in calibration.table([within], "make calibrate", 1)
