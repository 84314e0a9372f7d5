"""`driftline init`: which configuration fits this data file?"""

import json
import os
import re
import shlex
from pathlib import Path

import click

from driftline.errors import ConfigurationError, InputError
from driftline.starter.columns import Column, class_texts, columns_of
from driftline.starter.guess import SHOWN_MAX, Guess, guess
from driftline.starter.sample import read_sample
from driftline.starter.template import ORDER, render

FILE_WORDS = ("reference", "train", "training", "analysis", "production", "predictions", "baseline", "sample", "data")
"""Endings of a file's name that say what the file is, not what the model is."""

OTHER_PREDICTIONS = "PREDICTIONS"
"""Stands in the next command for a file of predictions that only the person knows."""


@click.command("init")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="Write there."
)
@click.option("--model", help="The model's name; by default the file's.")
@click.option(
    "--labels", "labels_file", type=click.Path(path_type=Path), help="A file with the labels, if they are apart."
)
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(file: Path, output: Path, model: str | None, labels_file: Path | None, force: bool, as_json: bool) -> None:
    """Write a configuration from FILE, a Parquet, CSV or JSON-lines file of predictions without drift.

    It guesses which column is which and what the model does, and writes each guess down with its reason.
    """
    table = read_sample(file)
    labels = columns_of(read_sample(labels_file)) if labels_file else None
    guessed = _guess(file, columns_of(table), labels_file, labels)
    name = model or _model_name(file)
    text = render(guessed, source=file.name, rows=table.num_rows, model=name, reference=_seen_from(output, file))
    _write(output, text, force=force)
    predictions = str(file) if labels is None or _belong_together(guessed, labels) else OTHER_PREDICTIONS
    following = _next_command(guessed, output, predictions, labels_file or file)
    click.echo(_as_json(guessed, name, output, following) if as_json else _as_text(guessed, name, output, following))


def _guess(file: Path, columns: list[Column], labels_file: Path | None, labels: list[Column] | None) -> Guess:
    guessed = guess(columns, labels)
    if isinstance(guessed, str):
        raise InputError.in_file(file, guessed, remedy="name the column of predicted classes or values `prediction`")
    if labels_file and labels is not None:
        names = [column.name for column in labels]
        if "label" not in guessed.found:
            known = ", ".join(names)
            raise InputError.in_file(labels_file, f"no label column among {known}", remedy="name it `label`")
        if "id" in guessed.found and guessed.found["id"].column.name not in names:
            missing = guessed.found["id"].column.name
            raise InputError.in_file(labels_file, f"has no column {missing}, by which labels find their predictions")
    return guessed


def _belong_together(guessed: Guess, labels: list[Column]) -> bool:
    """Whether a label of the sample has the id of a prediction of the sample; without ids nobody knows."""
    if "id" not in guessed.found:
        return True
    own = guessed.found["id"].column
    others = next(column for column in labels if column.name == own.name)
    return bool(set(class_texts(own)) & set(class_texts(others)))


def _model_name(file: Path) -> str:
    """Take the model's name from the file's.

    Examples
    --------
    >>> _model_name(Path("data/fraud_eu_reference.csv.gz")), _model_name(Path("train.csv"))
    ('fraud_eu', 'model')
    """
    words = re.findall(r"[^\W_]+", file.name.partition(".")[0])
    while words and words[-1].lower() in FILE_WORDS:
        words.pop()
    return "_".join(words) or "model"


def _seen_from(output: Path, file: Path) -> str:
    """Name a file as the configuration beside it would: below its folder relatively, else absolutely."""
    folder, target = output.absolute().parent, file.absolute()
    return str(target.relative_to(folder)) if target.is_relative_to(folder) else os.path.normpath(target)


def _write(output: Path, text: str, *, force: bool) -> None:
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError("is there already", where=str(output), remedy="--force overwrites it") from None
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", where=str(output)) from None


def _next_command(guessed: Guess, output: Path, predictions: str, labels: Path) -> list[str]:
    words = ["driftline", "replay", "--config", str(output), "--predictions", predictions]
    if "label" in guessed.found:
        words += ["--labels", str(labels)]
    if "time" not in guessed.found:
        words += ["--start", "2024-01-01T00:00:00Z", "--interval", "1s"]
    return [*words, "--out", "out"]


def _as_text(guessed: Guess, model: str, output: Path, following: list[str]) -> str:
    facts = [("model", model), ("task", f"{guessed.task}: {guessed.task_reason}")]
    if guessed.positive_class is not None:
        facts.append(("positive", f"{guessed.positive_class}: {guessed.positive_reason}"))
    for role in ORDER:
        found = guessed.found.get(role)
        facts.append((role, f"{found.column.name}: {found.reason}" if found else "none"))
    facts.append(("features", _named([column.name for column in guessed.features])))
    facts += [("left out", f"{column.name}: {reason}") for column, reason in guessed.left_out]
    found_lines = [f"  {name:<11} {fact}" for name, fact in facts]
    command_line = f"  {shlex.join(following)}"
    next_step = "Next, with this file or newer ones:"
    if OTHER_PREDICTIONS in following:
        next_step = f"Next, with {OTHER_PREDICTIONS}, the file that the labels belong to (this one has other ids):"
    return "\n".join([f"Wrote {output}. Found:", *found_lines, next_step, command_line])


def _named(features: list[str]) -> str:
    shown = ", ".join(features[:SHOWN_MAX]) + (", ..." if len(features) > SHOWN_MAX else "")
    return f"{len(features)}: {shown}" if features else "none"


def _as_json(guessed: Guess, model: str, output: Path, following: list[str]) -> str:
    return json.dumps(
        {
            "config": str(output),
            "model": model,
            "task": guessed.task,
            "positive_class": guessed.positive_class,
            "columns": {role: found.column.name for role, found in guessed.found.items()},
            "features": [column.name for column in guessed.features],
            "left_out": {column.name: reason for column, reason in guessed.left_out},
            "next": following,
        }
    )
