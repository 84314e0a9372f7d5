"""Data files in, data files out: what a replay reads and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from driftline.errors import InputError
from driftline.events import DeadLetter, Ints, LabelBatch, PredictionBatch
from driftline.store import sql
from driftline.store.connection import Connection, rows
from labels_join.repeats import key_order, same_key_as_before
from streams.decode.arrow import finder
from streams.decode.batches import merge
from streams.decode.files import FileDecoder, has_field, labels_from_table, predictions_from_table, read_table
from streams.decode.shapes import EventShape

JOINED_SHARE_MIN = 0.01
"""Of fewer labels joined people are warned: a share that no delay explains."""
IDS_SEEN_MAX = 1_000
ID_CHARACTERS_MAX = 60


@dataclass(frozen=True, slots=True)
class ReplayTimes:
    """Times for rows that have none of their own.

    Parameters
    ----------
    start_ms, interval_ms
        Time of the first prediction, and from one to the next; None where files must have a time column.
    label_delay_ms
        How long after its prediction a label without a time comes.
    """

    start_ms: int | None = None
    interval_ms: int | None = None
    label_delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class ReplayInput:
    """What the files of a replay hold.

    Parameters
    ----------
    without_prediction
        Labels that have neither a time nor a prediction, so that nothing says when they came.
    """

    predictions: PredictionBatch
    labels: LabelBatch | None
    dead: list[DeadLetter]
    without_prediction: int


def read_tables(paths: Sequence[Path]) -> list[tuple[Path, pa.Table]]:
    """Read data files.

    Raises
    ------
    InputError
        If one can't be read, or none of them holds a row.
    """
    tables = [(path, read_table(path)) for path in paths]
    if paths and not any(table.num_rows for _, table in tables):
        raise InputError("holds no rows", where=", ".join(map(str, paths)))
    return tables


def read_replay(
    prediction_tables: Sequence[tuple[Path, pa.Table]],
    label_tables: Sequence[tuple[Path, pa.Table]],
    decoder: FileDecoder,
    times: ReplayTimes,
) -> ReplayInput:
    """Make batches of the tables; without label files, labels are looked for beside the predictions.

    Raises
    ------
    InputError
        If a column is missing, named with its file.
    """
    batches, dead = [], []
    first = 0
    for path, table in prediction_tables:
        given = _given_times(table, decoder, times, first)
        batch, refused = predictions_from_table(table, decoder, str(path), given)
        batches.append(_numbered_from(batch, first))
        dead += refused
        first += table.num_rows
    predictions = merge(batches)
    beside = not label_tables
    if beside:
        label_tables = [
            (path, _with_label(table, decoder.shape))
            for path, table in prediction_tables
            if has_field(table, decoder.shape, "label")
        ]
    labels: list[LabelBatch] = []
    without_prediction = 0
    for path, table in label_tables:
        timeless = beside or not has_field(table, decoder.shape, "time")
        given = np.zeros(table.num_rows, np.int64) if timeless else None
        found, refused = labels_from_table(table, decoder, str(path), given)
        if timeless:
            found, n_lost = _after_prediction(found, predictions, times.label_delay_ms)
            without_prediction += n_lost
        labels.append(found)
        dead += refused
    return ReplayInput(predictions, merge(labels) if labels else None, dead, without_prediction)


def why_unjoined(
    prediction_tables: Sequence[tuple[Path, pa.Table]],
    label_tables: Sequence[tuple[Path, pa.Table]],
    shape: EventShape,
    n_labels: int,
    n_joined: int,
) -> str | None:
    """Say what to look at where labels found no predictions, or next to none.

    Parameters
    ----------
    label_tables
        Without those that hold predictions as well.

    Returns
    -------
    One line with an id of each side; None where enough were joined, or there are no labels.
    """
    if not label_tables or n_joined >= JOINED_SHARE_MIN * n_labels:
        return None
    predicted, labelled = _an_id(prediction_tables, shape), _an_id(label_tables, shape)
    return (
        f"{n_joined} of {n_labels} labels found a prediction; the first label's id is {labelled}, the first "
        f"prediction's {predicted}: do these labels belong to these predictions, and do they come within "
        "labels.horizon?"
    )


def _an_id(tables: Sequence[tuple[Path, pa.Table]], shape: EventShape) -> str:
    """Show the first id, and in which file it stands."""
    for path, table in tables:
        find = finder(table.slice(0, IDS_SEEN_MAX))
        columns = [column for column in map(find, shape.paths["id"]) if column is not None]
        values = (value for column in columns for value in column.to_pylist() if value is not None)
        for value in values:
            return f"{str(value)[:ID_CHARACTERS_MAX]!r} ({path})"
    return "missing"


def _given_times(table: pa.Table, decoder: FileDecoder, times: ReplayTimes, first: int) -> Ints | None:
    if times.start_ms is None:
        return None
    interval_ms = times.interval_ms or 0
    return times.start_ms + (first + np.arange(table.num_rows, dtype=np.int64)) * interval_ms


def _numbered_from(batch: PredictionBatch, first: int) -> PredictionBatch:
    return replace(batch, order=batch.order + first)


def _with_label(table: pa.Table, shape: EventShape) -> pa.Table:
    """Keep the rows of a prediction file whose label is known; the others have none yet."""
    find = finder(table)
    found = next(array for path in shape.paths["label"] if (array := find(path)) is not None)
    return table.filter(pa.compute.is_valid(found))


def _after_prediction(labels: LabelBatch, predictions: PredictionBatch, delay_ms: int) -> tuple[LabelBatch, int]:
    """Time labels by the first prediction of their id; those without one are taken out and counted."""
    keys = np.concatenate((predictions.key, labels.key))
    order = key_order(keys)
    number = np.empty(len(keys), np.int64)
    number[order] = np.cumsum(~same_key_as_before(keys, order))
    n = len(predictions)
    predicted_ms = np.zeros(len(keys) + 1, np.int64)
    is_predicted = np.zeros(len(keys) + 1, np.bool_)
    # The last assignment holds, so the first prediction comes last.
    predicted_ms[number[:n][::-1]] = predictions.time_ms[::-1]
    is_predicted[number[:n]] = True
    known = is_predicted[number[n:]]
    return replace(labels, time_ms=predicted_ms[number[n:]] + delay_ms).take(known), int((~known).sum())


async def write_results(connection: Connection, folder: Path) -> None:
    """Write `drift.csv`, `performance.csv` and `events.jsonl` from a store's views.

    Raises
    ------
    InputError
        If the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows_of in (("drift.csv", "export_drift"), ("performance.csv", "export_performance")):
            statement = f"copy ({sql(rows_of)}) to stdout (format csv, header)"
            with (folder / name).open("wb") as file:
                async with connection.cursor().copy(statement.encode()) as copy:
                    async for piece in copy:
                        file.write(piece)
        events = await rows(connection, "export_events")
        (folder / "events.jsonl").write_text("".join(f"{event.payload}\n" for event in events), "utf-8")
    except OSError as error:
        raise InputError(f"can't be written: {error.strerror}", where=str(folder)) from None


def write_summary(folder: Path, summary: dict[str, object]) -> None:
    """Write `summary.json`."""
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
