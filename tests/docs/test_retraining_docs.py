"""Does the page on retraining say what the consumer does, and does its example do what it says?"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from retraining import consumer
from retraining.inbox import environment, read_request
from retraining.keeper import TAIL_BYTES
from retraining.runs import ATTEMPTS_MAX, FOLDERS_MAX
from retraining.statuses import STATES, Status


@pytest.fixture
def page(project: Path) -> str:
    return (project / "docs" / "retraining.md").read_text("utf-8")


@pytest.fixture
def example(project: Path) -> Path:
    return project / "examples" / "retraining"


def test_the_variables_are_those_that_the_example_s_request_and_the_code_set(page: str, example: Path) -> None:
    request = read_request((example / "request.json").read_bytes())
    assert request is not None
    told = json.loads(request.body)
    told["data"]["lineage"]["data_version"] = "d"
    whole = read_request(json.dumps(told).encode())
    assert whole is not None

    assert set(re.findall(r"`(DRIFTLINE_[A-Z_]+)`", page)) == environment(whole, 1, "/f").keys()


def test_every_option_that_is_named_is_there_and_the_numbers_are_the_code_s(page: str) -> None:
    options = {name for parameter in consumer.main.params for name in parameter.opts}

    assert set(re.findall(r"(--[a-z][a-z-]+)", page)) <= options
    assert f"{TAIL_BYTES // 1024} KiB" in page
    assert f"newest {FOLDERS_MAX:,}" in page
    assert f"begun {ATTEMPTS_MAX} times" in page


def test_links_lead_somewhere(page: str, project: Path) -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", page)

    assert [link for link in linked if not (project / "docs" / link).exists()] == []


def test_the_fields_of_a_status_are_those_of_the_contract(project: Path) -> None:
    contracts = (project / "docs" / "contracts.md").read_text("utf-8")
    section = contracts.split("\n## What became of a request\n")[1].split("\n## ")[0]
    named = {
        word
        for line in section.splitlines()
        if line[:3] == "| `"
        for word in re.findall(r"`(\w+)`", line.split("|")[1])
    }

    assert named == {"at" if field.name == "at_ms" else field.name for field in fields(Status)}
    assert set(STATES) <= set(re.findall(r"`(\w+)`", section))


def test_the_example_fits_on_the_recommended_window_and_says_which_version_it_made(
    example: Path, tmp_path: Path
) -> None:
    chance = np.random.default_rng(0)
    ages = chance.random(2_000)
    times = np.datetime64("2024-05-07T00:00", "ms") + np.arange(2_000) * np.timedelta64(1, "m")
    rows = [f"{time}Z,{age},{int(age > 0.5)}" for time, age in zip(times, ages, strict=True)]
    (tmp_path / "history.csv").write_text("\n".join(["time,age,label", *rows]))

    def train(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(example / "train.py"), *arguments]
        body = (example / "request.json").read_text()
        return subprocess.run(command, input=body, cwd=tmp_path, capture_output=True, text=True, check=False)

    said = train()
    assert said.stdout == "churn 7: retrain on 2024-05-07T18:00:00.000Z to 2024-05-08T12:00:00.000Z\n"
    for _ in range(2):  # begun again after a crash, it makes the same version
        done = train("history.csv")
        assert done.returncode == 0, done.stderr
        # From 18:00 on the first day to 12:00 on the next, but the history ends 33 h 20 min after its first midnight.
        assert json.loads(done.stdout.splitlines()[-1]) == {"version": "churn-9f2c61d0", "rows": 920}
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["churn-9f2c61d0.pickle"]

    (tmp_path / "history.csv").write_text("time,age,label\n2024-05-07T19:00:00Z,0.5,1\n")
    failed = train("history.csv")
    assert (failed.returncode, "history.csv has 1 rows" in failed.stderr) == (1, True)
