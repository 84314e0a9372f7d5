"""Does every panel of the dashboard show what is in the store, cheaply, and whatever is chosen?"""

import asyncio
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from psycopg.rows import dict_row
from pyarrow import parquet

from dashboards.grafana import panel_statements
from dashboards.grafana.overview import overview
from driftline.demo.traffic import HOUR_MS, SHIFT, payments, reference_table
from driftline.store.connection import connect
from driftline.store.migrate import migrate
from tests.support.grafana import Raw, Sight
from tests.support.live import START_MS
from tests.support.postgres import fresh_database
from tests.support.services import MissingServiceError

pytestmark = pytest.mark.postgres

BOARD: dict[str, Any] = json.loads(JSONEncoder().encode(overview()))
PANELS = {panel["title"]: panel for panel in BOARD["panels"] if panel["type"] != "row"}
TARGETS = [(title, target["refId"]) for title, panel in PANELS.items() for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"] if variable["type"] == "query"}
MARKS = {marks["name"]: marks["target"]["rawSql"] for marks in BOARD["annotations"]["list"]}

START = datetime.fromtimestamp(START_MS / 1000, UTC)
EVERYTHING = {"model": Raw("'*'"), "version": Raw("'*'"), "segment": "*", "feature": "amount", "metric": "recall"}
DAY = Sight(START, START + timedelta(days=1), EVERYTHING)
IN_SHIFT = replace(DAY, end=START + timedelta(milliseconds=SHIFT.end_hour * HOUR_MS))
EPISODE = "00000000-0000-0000-0000-00000000000e"


def migrated(url: str) -> None:
    """Make the schema."""

    async def make() -> None:
        connection = await connect(url)
        try:
            await migrate(connection)
        finally:
            await connection.close()

    asyncio.run(make())


def write_payments(folder: Path) -> None:
    """Half a day of the demo's payments as files, and a configuration for them."""
    of = payments(1, 12)
    common = {"id": pa.array([f"p{row}" for row in range(len(of.offset_ms))])}
    times = {"timestamp": pa.array(START_MS + of.offset_ms), "version": pa.array(["v1"] * len(of.offset_ms))}
    answers = {"prediction": pa.array(of.prediction), "score": pa.array(of.score)}
    features = {name: pa.array(values) for name, values in of.features.items()}
    parquet.write_table(pa.table(common | times | answers | features), folder / "predictions.parquet")
    truth = {"label": pa.array(of.label), "timestamp": pa.array(START_MS + of.label_offset_ms)}
    parquet.write_table(pa.table(common | truth), folder / "labels.parquet")
    parquet.write_table(reference_table(1), folder / "reference.parquet")
    model = {
        "task": "binary",
        "positive_class": 1,
        "reference": {"path": "reference.parquet"},
        "columns": {
            "id": "id",
            "time": "timestamp",
            "version": "version",
            "prediction": "prediction",
            "score": "score",
        },
        "features": [{"name": name, "type": "numeric"} for name in ("amount", "account_age_days", "merchant_risk")],
        "segments": ["channel"],
        "windows": {"length": "1h"},
        "performance": {"metrics": ["precision", "recall", "roc_auc"]},
    }
    (folder / "monitor.yaml").write_text(json.dumps({"models": {"fraud": model}}))


def replay_into(url: str, folder: Path) -> None:
    """Run the day through the very same code as the live path."""
    command = [sys.executable, "-m", "driftline.cli", "replay", "--config", str(folder / "monitor.yaml")]
    command += ["--predictions", str(folder / "predictions.parquet"), "--labels", str(folder / "labels.parquet")]
    command += ["--out", str(folder / "out"), "--no-pictures", "--database", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def went_wrong(connection: psycopg.Connection[Any]) -> None:
    """What comes of verdicts, and what a replay leaves no trace of, in the shape of docs/contracts.md."""
    drift = {"segment": "*", "feature": "amount", "detector": "psi", "score": 0.31, "threshold": 0.1}
    recall = {"segment": "*", "metric": "recall", "basis": "cohort", "value": 0.41, "floor": 0.6}
    at = START + timedelta(hours=10)
    connection.execute(
        "insert into driftline.episode (episode_id, model_id, version, kind, severity, causes, opened_at)"
        " select %s, model_id, 'by hand', 'drift', 'critical', %s, %s from driftline.model",
        [EPISODE, json.dumps([drift, recall]), at],
    )
    for type_, causes in {
        "drift.detected": [drift],
        "drift.recovered": [drift],
        "performance.degraded": [recall],
        "retraining.requested": [drift],
    }.items():
        connection.execute(
            "insert into driftline.outbox"
            " (event_id, type, topic, model, version, segment, episode_id, occurred_at, payload)"
            " values (%s, %s, 't', 'fraud', 'by hand', '*', %s, %s, %s)",
            [f"by-hand-{type_}", f"driftline.{type_}", EPISODE, at, json.dumps({"data": {"causes": causes}})],
        )
    lineage = {"features": ["amount", "@score"], "recommended_window": {"from": at.isoformat(), "to": at.isoformat()}}
    connection.execute(
        "insert into driftline.retraining (request_id, episode_id, model, version, state, requested_at, lineage)"
        " values ('by-hand', %s, 'fraud', 'by hand', 'started', %s, %s)",
        [EPISODE, at, json.dumps(lineage)],
    )
    connection.execute(
        "insert into driftline.worker (worker_id, host, pid, state, partitions, seen_at) values"
        " ('alive', 'h', 1, 'running', '[[\"t\", 0], [\"t\", 1]]', now()),"
        " ('gone', 'h', 2, 'running', '[]', now() - interval '5 minutes'),"
        " ('stopped', 'h', 3, 'stopped', '[]', now())"
    )
    connection.execute(
        "insert into driftline.event_count (topic, partition, model, reason, n) values"
        " ('t', 0, '*', 'dead_not_json', 3), ('t', 0, 'fraud', 'dead_bad_score', 4), ('t', 1, 'fraud', 'late_label', 5)"
        " on conflict (topic, partition, model, reason) do update set n = excluded.n"
    )


@pytest.fixture(scope="module")
def store(
    postgres_server_url: str | MissingServiceError, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """Half a day of payments in which amounts grow, replayed, and what comes of it."""
    assert not isinstance(postgres_server_url, MissingServiceError)
    folder = tmp_path_factory.mktemp("payments")
    write_payments(folder)
    with fresh_database(postgres_server_url) as url:
        replay_into(url, folder)
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
            went_wrong(connection)
            yield connection


def target(title: str, letter: str = "A") -> str:
    """The SQL of one query of a panel."""
    (found,) = (target["rawSql"] for target in PANELS[title]["targets"] if target["refId"] == letter)
    return str(found)


def shown(store: psycopg.Connection[dict[str, Any]], sql: str, sight: Sight = DAY) -> list[dict[str, Any]]:
    """The rows that Grafana gets."""
    return store.execute(sight.expand(sql).encode()).fetchall()


@pytest.mark.parametrize(("title", "letter"), TARGETS)
def test_every_panel_has_data_in_the_form_that_it_asks_for(
    store: psycopg.Connection[dict[str, Any]], title: str, letter: str
) -> None:
    panel = PANELS[title]
    (query,) = (query for query in panel["targets"] if query["refId"] == letter)

    rows = shown(store, query["rawSql"])

    assert rows
    overridden = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
    if query["format"] == "time_series":
        assert list(rows[0]) == ["time", "metric", "value"]
        times = [float(row["time"].timestamp() if isinstance(row["time"], datetime) else row["time"]) for row in rows]
        assert times == sorted(times)
        assert DAY.start.timestamp() - DAY.interval_s <= times[0] <= times[-1] <= DAY.end.timestamp() + 3600
        assert any(row["value"] is not None for row in rows)
        assert len({row["metric"] for row in rows}) <= 10
    elif panel["type"] == "stat":
        assert [len(row) for row in rows] == [1]
    elif panel["type"] == "barchart":
        assert panel["options"]["xField"] in rows[0]
    else:
        assert set(overridden) <= set(rows[0])


def test_overrides_of_series_meet_the_series_they_are_meant_for(store: psycopg.Connection[dict[str, Any]]) -> None:
    panel = PANELS["Live ${metric}"]
    names = {row["metric"] for query in panel["targets"] for row in shown(store, query["rawSql"])}
    meant = {
        override["matcher"]["options"]: {name for name in names if re.search(override["matcher"]["options"], name)}
        for override in panel["fieldConfig"]["overrides"]
    }

    assert meant == {
        "^(low|high) ": {"low (fraud v1)", "high (fraud v1)"},
        "by arrival": {"recall by arrival (fraud v1)"},
        " estimated ": {"recall estimated (fraud v1)"},
        "^floor ": {"floor (fraud by hand)"},
    }
    assert names - set().union(*meant.values()) == {"recall (fraud v1)"}


def test_what_moved_is_first_in_the_table_of_drift_and_over_its_threshold(
    store: psycopg.Connection[dict[str, Any]],
) -> None:
    first, *_ = shown(store, target("Nearest to drift in the last window"), IN_SHIFT)
    peaks = shown(store, target("Drift: score over threshold"), IN_SHIFT)

    assert (first["feature"], first["level"], first["window end"]) == ("amount", "drift", IN_SHIFT.end)
    assert first["score / threshold"] == pytest.approx(first["score"] / first["threshold"])
    assert max(peaks, key=lambda row: row["value"])["metric"].startswith("amount psi")


def test_a_distribution_is_whole_on_both_sides_and_in_the_order_of_its_bins(
    store: psycopg.Connection[dict[str, Any]],
) -> None:
    bins = shown(store, target("Distribution of ${feature}"), IN_SHIFT)

    assert [row["bin"] for row in bins][-2:] == ["missing", "other"]
    assert sum(row["reference"] for row in bins) == pytest.approx(1)
    assert sum(row["last window"] for row in bins) == pytest.approx(1)
    assert bins[-3]["last window"] > 1.5 * bins[-3]["reference"]  # amounts grew


def test_an_episode_shows_each_cause_with_what_was_measured_and_its_limit(
    store: psycopg.Connection[dict[str, Any]],
) -> None:
    by_hand = replace(DAY, chosen={**EVERYTHING, "version": ["by hand"]})
    rows = shown(store, target("Episodes and their causes"), by_hand)

    assert [(row["state"], row["cause"], row["seen by"], row["measured"], row["limit"]) for row in rows] == [
        ("open", "amount", "psi", 0.31, 0.1),
        ("open", "recall", "cohort", 0.41, 0.6),
    ]
    assert shown(store, target("Open episodes"), by_hand) == [{"open episodes": 1}]
    (request,) = shown(store, target("Retraining requests"), by_hand)
    assert (request["state"], request["features"]) == ("started", "amount, @score")
    assert {row["value"] for row in shown(store, target("Live ${metric}", "C"), by_hand)} == {0.6}


def test_what_goes_on_now_is_shown_whatever_the_time_range(store: psycopg.Connection[dict[str, Any]]) -> None:
    later = replace(DAY, start=DAY.start + timedelta(days=900), end=DAY.end + timedelta(days=900))

    states = {row["worker"]: row["state"] for row in shown(store, target("Workers"), later)}
    assert states == {"alive": "running", "gone": "gone", "stopped": "stopped"}
    assert shown(store, target("Workers alive"), later) == [{"workers": 1}]
    assert "by hand" in {row["version"] for row in shown(store, target("Episodes and their causes"), later)}
    assert shown(store, target("Dead letters"), later) == [{"dead letters": 7}]
    assert shown(store, target("Drift: score over threshold"), later) == []


def test_what_is_counted_of_no_model_shows_whichever_model_is_chosen(
    store: psycopg.Connection[dict[str, Any]],
) -> None:
    one_model = replace(DAY, chosen=EVERYTHING | {"model": ["fraud"]})

    assert shown(store, target("Dead letters"), one_model) == [{"dead letters": 7}]
    counted = shown(store, target("What became of every record"), one_model)
    assert {"model": "*", "reason": "dead_not_json", "events": 3} in counted


def test_variables_offer_what_is_there_and_the_feature_that_moved_first(
    store: psycopg.Connection[dict[str, Any]],
) -> None:
    offered = {
        name: [next(iter(row.values())) for row in shown(store, variable["query"], IN_SHIFT)]
        for name, variable in VARIABLES.items()
    }

    assert offered.keys() == EVERYTHING.keys()
    assert offered["model"] == ["fraud"]
    assert offered["version"] == ["v1"]
    assert offered["segment"] == ["*", "channel=app", "channel=terminal", "channel=web"]
    assert offered["feature"][0] == "amount"
    assert set(offered["metric"]) == {"precision", "recall", "roc_auc"}


def test_marks_name_what_happened_when_and_to_which_model(store: psycopg.Connection[dict[str, Any]]) -> None:
    by_hand = replace(DAY, chosen={**EVERYTHING, "version": ["by hand"]})
    marks = {name: [(row["text"], row["tags"]) for row in shown(store, sql, by_hand)] for name, sql in MARKS.items()}

    assert {name: sorted(of) for name, of in marks.items()} == {
        "Alarms": [
            ("Drift detected: fraud by hand", "drift.detected"),
            ("Performance degraded: fraud by hand", "performance.degraded"),
        ],
        "Recoveries": [("Drift over: fraud by hand", "drift.recovered")],
        "Retraining requests": [("Retraining requested: fraud by hand", "retraining.requested")],
    }


def test_a_choice_with_quotes_is_a_choice_and_no_sql(store: psycopg.Connection[dict[str, Any]]) -> None:
    odd = "x') or ('*' in ('*'"
    chosen = dict.fromkeys(EVERYTHING, odd) | {"model": [odd, "o'brien"], "version": [odd]}

    for sql in panel_statements().values():
        if "model:" in sql:
            rows = shown(store, sql, replace(DAY, chosen=chosen))
            assert all(value in (0, "*") or "dead" in str(row) for row in rows for value in row.values())


@contextmanager
def documented_reader(connection: psycopg.Connection[Any], project: Path) -> Iterator[None]:
    """Be the role that docs/operations.md makes for who reads views."""
    text = (project / "docs" / "operations.md").read_text()
    (views,) = re.findall(r"grant select on ([^;]*?)\s+to driftline_reader", text)
    role = f"reader_{secrets.token_hex(4)}"
    connection.execute(f"create role {role}; grant usage on schema driftline to {role}".encode())
    connection.execute(f"grant select on {views} to {role}; set role {role}".encode())
    try:
        yield
    finally:
        connection.execute(f"reset role; drop owned by {role}; drop role {role}".encode())


def test_an_empty_schema_gives_its_documented_reader_no_error_and_nothing_to_see(
    postgres_url: str, project: Path
) -> None:
    migrated(postgres_url)
    nothing_chosen = replace(DAY, chosen=EVERYTHING | {"feature": "", "metric": ""})
    connected = psycopg.connect(postgres_url, autocommit=True, row_factory=dict_row)
    with connected as connection, documented_reader(connection, project):
        for name, sql in panel_statements().items():
            rows = shown(connection, sql, nothing_chosen)
            assert [row for row in rows if set(row.values()) - {0, "*"}] == [], name


ROWS_OF_A_YEAR = (24 * 364 + 1) * 2 * 3
YEAR_OF_WINDOWS = """
insert into driftline.model (name, settings) select 'm' || n, '{"windows": {"length_ms": 3600000, "slide_ms": 3600000}}'
  from generate_series(1, 2) n;
insert into driftline.name (model_id, kind, code, name) select model_id, 'version', 0, 'v1' from driftline.model;
insert into driftline.profile (digest, content) values ('d', '{}');
insert into driftline.profile_bin (profile_id, feature, bin, label)
select 1, 'f' || f, 0, 'bin' from generate_series(1, 3) f;
insert into driftline.verdict (model_id, version, segment, feature, detector, window_start, window_end, score,
                               threshold, n_reference, n_current, level, profile_id, counts)
select m, 0, -1, 'f' || f, 'psi', hour, hour + interval '1 hour', 0, 1, 1, 1, 'ok', 1, '{1, 0, 0}'
  from generate_series(timestamptz '2015-01-01', '2015-12-31', '1 hour') hour, generate_series(1, 2) m,
       generate_series(1, 3) f;
insert into driftline.performance (model_id, version, segment, window_start, window_end, basis, metric, value,
                                   n_predictions, n_labelled)
select m, 0, -1, hour, hour + interval '1 hour', 'cohort', 'metric' || f, 0, 1, 1
  from generate_series(timestamptz '2015-01-01', '2015-12-31', '1 hour') hour, generate_series(1, 2) m,
       generate_series(1, 3) f;
analyze driftline.verdict, driftline.performance;
"""


def rows_read(plan: dict[str, Any], table: str) -> int:
    """How many rows of a table a plan looked at, those it threw away included."""
    passed_over = sum(plan.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
    own = plan["Actual Loops"] * (plan["Actual Rows"] + passed_over) if plan.get("Relation Name") == table else 0
    return int(own) + sum(rows_read(part, table) for part in plan.get("Plans", []))


def test_two_days_of_a_year_are_read_without_reading_the_year(postgres_url: str) -> None:
    migrated(postgres_url)
    two_days = replace(DAY, start=datetime(2015, 12, 28, tzinfo=UTC), end=datetime(2015, 12, 30, tzinfo=UTC))
    chosen = replace(two_days, chosen=EVERYTHING | {"feature": "f1", "metric": "metric1"})
    with psycopg.connect(postgres_url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute(YEAR_OF_WINDOWS.encode())
        for name, sql in panel_statements().items():
            (explained,) = shown(connection, f"explain (analyze, format json) {sql}", chosen)
            plan = explained["QUERY PLAN"][0]["Plan"]
            shares = {table: rows_read(plan, table) / ROWS_OF_A_YEAR for table in ("verdict", "performance")}
            assert max(shares.values()) < 0.2, (name, shares)
