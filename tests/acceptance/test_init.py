"""Does `driftline init`, as a real process, write a configuration from each kind of data file?"""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.settings import ModelSettings, load_settings

CSV = "id,when,age,sex,prediction,score,label\n" + "".join(
    f"{n},2024-01-01 00:{n % 60:02}:00,{20 + n % 50},{'mf'[n % 2]},{n % 2},{0.2 + n % 2 / 2},{n // 2 % 2}\n"
    for n in range(120)
)
EVENTS = "".join(
    json.dumps(
        {
            "prediction_id": f"p{n}",
            "model": "m",
            "version": "v1",
            "timestamp": 1_700_000_000_000 + n,
            "prediction": ["cat", "dog", "emu"][n % 3],
            "features": {"age": n * 1.5, "sex": "mf"[n % 2]},
        }
    )
    + "\n"
    for n in range(60)
)


def init(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftline.cli", "init", *arguments], cwd=folder, capture_output=True, text=True
    )


def only_model(folder: Path) -> ModelSettings:
    [model] = load_settings(folder / "monitor.yaml", {}).models.values()
    return model


def test_a_csv_file_becomes_a_configuration_that_says_what_was_found_and_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "churn_train.csv").write_text(CSV)

    result = init(tmp_path, "churn_train.csv")

    assert result.returncode == 0, result.stderr
    assert "label       label: by its name" in result.stdout
    assert result.stdout.splitlines()[-1].strip() == (
        "driftline replay --config monitor.yaml --predictions churn_train.csv --labels churn_train.csv --out out"
    )
    settings = load_settings(tmp_path / "monitor.yaml", {})
    model = settings.models["churn"]
    assert model.task == "binary"
    assert model.columns.model_dump(exclude_none=True) == {
        "id": "id",
        "time": "when",
        "prediction": "prediction",
        "score": "score",
        "label": "label",
    }
    assert model.features is None
    assert model.has_labels
    assert model.reference is not None
    assert model.reference.path == tmp_path / "churn_train.csv"
    assert "# segments: [sex]" in (tmp_path / "monitor.yaml").read_text()


def test_a_parquet_file_with_dictionaries_and_decimals_is_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prediction": pa.array(["a", "b", "a", "c"]).dictionary_encode(),
            "price": pa.array([Decimal("1.50")] * 4),
            "row": pa.array(range(4)),
        }
    )
    pq.write_table(table, tmp_path / "pets.parquet")

    assert init(tmp_path, "pets.parquet").returncode == 0
    assert only_model(tmp_path).task == "multiclass"


@pytest.mark.parametrize("name", ["events.jsonl", "events.NDJSON"])
def test_a_file_of_events_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(EVENTS)

    result = init(tmp_path, name, "--json")

    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["task"] == only_model(tmp_path).task == "multiclass"
    assert told["columns"] == {
        "prediction": "prediction",
        "id": "prediction_id",
        "time": "timestamp",
        "version": "version",
    }
    assert told["features"] == ["age", "sex"]
    assert told["next"][:2] == ["driftline", "replay"]


def test_a_csv_file_is_read_as_replay_reads_it(tmp_path: Path) -> None:
    rows = "".join(f"{n},{n % 2},{n:05},{'NA' if n % 2 else 'DE'},\n" for n in range(20))
    (tmp_path / "p.csv").write_text(f"id,prediction,postcode,country,nothing\n{rows}")

    result = init(tmp_path, "p.csv", "--json")

    assert json.loads(result.stdout)["features"] == ["country"]
    assert json.loads(result.stdout)["left_out"] == {"postcode": "different in each row"}
    assert "{name: country, type: categorical}" in (tmp_path / "monitor.yaml").read_text()


def test_labels_apart_are_named_in_the_next_command(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,y_pred\n" + "".join(f"{n},{n % 2}\n" for n in range(20)))
    (tmp_path / "l.csv").write_text("id,employed\n" + "".join(f"{n},{n % 2}\n" for n in range(20)))

    result = init(tmp_path, "p.csv", "--labels", "l.csv", "--model", "work: 1")

    assert result.returncode == 0, result.stderr
    assert "--labels l.csv --start 2024-01-01T00:00:00Z --interval 1s --out out" in result.stdout
    assert load_settings(tmp_path / "monitor.yaml", {}).models["work: 1"].columns.label == "employed"


def test_labels_of_other_predictions_are_not_paired_with_this_file(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,y_pred\n" + "".join(f"{n},{n % 2}\n" for n in range(20)))
    (tmp_path / "l.csv").write_text("id,employed\n" + "".join(f"{n},{n % 2}\n" for n in range(100, 120)))

    result = init(tmp_path, "r.csv", "--labels", "l.csv")

    assert result.returncode == 0, result.stderr
    assert "--predictions PREDICTIONS --labels l.csv" in result.stdout
    assert "the file that the labels belong to" in result.stdout


def test_the_features_are_named_so_that_a_wrong_guess_is_seen(tmp_path: Path) -> None:
    names = [f"f{n}" for n in range(12)]
    rows = "".join(",".join([str(n % 2), *(f"{n}.{i}" for i in range(12))]) + "\n" for n in range(20))
    (tmp_path / "p.csv").write_text(",".join(["prediction", *names]) + "\n" + rows)

    assert f"  features    12: {', '.join(names[:10])}, ...\n" in init(tmp_path, "p.csv").stdout


def test_numbers_are_predicted_by_a_regression(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,prediction,actual\n" + "".join(f"{n},{n}.5,{n}.7\n" for n in range(20)))

    assert init(tmp_path, "p.csv").returncode == 0
    model = only_model(tmp_path)
    assert (model.task, model.columns.label) == ("regression", "actual")


def test_the_reference_is_relative_only_below_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "config").mkdir()
    (tmp_path / "data" / "p.csv").write_text(CSV)

    assert init(tmp_path, "data/p.csv").returncode == 0
    assert init(tmp_path, "data/p.csv", "--output", "config/m.yaml").returncode == 0

    assert 'reference: {path: "data/p.csv"}' in (tmp_path / "monitor.yaml").read_text()
    [model] = load_settings(tmp_path / "config" / "m.yaml", {}).models.values()
    assert model.reference is not None
    assert model.reference.path == tmp_path / "data" / "p.csv"


def test_what_is_there_is_overwritten_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(CSV)
    (tmp_path / "monitor.yaml").write_text("mine")

    refused = init(tmp_path, "p.csv")

    assert refused.returncode == 2
    assert refused.stderr == "driftline: error: monitor.yaml: is there already; --force overwrites it\n"
    assert (tmp_path / "monitor.yaml").read_text() == "mine"
    assert init(tmp_path, "p.csv", "--force").returncode == 0
    assert only_model(tmp_path).task == "binary"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("p.csv", b"", "is empty"),
        ("p.csv", b"id,prediction\n", "has no rows"),
        ("p.csv", b"id,id,prediction\n1,2,3\n", "has more than one column called id"),
        ("p.csv", b"a,b\n1,2\n", "no prediction column among a, b"),
        ("p.csv", b"a,b\n1,2,3\n", "cannot be read as .csv"),
        ("p.txt", b"hello", "is no data file by its name"),
        ("p.parquet", b"hello", "cannot be read as .parquet"),
        ("p.jsonl", b"hello", "cannot be read as .jsonl"),
        ("p.csv.gz", b"hello", "is no data file by its name"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)

    result = init(tmp_path, name)

    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"driftline: error: {name}: {reason}")
    assert not (tmp_path / "monitor.yaml").exists()


def test_a_missing_file_a_folder_and_a_missing_output_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(CSV)

    assert init(tmp_path, "q.csv").stderr == "driftline: error: q.csv: there is no such file\n"
    assert init(tmp_path, ".").stderr == "driftline: error: .: is a folder, not a data file\n"
    assert "cannot be written" in init(tmp_path, "p.csv", "--output", "nowhere/m.yaml").stderr


@pytest.mark.parametrize(
    ("labels", "reason"),
    [("id,text\n1,a\n2,b\n", "no label column among id, text"), ("key,label\n1,0\n2,1\n", "has no column id")],
)
def test_a_file_of_labels_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, labels: str, reason: str
) -> None:
    (tmp_path / "p.csv").write_text(CSV)
    (tmp_path / "l.csv").write_text(labels)

    result = init(tmp_path, "p.csv", "--labels", "l.csv")

    assert result.returncode == 2
    assert f"l.csv: {reason}" in result.stderr


def test_real_predictions_are_understood(tmp_path: Path, shared_data: Path) -> None:
    for name, labels, expected in (
        ("employment_ma_reference.parquet", [], {"score": "predicted_probability", "label": "employed"}),
        (
            "california_housing_analysis.csv",
            ["--labels", str(shared_data / "california_housing_analysis_gt.csv")],
            {"score": "y_pred_proba", "label": "clf_target", "time": "timestamp"},
        ),
    ):
        assert init(tmp_path, str(shared_data / name), *labels, "--force").returncode == 0
        columns = only_model(tmp_path).columns.model_dump(exclude_none=True)
        assert columns.pop("id") == "id"
        columns.pop("prediction")
        assert columns == expected
