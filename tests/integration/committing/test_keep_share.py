"""Does a model that keeps only a share of its ids still tell the truth about its coverage and its features?"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.support.live import run_driftline
from tests.support.pipelines import MINUTE, features, lab, migrated, prediction

MONITOR = """
models:
  churn:
    task: binary
    reference: {path: predictions.csv}
    columns: {label: label}
    labels: {keep_share: 0.25}
    windows: {length: 1h}
"""


@pytest.mark.postgres
def test_a_share_of_ids_is_joined_and_coverage_is_of_that_share(tmp_path: Path) -> None:
    lines = "".join(f"{row},{row % 2},{row % 2},2024-01-01 00:{row // 200:02}:00\n" for row in range(8_000))
    (tmp_path / "predictions.csv").write_text("prediction_id,prediction,label,timestamp\n" + lines)
    (tmp_path / "monitor.yaml").write_text(MONITOR)
    arguments = ("--config", str(tmp_path / "monitor.yaml"), "--predictions", str(tmp_path / "predictions.csv"))
    done = run_driftline("replay", *arguments, "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    # A quarter of the ids by their hash: 2,000 give or take four standard deviations.
    assert summary["predictions"] == 8_000
    assert 1_845 <= summary["labels_joined"] <= 2_155
    with (tmp_path / "out" / "performance.csv").open() as file:
        [row] = [row for row in csv.DictReader(file) if row["metric"] == "accuracy" and row["basis"] == "cohort"]
    assert int(row["n_predictions"]) == 8_000
    assert int(row["n_labelled"]) == summary["labels_joined"]
    assert float(row["value"]) == 1.0
    assert float(row["coverage"]) == min(1.0, summary["labels_joined"] / 2_000)


@pytest.mark.postgres
@pytest.mark.parametrize("order", ["prediction first", "features first", "in one fetch"])
async def test_no_ids_features_count_twice_be_it_kept_or_not(postgres_url: str, order: str) -> None:
    ids, bare = [f"p{number}" for number in range(200)], [f"b{number}" for number in range(200)]
    served = [features(name, MINUTE, x=0.5) for name in ids + bare]
    predicted = [prediction(name, MINUTE, features={"x": 0.5}) for name in ids]
    predicted += [prediction(name, MINUTE, features=None) for name in bare]
    fetches = {
        "prediction first": [predicted, served],
        "features first": [served, predicted],
        "in one fetch": [[*served[:100], *predicted, *served[100:]]],
    }
    async with migrated(postgres_url) as connection:
        made = await lab(connection, {"labels": {"keep_share": 0.5}})
        for fetch in fetches[order]:
            await made.commit("all", *fetch)
        await made.close()
        counts = await made.counts()
        [of_x] = await made.drift(detector="psi", feature="x")
        [of_prediction] = await made.drift(detector="psi", feature="@prediction")

    # Of an id that is not kept nobody knows later whether its prediction carried features: those apart do not count.
    not_kept = counts["features_not_kept"]
    assert 140 <= not_kept <= 260
    in_bare = of_x["n_current"] - len(ids)
    assert 60 <= in_bare <= 140
    assert (of_prediction["n_current"], counts["feature_event"]) == (400, 400)
