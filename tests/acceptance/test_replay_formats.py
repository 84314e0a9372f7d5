"""Does a replay say the same of the same rows, whatever kind of file they are in, and however they are shuffled?"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.support.postgres import fresh_database
from tests.support.replays import EMPLOYMENT, Replayed, replayed

ROWS = 4_000
START_MS = 1_451_606_400_000

Run = Callable[[str, Path, Path], Replayed]


@pytest.fixture
def files(shared_data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A slice of the employment data, with times in the files: predictions, labels."""
    predictions = pq.read_table(shared_data / "employment_ma_analysis.parquet").slice(0, ROWS)
    labels = pq.read_table(shared_data / "employment_ma_labels.parquet").slice(0, ROWS)
    predictions = predictions.cast(
        pa.schema([f if not pa.types.is_dictionary(f.type) else f.with_type(pa.string()) for f in predictions.schema])
    )
    time = pa.array(START_MS + 1000 * np.arange(ROWS))
    pq.write_table(predictions.append_column("timestamp", time), tmp_path / "p.parquet")
    pq.write_table(labels.append_column("timestamp", pc.add(time, 600_000)), tmp_path / "l.parquet")
    return tmp_path / "p.parquet", tmp_path / "l.parquet"


@pytest.fixture
def run(shared_data: Path, tmp_path: Path, postgres_server_url: str) -> Run:
    """Replay files into a database of their own."""
    reference = {"path": str(shared_data / "employment_ma_reference.parquet")}

    def run(name: str, predictions: Path, labels: Path) -> Replayed:
        model = EMPLOYMENT | {"reference": reference, "windows": {"length": "10m"}}
        with fresh_database(postgres_server_url) as url:
            return replayed(tmp_path / name, model, predictions, labels, "--database", url)

    return run


def written(replay: Replayed) -> tuple[bytes, bytes]:
    return (replay.folder / "drift.csv").read_bytes(), (replay.folder / "performance.csv").read_bytes()


def as_csv(path: Path) -> Path:
    pyarrow.csv.write_csv(pq.read_table(path), path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def as_json_lines(path: Path) -> Path:
    lines = (json.dumps(row) + "\n" for row in pq.read_table(path).to_pylist())
    path.with_suffix(".jsonl").write_text("".join(lines))
    return path.with_suffix(".jsonl")


@pytest.mark.postgres
def test_every_kind_of_file_and_every_order_of_rows_says_the_same(run: Run, files: tuple[Path, Path]) -> None:
    parquet = run("parquet", *files)

    assert parquet.summary["labels_joined"] == ROWS
    assert parquet.summary["windows"] == 8  # 4,000 s of predictions, and labels for 10 min more
    assert written(run("jsonl", *map(as_json_lines, files))) == written(parquet)

    random = np.random.default_rng(7)
    for path in files:
        repeated = np.concatenate([np.arange(ROWS), random.choice(ROWS, 500)])
        pq.write_table(pq.read_table(path).take(random.permutation(repeated)), path)
    again = run("shuffled csv", *map(as_csv, files))
    assert written(again) == written(parquet)
    assert (again.summary["repeated_predictions"], again.summary["repeated_labels"]) == (500, 500)
    for name in ("predictions", "labels", "labels_joined", "labels_unmatched", "dead_letters", "windows"):
        assert again.summary[name] == parquet.summary[name], name
