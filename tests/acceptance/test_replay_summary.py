"""Does the summary of a replay count events as a person would, also with shadows, a late reference and odd rows?"""

import json
from pathlib import Path

import pytest

from tests.support.postgres import fresh_database
from tests.support.replays import Row, replay, replayed

pytestmark = pytest.mark.postgres

MODEL = {
    "task": "binary",
    "reference": {"first_events": 1_000},
    "columns": {"label": "label"},
    "windows": {"length": "10m", "min_events": 100},
}


def write(folder: Path, rows: int = 3_000) -> tuple[Path, Path]:
    """A champion and, for every second id, a shadow, a second apart; labels a minute later, some of unknown ids."""
    folder.mkdir(exist_ok=True)
    times = [f"2024-01-01T{row // 3600:02}:{row // 60 % 60:02}:{row % 60:02}Z" for row in range(rows + 60)]
    predictions = ["prediction_id,timestamp,version,prediction,score,age"]
    labels = ["prediction_id,timestamp,label"]
    for row in range(rows):
        predictions.append(f"p{row},{times[row]},v1,{row % 2},{0.1 + row % 2 * 0.8},{row % 37}")
        if row % 2:
            predictions.append(f"p{row},{times[row]},v2,{row % 3 % 2},0.5,{row % 37}")
        if row % 3 == 0:
            labels.append(f"p{row},{times[row + 60]},1")
    labels += ["nobody,2024-01-01T00:10:00Z,1", "p0,2024-01-01T00:20:00Z,1", "p1,yesterday,1"]
    predictions += ["p1,2024-01-01T00:00:01Z,v1,1,0.9,1", "p5000,9999-12-31T23:59:59Z,v1,1,0.9,1", "p5001,,v1,1,0.9,1"]
    (folder / "p.csv").write_text("\n".join(predictions))
    (folder / "l.csv").write_text("\n".join(labels))
    return folder / "p.csv", folder / "l.csv"


def counted(rows: list[Row], version: str) -> list[tuple[int, int, float]]:
    of = [row for row in rows if row["version"] == version and row["metric"] == "accuracy" and row["basis"] == "cohort"]
    return [(int(row["n_predictions"]), int(row["n_labelled"]), float(row["coverage"])) for row in of]


def test_every_event_is_counted_once_though_a_label_scores_two_versions(
    tmp_path: Path, postgres_server_url: str
) -> None:
    files = write(tmp_path / "data")
    with fresh_database(postgres_server_url) as url:
        found = replayed(tmp_path, MODEL, *files, "--database", url)
        again = replay(tmp_path / "again", MODEL, *files, "--database", url)

    # A database that holds events already would count them with the new ones.
    assert (again.returncode, "holds events already" in again.stderr) == (3, True)
    assert not (tmp_path / "again" / "out").exists()
    expected = {
        "predictions": 4_500, "repeated_predictions": 1, "labels": 1_001, "labels_joined": 1_000,
        "labels_unmatched": 1, "repeated_labels": 1, "dead_letters": 3, "windows": 6,
    }  # fmt: skip
    assert {name: found.summary[name] for name in expected} == expected
    # The reference is the first 1,000 of both versions; its predictions count as predictions, not as drift.
    assert counted(found.performance, "v1") == [(600, 200, pytest.approx(1 / 3))] * 5
    assert counted(found.performance, "v2") == [(300, 100, pytest.approx(1 / 3))] * 5
    judged = [row for row in found.drift if row["detector"] == "psi" and row["feature"] == "age"]
    assert sum(int(row["n_current"]) for row in judged) == 3_500
    assert {row["n_reference"] for row in judged} == {"1000"}
    assert {row["level"] for row in judged} == {"ok"}


def test_labels_of_other_predictions_are_warned_of_on_standard_error(tmp_path: Path) -> None:
    predictions, labels = write(tmp_path / "data")
    labels.write_text("prediction_id,timestamp,label\n" + "".join(f"q{n},2024-01-01T00:10:00Z,1\n" for n in range(200)))

    ended = replay(tmp_path, MODEL, predictions, labels)

    assert ended.returncode == 0
    assert (json.loads(ended.stdout)["labels"], json.loads(ended.stdout)["labels_joined"]) == (200, 0)
    assert "driftline: warning: 0 of 200 labels found a prediction; the first label's id is 'q0'" in ended.stderr
