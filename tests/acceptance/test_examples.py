"""Does what the examples and the ten minutes promise come true, word by word, as real processes?"""

import csv
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PROJECT = Path(__file__).parents[2]
EMPLOYMENT = runpy.run_path(str(PROJECT / "examples" / "employment" / "generate.py"))
ELECTRICITY = runpy.run_path(str(PROJECT / "examples" / "electricity" / "generate.py"))
TRAINING = runpy.run_path(str(PROJECT / "examples" / "electricity" / "train.py"))

CHANGES = {name: datetime.fromtimestamp(ms / 1000, UTC) for name, ms in EMPLOYMENT["CHANGES"].items()}
RELATION_CHANGED = TRAINING["FIRST"].astype(datetime).replace(tzinfo=UTC) + timedelta(
    minutes=30 * ELECTRICITY["CHANGE_ROW"]
)
UNSTEADY = re.compile(r"(digest|seconds|drift events|retraining requests)( +)\S+")
"""What a document may show as it was on the day it was written."""

Shell = Callable[[str], str]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Run commands from the root of a checkout that may be written to; give back what they print."""
    root = tmp_path / "driftline"
    shutil.copytree(PROJECT / "examples", root / "examples", ignore=shutil.ignore_patterns("out"))
    (root / ".venv").symlink_to(sys.prefix)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(commands: str) -> str:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=root,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (PROJECT / document).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def rows(path: Path, **wanted: str) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if wanted.items() <= row.items()]


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def drifts(folder: Path, feature: str, **wanted: str) -> list[datetime]:
    """The ends of the windows in which all traffic of a feature was in drift."""
    found = rows(folder / "drift.csv", feature=feature, segment="*", level="drift", **wanted)
    return [time(row["window_end"]) for row in found]


def features(folder: Path) -> set[str]:
    return {row["feature"] for row in rows(folder / "drift.csv")}


def values(folder: Path, metric: str) -> dict[datetime, float]:
    """A metric of all traffic by the end of its window, for predictions made in it."""
    found = rows(folder / "performance.csv", metric=metric, basis="cohort", segment="*")
    return {time(row["window_end"]): float(row["value"]) for row in found}


def mean(of: Mapping[datetime, float], since: datetime, until: datetime) -> float:
    return float(np.mean([value for end, value in of.items() if since < end <= until]))


def assert_pictures(folder: Path) -> None:
    """Both pictures can be decoded, are as wide as a screen and show more than paper."""
    for name in ("drift.png", "performance.png"):
        image = matplotlib.image.imread(folder / name)
        assert image.shape[1] > 1000, name
        assert image.shape[0] > 300, name
        inked = (image[..., :3] < 0.95).any(axis=2).mean()
        assert 0.005 < inked < 0.95, f"{name}: {inked:.1%} of it is not white"


def test_the_ten_minutes_go_as_they_are_told(shell: Shell, tmp_path: Path) -> None:
    told = "".join(blocks("docs/ten-minutes.md", "console")).splitlines()
    commands = [line.removeprefix("$ ") for line in told if line.startswith("$ ")]
    # One shell for all, since one of the commands is `cd`; each line comes back before what it prints.
    said = shell("\n".join(f"printf '%s\\n' {quoted(f'$ {command}')}\n{command}" for command in commands))

    assert [UNSTEADY.sub(r"\1\2…", line) for line in said.splitlines()] == [
        UNSTEADY.sub(r"\1\2…", line) for line in told
    ]
    first = tmp_path / "driftline" / "out" / "first"
    assert_pictures(first / "out")
    assert not list((first / "calmer").glob("*.png"))
    assert_changes_found(first / "out")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def assert_changes_found(folder: Path) -> None:
    """Each change of the employment generator is found in the first window after it, and nothing before."""
    day = timedelta(days=1)
    assert min(drifts(folder, "RELP", detector="psi")) == CHANGES["recoded"] + day
    assert min(drifts(folder, "AGEP", detector="psi")) == CHANGES["younger"] + day
    assert not drifts(folder, "SEX")
    assert not drifts(folder, "RAC1P")
    assert min([*drifts(folder, "@error.0"), *drifts(folder, "@error.1")]) > CHANGES["younger"]
    # Three in ten of those who would have work have none: so much of the precision goes, and nothing of the recall.
    stretch = (CHANGES["recession"], CHANGES["recession"] + 9 * day)
    for metric, left in (("precision", 0.7), ("recall", 1.0)):
        before = mean(values(folder, metric), CHANGES["younger"], CHANGES["recession"])
        assert mean(values(folder, metric), *stretch) == pytest.approx(left * before, abs=0.03)


def test_the_employment_example_runs_on_made_files(shell: Shell, tmp_path: Path) -> None:
    [made] = [block for block in blocks("examples/employment/README.md", "sh") if "generate.py" in block]

    shell(made)

    out = tmp_path / "driftline" / "examples" / "employment" / "out"
    assert_pictures(out)
    assert_changes_found(out)
    assert "year" not in features(out)
    assert {row["segment"] for row in rows(out / "drift.csv")} == {"*", "SEX=1", "SEX=2"}


def test_the_employment_example_runs_on_the_real_files(shell: Shell, tmp_path: Path, shared_data: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "data").symlink_to(shared_data)

    shell(blocks("examples/employment/README.md", "sh")[0])

    out = tmp_path / "driftline" / "examples" / "employment" / "out"
    assert_pictures(out)
    assert "year" not in features(out)
    # By the rows' own numbers, one every 453 s: 2017 begins with row 69,126, and from then on all people in homes,
    # barracks and prisons stand in rows 133,619 to 143,889.
    start = datetime(2016, 1, 1, tzinfo=UTC)
    year, block, end = (start + timedelta(seconds=453 * row) for row in (69_126, 133_619, 143_890))
    window = timedelta(days=14)
    in_drift = [
        (row["feature"], time(row["window_start"]), time(row["window_end"]))
        for row in rows(out / "drift.csv", segment="*", detector="psi", level="drift")
    ]
    assert not [name for name, _, ended in in_drift if ended <= year]
    assert {name for name, begun, ended in in_drift if ended <= block or begun >= end} == {"RELP"}
    within = {name for name, begun, ended in in_drift if begun < end and ended > block}
    assert {"AGEP", "SCHL", "MAR", "@score"} <= within
    recall = values(out, "recall")
    assert mean(recall, block + window, end) < 0.5 < 0.8 < mean(recall, start, block)
    assert drifts(out, "@error.1", detector="adwin")


def test_the_electricity_example_finds_the_planted_change_and_nothing_before(shell: Shell, tmp_path: Path) -> None:
    real, made = blocks("examples/electricity/README.md", "sh")
    [replay] = re.findall(r"^\S+driftline replay.*", real, re.DOTALL | re.MULTILINE)

    shell(made + replay)

    out = tmp_path / "driftline" / "examples" / "electricity" / "out" / "replay"
    assert_pictures(out)
    found = drifts(out, "@error.0", detector="adwin") + drifts(out, "@error.1", detector="adwin")
    pane, window = timedelta(days=14), timedelta(days=28)
    assert RELATION_CHANGED < min(found) <= RELATION_CHANGED + pane + window
    assert not rows(out / "drift.csv", detector="psi", level="drift"), "no input changed"


def test_the_electricity_example_finds_concept_drift_on_the_real_file(
    shell: Shell, tmp_path: Path, shared_data: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "data").symlink_to(shared_data)

    shell(blocks("examples/electricity/README.md", "sh")[0])

    out = tmp_path / "driftline" / "examples" / "electricity" / "out" / "replay"
    assert_pictures(out)
    for series in ("@error.0", "@error.1"):
        assert drifts(out, series, detector="adwin"), series
    assert_recall_is_that_of_the_files(out)
    assert mean(values(out, "recall"), time("1996-08-31T00:00Z"), time("1997-02-28T00:00Z")) > 0.7
    assert mean(values(out, "recall"), time("1998-01-31T00:00Z"), time("1998-04-30T00:00Z")) < 0.1
    # The markets were coupled on 5 May 1997: until then these columns are constants.
    coupled = time("1997-05-05T00:00Z")
    for constant in ("vicprice", "vicdemand", "transfer"):
        assert coupled < min(drifts(out, constant, detector="psi")) <= coupled + timedelta(days=28)
    assert not drifts(out, "period")


def assert_recall_is_that_of_the_files(out: Path) -> None:
    predictions, labels = (pq.read_table(out.parent / f"{name}.parquet") for name in ("predictions", "labels"))
    made = predictions["timestamp"].to_numpy()
    up = labels["label"].to_numpy() == 1
    found = predictions["prediction"].to_numpy() == 1
    compared = 0
    for end, recall in values(out, "recall").items():
        last = np.datetime64(end.replace(tzinfo=None))
        within = (made >= last - np.timedelta64(28, "D")) & (made < last)
        if within.sum() == 28 * 48:  # with fewer rows a window reaches back
            assert recall == pytest.approx(found[within & up].mean())
            compared += 1
    assert compared >= 28


def write(path: Path, columns: Mapping[str, Iterable[Any]]) -> None:
    pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), path)


def test_labels_may_stand_beside_rows_that_are_many_horizons_apart(shell: Shell, tmp_path: Path) -> None:
    n = 400
    columns = {
        "prediction_id": map(str, range(n)),
        "timestamp": (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(n)),
        "prediction": ("ab"[day % 2] for day in range(n)),
        "label": ("ab"[day % 3 % 2] for day in range(n)),
        "size": map(float, range(n)),
    }
    write(tmp_path / "driftline" / "rows.parquet", columns)
    (tmp_path / "driftline" / "monitor.yaml").write_text(
        "models: {m: {task: binary, positive_class: b, reference: {path: rows.parquet}, labels: {horizon: 10d},"
        " windows: {length: 50d, pane: 1d, min_events: 10}}}"
    )

    shell("driftline replay --predictions rows.parquet --out out --label-delay 1d --no-pictures")

    found = rows(tmp_path / "driftline" / "out" / "performance.csv", metric="accuracy", basis="cohort")
    assert sum(int(row["n_labelled"]) for row in found) == n
    assert not (tmp_path / "driftline" / "out" / "drift.png").exists()
