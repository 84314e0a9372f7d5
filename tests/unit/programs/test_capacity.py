"""Does the calculator multiply what was measured as it says, and say where its numbers are from?"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from driftline.capacity import Measured, Workload, measured, needs
from driftline.cli import main

FOUND = Measured(
    on="2024-01-01",
    machine="a machine",
    commands=("make bench",),
    worker_core_us={"drift": 5.0, "labels": 10.0},
    postgres_core_us={"drift": 1.0, "labels": 12.0},
    broker_core_us={"drift": 0.5, "labels": 1.0},
    label_share=0.2,
    features=20,
    worker_mib=300.0,
    closing_us={"worker": {"model": 0, "series": 0}, "postgres": {"model": 0, "series": 0}},
    fetch_of_models={"events": 1_000, "worker_us": 0, "postgres_us": 0},
    bytes_a_row={"prediction": 170, "label": 160, "rollup": 900, "verdict": 330, "performance": 240},
)
STEADY = Workload(10_000, features=20, segments=3, labels_share=0.2, horizon_days=30)


def test_cores_are_cpu_time_times_rate_with_a_share_to_spare() -> None:
    need = needs(STEADY, FOUND)

    assert need.worker_cores == pytest.approx(10_000 * 10e-6 / 0.7)
    assert need.postgres_cores == pytest.approx(10_000 * 12e-6 / 0.7)
    assert need.broker_cores == pytest.approx(10_000 * 1e-6 / 0.7)


def test_workers_are_whole_and_two_so_that_one_may_die_and_partitions_follow_them() -> None:
    small = needs(STEADY, FOUND)
    large = needs(replace(STEADY, events_per_s=500_000), FOUND)

    assert (small.workers, small.partitions, small.worker_memory_mib) == (2, 8, 600)
    assert (large.workers, large.partitions) == (8, 32)  # 500,000 x 10 us / 0.7 = 7.1 cores


def test_more_features_cost_worker_time_and_fewer_are_not_thought_to_save_any() -> None:
    base = needs(STEADY, FOUND)

    assert needs(replace(STEADY, features=60), FOUND).worker_cores == pytest.approx(3 * base.worker_cores)
    assert needs(replace(STEADY, features=5), FOUND).worker_cores == pytest.approx(base.worker_cores)
    assert needs(replace(STEADY, features=60), FOUND).postgres_cores == pytest.approx(base.postgres_cores)


def test_kafka_holds_events_and_labels_for_as_long_as_it_keeps_them() -> None:
    need = needs(replace(STEADY, bytes_per_event=500, bytes_per_label=100, kafka_days=3), FOUND)

    assert need.kafka_bytes_a_day == pytest.approx(10_000 * 86_400 * (500 + 0.2 * 100))
    assert need.kafka_bytes_kept == pytest.approx(3 * need.kafka_bytes_a_day)


def test_predictions_and_labels_stay_for_a_horizon_and_a_half() -> None:
    need = needs(STEADY, FOUND)

    a_day = 10_000 * 86_400
    assert need.rows["prediction"].a_day == pytest.approx(a_day)
    assert need.rows["prediction"].kept == pytest.approx(45 * a_day)
    assert need.rows["label"].kept == pytest.approx(9 * a_day)
    assert need.postgres_working_bytes == pytest.approx(45 * a_day * 170 + 9 * a_day * 160)


def test_results_grow_with_models_segments_features_and_windows_and_not_with_events() -> None:
    few = needs(replace(STEADY, models=10, window_s=1800), FOUND)
    many = needs(replace(STEADY, models=10, window_s=1800, events_per_s=1), FOUND)

    groups = 10 * 4 * 48  # models, segments and all traffic, windows a day
    assert few.rows["verdict"].a_day == groups * 22 * 2
    assert few.rows["verdict"].bytes_kept == pytest.approx(groups * 22 * 2 * 180 * 330)
    assert few.rows["performance"].kept == groups * 5 * 3 * 400
    assert few.rows["rollup"].a_day == groups * 3
    assert {name: many.rows[name] for name in ("verdict", "performance", "rollup")} == {
        name: few.rows[name] for name in ("verdict", "performance", "rollup")
    }


def test_a_model_without_labels_stores_no_predictions() -> None:
    need = needs(replace(STEADY, labels_share=0), FOUND)

    assert [need.rows[name].kept for name in ("prediction", "label", "performance")] == [0, 0, 0]
    assert need.rows["rollup"].a_day == 4 * 24
    assert need.worker_cores == pytest.approx(10_000 * 5e-6 / 0.7)


def test_one_postgres_is_enough_until_its_cores_are_used_up() -> None:
    most = 16 * 0.7 / 12e-6
    roomy = replace(STEADY, postgres_bytes_max=1e18)
    below, beyond = (needs(replace(roomy, events_per_s=most * share), FOUND) for share in (0.99, 1.01))

    assert below.events_per_s_of_one_postgres == pytest.approx(most)
    assert (below.one_postgres, beyond.one_postgres) == (True, False)


def test_one_postgres_is_enough_until_its_disk_is_full() -> None:
    results = sum(needs(STEADY, FOUND).rows[name].bytes_kept for name in ("rollup", "verdict", "performance"))
    a_prediction = 45 * 86_400 * (170 + 0.2 * 160)
    most = (4e12 - results) / a_prediction
    below, beyond = (needs(replace(STEADY, events_per_s=most * share), FOUND) for share in (0.999, 1.001))

    assert below.events_per_s_of_one_postgres == pytest.approx(most)
    assert (below.one_postgres, beyond.one_postgres) == (True, False)


def test_more_labels_cost_as_many_more_rows() -> None:
    need = needs(replace(STEADY, labels_share=0.8), FOUND)

    assert need.postgres_cores == pytest.approx(10_000 * 12e-6 * 1.8 / 1.2 / 0.7)


def test_the_command_tells_what_it_needs_and_where_its_constants_are_from() -> None:
    given = ["--events-per-second", "10000", "--features", "20", "--segments", "3", "--labels-share", "0.2"]
    text = CliRunner().invoke(main, ["capacity", *given])
    told = CliRunner().invoke(main, ["capacity", *given, "--json"])

    assert text.exit_code == told.exit_code == 0
    assert f"measured   {measured().on}, {measured().machine}: " in text.stdout
    found = json.loads(told.stdout)
    assert found["workers"] == needs(STEADY, measured()).workers
    assert found["measured"] == {
        "on": measured().on,
        "machine": measured().machine,
        "commands": list(measured().commands),
    }


def test_what_was_measured_is_whole_and_possible() -> None:
    found = measured()

    assert found.commands
    for part in (found.worker_core_us, found.postgres_core_us, found.broker_core_us):
        assert part.keys() == {"drift", "labels"}
        assert all(0 < us < 1000 for us in part.values())
    for costs in (*found.closing_us.values(), found.fetch_of_models):
        assert all(n > 0 for n in costs.values())
    assert {"prediction", "label", "rollup", "verdict", "performance"} <= found.bytes_a_row.keys()


CLOSING = replace(
    FOUND,
    closing_us={
        "worker": {"model": 12_000, "series": 85},
        "postgres": {"model": 5_000, "series": 35},
    },
)


def test_windows_that_close_cost_by_models_and_by_groups_times_features_at_each_slide() -> None:
    wide = replace(STEADY, models=1_000, segments=50, window_s=60)
    before, after = needs(wide, FOUND), needs(wide, CLOSING)
    series = 1_000 * 51 * 22  # 20 features, the prediction and the score, of all segments and of all traffic

    worker_s, postgres_s = 1_000 * 0.012 + series * 85e-6, 1_000 * 0.005 + series * 35e-6
    assert after.worker_cores - before.worker_cores == pytest.approx(worker_s / 60 / 0.7)
    assert after.postgres_cores - before.postgres_cores == pytest.approx(postgres_s / 60 / 0.7)
    assert after.workers > before.workers

    hourly = needs(replace(wide, window_s=3600), CLOSING)
    assert hourly.postgres_cores - before.postgres_cores == pytest.approx(postgres_s / 3600 / 0.7)


def test_what_closing_takes_of_one_postgres_is_not_there_for_predictions() -> None:
    wide = replace(STEADY, models=1_000, segments=50, window_s=60, postgres_bytes_max=1e18)
    closing_s = 1_000 * 0.005 + 1_000 * 51 * 22 * 35e-6

    some = needs(wide, CLOSING).events_per_s_of_one_postgres
    none = needs(replace(wide, postgres_cores_max=1), CLOSING)

    assert some == pytest.approx((16 * 0.7 - closing_s / 60) / 12e-6)
    assert (none.events_per_s_of_one_postgres, none.one_postgres) == (0, False)


def test_models_that_share_a_topic_cost_by_model_and_fetch() -> None:
    found = replace(FOUND, fetch_of_models={"events": 1_000, "worker_us": 700, "postgres_us": 100})
    one, many, beyond = (needs(replace(STEADY, models=models), found) for models in (1, 201, 5_000))

    assert one.worker_cores == pytest.approx(10_000 * 10e-6 / 0.7)
    assert many.worker_cores == pytest.approx(10_000 * (10e-6 + 0.2 * 700e-6) / 0.7)
    assert many.postgres_cores == pytest.approx(10_000 * (12e-6 + 0.2 * 100e-6) / 0.7)
    assert beyond.worker_cores == pytest.approx(10_000 * (10e-6 + 700e-6) / 0.7, rel=2e-3)  # a model an event


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((option, value) for option in ("events-per-second", "postgres-cores") for value in ("nan", "inf", "1e300")),
        ("labels-share", "nan"),
        ("postgres-terabytes", "nan"),
        *((option, "0s") for option in ("window", "horizon", "retention", "kafka-retention")),
        *((option, "9" * 22) for option in ("features", "segments", "models", "bytes-per-event")),
    ],
)
def test_what_no_workload_can_be_is_refused(option: str, value: str) -> None:
    given = {"events-per-second": "100", "features": "10", option: value}

    told = CliRunner().invoke(main, ["capacity", *(f"--{name}={of}" for name, of in given.items())])

    assert told.exit_code == 2
    assert f"error: --{option}: " in told.stderr
