"""Can each command that the pages of docs/benchmarks print be run as it is written?"""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

import benchmarks.__main__ as bench
import benchmarks.calibration as calibration
import benchmarks.detection.__main__ as detection
import benchmarks.store.__main__ as store
from benchmarks.detection.running import OURS, PEERS
from benchmarks.rows import ROWS

PROJECT = Path(__file__).parents[2]
PAGES = sorted((PROJECT / "docs" / "benchmarks").glob("*.md"))
MODULES: dict[str, click.Command] = {
    "benchmarks": bench.main,
    "benchmarks.calibration": calibration.main,
    "benchmarks.detection": detection.main,
}
TARGETS = {
    "bench": "benchmarks",
    "calibrate": "benchmarks.calibration",
    "bench-detection": "benchmarks.detection",
    "bench-store": "benchmarks.store",
    "bench-all": "benchmarks",
}
NAMES = {"names": ROWS, "tools": {OURS, *PEERS}}


def commands(page: Path) -> list[str]:
    return re.findall(r"(?:`|^    )((?:make|python) [^`\n]+)", page.read_text(encoding="utf-8"), re.MULTILINE)


def arguments(command: str) -> tuple[str, list[str]]:
    """Say which module a command runs, with what."""
    program, *rest = shlex.split(command)
    if program == "make":
        target, *given = rest
        assert len(given) <= 1, f"more than ARGS: {command}"
        assert not given or given[0].startswith("ARGS="), command
        return TARGETS[target], shlex.split(given[0].removeprefix("ARGS=")) if given else []
    assert rest[0] == "-m", command
    return rest[1], rest[2:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_that_is_printed_is_taken_by_what_it_runs(page: Path) -> None:
    for command in commands(page):
        module, given = arguments(command)
        if module == "benchmarks.store":
            store.options().parse_args(given)
        elif module in MODULES:
            context = MODULES[module].make_context(module, given)
            for parameter, known in NAMES.items():
                named = context.params.get(parameter)
                assert named is None or set(named.split(",")) <= set(known), command
        else:
            assert importlib.util.find_spec(module), command
            assert not given, command


def test_there_are_commands_to_look_at() -> None:
    assert len([command for page in PAGES for command in commands(page)]) > 15
