"""`make bench-detection`: lets ours and peers watch the same streams, and tells what their alarms were worth."""

from __future__ import annotations

import json
import shlex
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.detection import estimates, page
from benchmarks.detection.items import make_items
from benchmarks.detection.real import data_folder
from benchmarks.detection.results import adwin_rows, estimate_rows, row
from benchmarks.detection.running import BASELINE, OURS, PEERS, Said, Streams, baselines, ours, peer
from benchmarks.detection.windows import make_windows
from benchmarks.report.machine import describe_machine

FULL, QUICK = (20, 3, 2, 100), (3, 1, 1, 10)
"""Streams of items of each kind, of windows, for a slow detector of either, and for ADWIN by itself."""


@click.command()
@click.option("--quick", is_flag=True, help="Fewer streams.")
@click.option("--tools", help=f"Only these, with commas between: {', '.join((OURS, *PEERS))}; others stay.")
@click.option("--out", type=click.Path(path_type=Path), help="Write page, picture and JSON to this folder.")
@click.option("--json", "as_one_line", is_flag=True, help="Print one line of JSON last.")
def main(quick: bool, tools: str | None, out: Path | None, as_one_line: bool) -> None:
    """Compare detectors by false alarms, changes found and delay, and estimates before labels."""
    chosen = (OURS, *PEERS) if tools is None else tuple(tools.split(","))
    if unknown := [name for name in chosen if name not in (OURS, *PEERS)]:
        raise click.BadParameter(f"no tool {', '.join(unknown)}", param_hint="--tools")
    console, started = Console(stderr=True), time.monotonic()

    def tell(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.1f} s[/]  {what}", highlight=False)

    data = data_folder()
    if data is None:
        tell("[bold]no real data: those rows are left out; set DRIFTLINE_SHARED_DATA[/]")
    n_items, n_windows, slow, n_adwin = QUICK if quick else FULL
    streams = Streams(
        make_items(n_items, data),
        make_windows(n_windows, data),
        [] if data is None else estimates.windowed(data),
        slow,
    )
    tell(f"made {len(streams.items)} kinds of items, {len(streams.windows)} of windows")
    run = {"date": datetime.now(UTC).date().isoformat(), "command": _command()}
    rows = _kept(out, chosen)
    for name in chosen:
        measured = _rows_of(name, streams) + (adwin_rows(n_adwin) if name == OURS else [])
        rows += [of | {"run": run} for of in measured]
        found = {"machine": describe_machine(), "rows": rows}
        if out is not None:
            page.write(out, found)
        tell(f"{name}: done")
    if out is None:
        click.echo(page.page(found))
    if as_one_line:
        click.echo(json.dumps(found))


def _command() -> str:
    arguments = shlex.join(sys.argv[1:])
    return f"make bench-detection ARGS={arguments!r}" if arguments else "make bench-detection"


def _rows_of(name: str, streams: Streams) -> list[dict[str, Any]]:
    said: list[Said]
    if name == OURS:
        ours_version = version("driftline")
        said = [*ours(streams, ours_version), *baselines(streams)]
        guesses = {(of.name, size): estimates.estimated(of.data, size) for of in streams.estimates for size in of.sizes}
        tool_version = ours_version
    else:
        found = peer(name, streams)
        said, tool_version = found.said, next((of.version for of in found.said), "")
        guesses = {
            (of.name, size): found.estimates[f"{of.name}, {size} rows"]  # type: ignore[misc]
            for of in streams.estimates
            for size in of.sizes
            if found.estimates
        }
    off = {
        f"{of.name}, {size:,} rows": estimates.off(guesses[of.name, size], estimates.realised(of.data, size))
        for of in streams.estimates
        for size in of.sizes
        if (of.name, size) in guesses
    }
    return [row(of, streams) for of in said] + estimate_rows(name, tool_version, off)


def _kept(out: Path | None, chosen: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the rows of the tools that were not measured now, if the folder has any."""
    if out is None or not (file := out / "detection.json").exists():
        return []
    measured = {*chosen, *((BASELINE,) if OURS in chosen else ())}
    return [of for of in json.loads(file.read_text())["rows"] if of["tool"] not in measured]


if __name__ == "__main__":
    main()
