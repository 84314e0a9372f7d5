"""`driftline replay`: what would have been seen, had these files been live?"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dashboards.pictures import write_pictures
from driftline.arguments import Duration, Time
from driftline.errors import ConfigurationError
from driftline.settings import ModelSettings, Settings, load_settings
from driftline.wiring.replay import Replayed, ReplayRequest, run_replay
from streams.replay_files import ReplayTimes


@click.command("replay")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--model", help="Which model of the configuration; needed if it has several.")
@click.option(
    "--predictions",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="Parquet, CSV or JSON-lines file of predictions; may be repeated.",
)
@click.option(
    "--labels",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File of labels; may be repeated. Without one, labels are looked for beside the predictions.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option("--start", type=Time(), help="Time of the first row, for files without a time column.")
@click.option("--interval", type=Duration(), help="Time from one row to the next, with --start.")
@click.option(
    "--label-delay", default="0s", type=Duration(), help="How long after its prediction a label without a time comes."
)
@click.option("--database", help="URL of an empty Postgres database to keep; an embedded one is thrown away.")
@click.option("--no-pictures", is_flag=True, help="Write no drift.png and performance.png.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, the summary, last.")
def command(
    config: Path,
    model: str | None,
    predictions: tuple[Path, ...],
    labels: tuple[Path, ...],
    out: Path,
    start: int | None,
    interval: int | None,
    label_delay: int,
    database: str | None,
    no_pictures: bool,
    as_json: bool,
) -> None:
    """Run data files through the very code of the live path, and write what it finds.

    Writes drift.csv, performance.csv, events.jsonl and summary.json to the folder, and draws the first two as drift.png
    and performance.png. Needs neither Kafka nor a database.
    """
    if (start is None) != (interval is None):
        raise ConfigurationError("--start and --interval go together", where="arguments")
    settings = load_settings(config, os.environ)
    request = ReplayRequest(
        _model(settings, model), predictions, labels, out, ReplayTimes(start, interval, label_delay), database
    )
    replayed = _run(settings, request, quiet=as_json)
    summary = replayed.summary
    pictures = [] if no_pictures else write_pictures(out, _floors(settings.models[request.model]))
    click.echo(json.dumps(summary) if as_json else _as_text(summary, out, pictures))
    if replayed.warning:
        click.echo(f"driftline: warning: {replayed.warning}", err=True)


def _floors(model: ModelSettings) -> dict[str, float]:
    performance = model.performance
    return {} if performance is None else {str(metric): floor for metric, floor in performance.floor.items()}


def _model(settings: Settings, model: str | None) -> str:
    if model is None and len(settings.models) > 1:
        raise ConfigurationError("--model is needed", where="arguments", remedy=f"one of {', '.join(settings.models)}")
    return model if model is not None else next(iter(settings.models))


def _run(settings: Settings, request: ReplayRequest, *, quiet: bool) -> Replayed:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        return asyncio.run(run_replay(settings, request, progress))


def _as_text(summary: dict[str, object], out: Path, pictures: list[Path]) -> str:
    lines = [f"{name.replace('_', ' '):>22}  {value}" for name, value in summary.items()]
    files = [out / name for name in ("drift.csv", "performance.csv", "events.jsonl", "summary.json")]
    lines.append(f"written: {', '.join(map(str, files))}")
    if pictures:
        lines.append(f"to look at: {', '.join(map(str, pictures))}")
    return "\n".join(lines)
