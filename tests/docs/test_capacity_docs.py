"""Does docs/capacity.md show what the command answers, and the constants that it reckons with?"""

import json
import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from benchmarks.report.capacity import with_measured
from driftline.cli import main

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "capacity.md").read_text(encoding="utf-8")
CONSTANTS = json.loads((PROJECT / "driftline" / "capacity" / "measured.json").read_text(encoding="utf-8"))


def row(what: str) -> list[str]:
    [cells] = re.findall(rf"^\| {re.escape(what)} \| (.*) \|$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in cells.split("|")]


def test_the_example_s_answer_is_what_the_command_says() -> None:
    [example] = re.findall(r"^driftline (capacity .*)$", PAGE, re.MULTILINE)
    [shown] = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    told = CliRunner().invoke(main, shlex.split(example))

    *answer, source = told.stdout.splitlines()
    assert shown.splitlines() == answer
    assert source.startswith("measured ")


def test_the_tables_hold_the_constants() -> None:
    worker, postgres, broker = (CONSTANTS[f"{part}_core_us"] for part in ("worker", "postgres", "broker"))
    a_prediction, a_label = (CONSTANTS["bytes_a_row"][table] for table in ("prediction", "label"))

    assert row("CPU µs a prediction, labels of 20%") == [f"{us['labels']:.2f}" for us in (worker, postgres, broker)]
    assert row("predictions a second and core, drift only")[0] == f"{1_000_000 / worker['drift']:,.0f}"
    assert row("a prediction and 20% of its label") == [f"{a_prediction + 0.2 * a_label:,.0f}"]


def test_other_constants_and_answers_replace_what_stands_there_and_nothing_else() -> None:
    other = CONSTANTS | {"worker_mib": 7_777}

    changed = with_measured(PAGE, other, ["workers    none"])

    assert "```text\nworkers    none\n```\n" in changed
    assert "| peak memory, MiB | 7777 |" in changed
    [shown] = re.findall(r"^```text\n.*?^```", PAGE, re.MULTILINE | re.DOTALL)
    again = with_measured(changed, CONSTANTS, shown.splitlines()[1:-1])
    assert again == PAGE
