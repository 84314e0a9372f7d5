"""Does `driftline reference build`, as a real process, show what a reference holds and name what is wrong with it?"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from detectors.reference.profile import Profile

ROWS = 40
CSV = "id,age,sex,prediction,score\n" + "".join(
    f"{n},{'' if n % 4 == 0 else 'old' if n == 7 else 20 + n},{'mf'[n % 2]},{n % 2},{0.2 + n % 2 / 2}\n"
    for n in range(ROWS)
)
"""Of forty ages ten are missing and one is no number."""

CONFIG = """
models:
  churn:
    task: binary
    columns: {id: id}
    features: [{name: age, type: numeric}, {name: sex, type: categorical}]
    reference: {path: reference.csv}
"""


def build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftline.cli", "reference", "build", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reference.csv").write_text(CSV)
    (tmp_path / "labels.csv").write_text("id,age,sex,label\n1,30,m,1\n")
    (tmp_path / "monitor.yaml").write_text(CONFIG)
    return tmp_path


def test_the_table_shows_type_bins_and_shares_of_each_feature(folder: Path) -> None:
    result = build(folder)

    assert result.returncode == 0, result.stderr
    first, digest, *table, _, last = result.stdout.splitlines()
    assert first == "churn, all versions: 40 usable rows of reference.csv"
    assert digest.startswith("digest ")
    assert [line.split() for line in table] == [
        ["feature", "type", "bins", "missing", "other"],
        ["age", "numeric", "10", "25.00%", "2.50%"],
        ["sex", "categorical", "2", "0.00%", "0.00%"],
        ["@prediction", "categorical", "2", "0.00%", "0.00%"],
        # Nine quantiles of two scores, half of the rows each: both, and the middle between them, are three edges.
        ["@score", "numeric", "4", "0.00%", "0.00%"],
    ]
    assert "--output" in last


def test_the_rows_of_each_segment_are_told(folder: Path) -> None:
    (folder / "monitor.yaml").write_text(CONFIG + "    segments: [sex, region]\n")

    *_, rows, _, _ = build(folder).stdout.splitlines()
    facts = json.loads(build(folder, "--json").stdout)["models"]["churn"]["*"]

    assert rows == "  rows of region=missing: 40, sex=f: 20, sex=m: 20"
    assert facts["segments"] == {"region=missing": 40, "sex=f": 20, "sex=m": 20}


def test_the_same_file_has_the_same_digest_and_another_has_another(folder: Path) -> None:
    digests = []
    for text in (CSV, CSV, CSV.replace(",m,", ",w,")):
        (folder / "reference.csv").write_text(text)
        digests.append(json.loads(build(folder, "--json").stdout)["models"]["churn"]["*"]["digest"])

    assert digests[0] == digests[1] != digests[2]


def test_json_is_one_object_and_the_written_profiles_are_the_ones_it_names(folder: Path) -> None:
    result = build(folder, "--json", "--output", "profiles.json")

    found = json.loads(result.stdout)
    assert found["output"] == "profiles.json"
    [facts] = found["models"]["churn"].values()
    assert facts["rows"] == ROWS
    assert [feature["name"] for feature in facts["features"]] == ["age", "sex", "@prediction", "@score"]
    assert facts["features"][0]["missing_share"] == pytest.approx(0.25)
    written = json.loads((folder / "profiles.json").read_text())
    profile = Profile.from_json(json.dumps(written["churn"]["*"]))
    assert profile.digest == facts["digest"]
    assert profile.n == ROWS


def test_each_version_has_its_own_profile_and_one_that_learns_on_the_way_has_none(folder: Path) -> None:
    (folder / "newer.csv").write_text(CSV.replace(",m,", ",w,"))
    (folder / "monitor.yaml").write_text(
        "models:\n"
        "  churn: {task: binary, columns: {id: id}, versions: {v1: {reference: {path: reference.csv}},"
        " v2: {reference: {path: newer.csv}}, v3: {reference: {first_events: 100}}}}\n"
        "  fraud: {task: binary, reference: {first_events: 100}}\n"
    )

    models = json.loads(build(folder, "--json").stdout)["models"]

    assert list(models) == ["churn"]
    assert list(models["churn"]) == ["v1", "v2"]
    assert models["churn"]["v1"]["digest"] != models["churn"]["v2"]["digest"]
    nothing = build(folder, "--model", "fraud")
    assert nothing.returncode == 2
    assert "nothing to build" in nothing.stderr


def test_a_feature_whose_values_are_all_of_another_type_is_pointed_out(folder: Path) -> None:
    (folder / "monitor.yaml").write_text(CONFIG.replace("name: sex, type: categorical", "name: sex, type: numeric"))

    result = build(folder)

    [line] = [line for line in result.stdout.splitlines() if line.startswith("  sex")]
    assert line.split()[4] == "100.00%"
    assert "is its type right?" in line


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ("name: age", "name: agee"),
            "reference.csv: has no column of the feature `agee`; did you mean `age`?",
        ),
        (
            ("reference.csv", "labels.csv"),
            "labels.csv: has no column `prediction`; name it in columns.prediction",
        ),
        (("reference.csv", "absent.csv"), "absent.csv: does not exist"),
    ],
)
def test_what_is_wrong_with_a_file_names_the_file_and_the_column(
    folder: Path, change: tuple[str, str], told: str
) -> None:
    (folder / "monitor.yaml").write_text(CONFIG.replace(*change))

    result = build(folder)

    assert result.returncode == 2
    assert result.stderr == f"driftline: error: {folder / told}\n"
    assert result.stdout == ""


def test_an_unknown_model_and_a_place_that_cannot_be_written_are_told(folder: Path) -> None:
    unknown, unwritable = build(folder, "--model", "chrun"), build(folder, "--output", "absent/profiles.json")

    assert (unknown.returncode, unwritable.returncode) == (2, 2)
    assert unknown.stderr == "driftline: error: --model: no model chrun; the configuration has: churn\n"
    assert unwritable.stderr.startswith("driftline: error: absent/profiles.json: cannot be written")
