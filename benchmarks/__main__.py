"""`make bench`: starts services, measures rows in turns, and tells what came of it."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from benchmarks.measuring.micro import measure_steps, steps_page, steps_table
from benchmarks.report.constants import write_constants
from benchmarks.report.machine import describe_machine, machine_text
from benchmarks.report.results import NotMeasuredError, Result, as_json
from benchmarks.report.table import rich_table, write_results
from benchmarks.rows import ROWS, Row
from benchmarks.setting.services import services
from benchmarks.setting.stage import FULL, QUICK, Size, Stage
from driftline.embedded import embedded_postgres

PROJECT = Path(__file__).parents[1]
PEERS = PROJECT / ".venv-peers" / "bin" / "python"
PREPARED_AT_A_TIME = 3
"""Filling topics keeps this process busy, replays others."""


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rows, events and turns.")
@click.option("--rows", "names", help=f"Only these, with commas between: {', '.join(ROWS)}.")
@click.option("--events", type=click.IntRange(80_000), help="Predictions that a row of ours drains.")
@click.option("--turns", type=click.IntRange(1), help="How often each row is measured.")
@click.option("--out", type=click.Path(path_type=Path), help="Write table, chart and JSON to this folder.")
@click.option(
    "--anew", is_flag=True, help="Leave out what the folder of --out holds of rows that are not measured now."
)
@click.option("--micro", is_flag=True, help="Time the steps of the path, each by itself, instead.")
@click.option("--json", "as_one_line", is_flag=True, help="Print one line of JSON last.")
def main(
    quick: bool,
    names: str | None,
    events: int | None,
    turns: int | None,
    out: Path | None,
    anew: bool,
    micro: bool,
    as_one_line: bool,
) -> None:
    """Measure how fast Driftline is, beside what one would write instead, on this machine."""
    signal.signal(signal.SIGTERM, _interrupt)
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    date = datetime.now(UTC).date().isoformat()
    if micro:
        _measure_steps(out, as_one_line, date, command)
        return
    chosen = _chosen(names, quick)
    base = QUICK if quick else FULL
    size = Size(events or base.events, turns or base.turns)
    console = Console(stderr=True)
    started = time.monotonic()

    def tell(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.1f} s[/]  {what}", highlight=False)

    tell("starting a broker and a database")
    run = {"date": date, "command": command, "events": size.events}
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder, services() as running:
        for results in measure(chosen, Stage(running, size, Path(folder), PEERS, tell)):
            seconds = round(time.monotonic() - started, 1)
            rows = [as_json(result, results) | {"run": run | {"seconds": seconds}} for result in results]
            found = {"machine": describe_machine(), "seconds": seconds, "rows": rows}
            if out is not None:
                write_results(out, found, keep=not anew)
                write_constants(out)
    Console(width=None if sys.stdout.isatty() else 200).print(rich_table(rows))
    if as_one_line:
        click.echo(json.dumps(found))
    wrong = [result for result in results if result.failed]
    for result in wrong:
        click.echo(f"{result.name}: {result.missing}", err=True)
    sys.exit(1 if wrong else 0)


def _measure_steps(out: Path | None, as_one_line: bool, date: str, command: str) -> None:
    with embedded_postgres(durable=True) as url:
        steps = measure_steps(url)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "micro.md").write_text(steps_page(steps, date, command, machine_text(describe_machine())))
    Console(width=None if sys.stdout.isatty() else 200).print(steps_table(steps))
    if as_one_line:
        click.echo(json.dumps({"machine": describe_machine(), "steps": [step.as_json() for step in steps]}))


def _interrupt(*_: object) -> NoReturn:
    """Let a polite end stop the services, as Ctrl-C does."""
    raise KeyboardInterrupt


def _chosen(names: str | None, quick: bool) -> dict[str, Row]:
    if names is None:
        return {name: row for name, row in ROWS.items() if row.quick or not quick}
    wanted = names.split(",")
    if unknown := [name for name in wanted if name not in ROWS]:
        raise click.BadParameter(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}", param_hint="--rows")
    return {name: ROWS[name] for name in wanted}


def measure(chosen: Mapping[str, Row], stage: Stage) -> Iterator[list[Result]]:
    """Measure rows in turns; one that fails is left out of further turns, and the others go on.

    Yields
    ------
    All results so far, after each turn.
    """
    with ThreadPoolExecutor(PREPARED_AT_A_TIME) as pool:
        pool.map(lambda row: row.prepare(stage), chosen.values())  # what fails here fails again below, and is told
    results = {name: Result(name, row.title, row.kind, row.figure, row.targets) for name, row in chosen.items()}
    for turn in range(stage.size.turns):
        for name, row in chosen.items():
            result = results[name]
            if result.missing or turn >= (row.turns_max or stage.size.turns):
                continue
            try:
                result.turns.append(row.measure(stage))
            except NotMeasuredError as error:
                result.missing = str(error)
            except Exception as error:
                result.missing, result.failed, result.turns = f"{type(error).__name__}: {error}", True, []
            stage.tell(f"turn {turn + 1}, {name}: {_in_short(result)}")
        yield list(results.values())


def _in_short(result: Result) -> str:
    return result.missing or f"{result.turns[-1].figures[result.figure]:,.0f} {result.figure}"


if __name__ == "__main__":
    main()
