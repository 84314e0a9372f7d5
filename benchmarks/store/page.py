"""What was measured of the store, as a page for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import psutil

from benchmarks.store.month import Month
from benchmarks.store.tidying import Tidied
from benchmarks.store.views import RANGES, Size, Timed

MS_MAX = 200
ROWS_SHOWN_MAX = 25_000
"""A plain select of more rows is for an export, and takes as long as sending them."""
MIB = 1024 * 1024

PAGE = """# A month in the store

How large a month of results is, and how long its readers wait. The first day of the first model is written by the
system itself, from generated events; the other days and models are that day again, moved in time. So every row is one
that the real code wrote.

* **What**: {models} models, {features} features, {segments} segments and all traffic, windows of an hour, {days} days,
  {predictions:,} predictions a day and model, {share:.0%} of them labelled.
* **Where**: PostgreSQL {version}, `shared_buffers` 256 MB, else its defaults, on {cores} cores ({machine}),
  {gib:.0f} GiB; {date}.
* **How**: `make bench-store`

## Sizes

{sizes}

## What the dashboard asks

Milliseconds until a client has all rows, the median of several runs; the target is {ms_max}. With one model chosen:

{one}

With all models at once:

{all}

## What a person asks

`select * from VIEW where model = … and TIME >= …`, rows in brackets. It takes as long as sending the rows: whoever asks
for a month of everything gets hundreds of thousands of them.

{by_hand}

What has no time, of all models at once:

{without_time}

{verdict}

## What retention takes

One run of what a worker does each minute, a day after the month ended, with everything kept for as long as the month
is: old rollups {rollups_ms:.0f} ms, old partitions {partitions_ms:.0f} ms, expired rows {expired_ms:.0f} ms
({n_expired:,} of them, a bounded number at a time).
"""


def as_page(version: str, month: Month, tables: Sequence[Size], timed: Sequence[Timed], tidied: Tidied) -> str:
    """Write what was measured as a page."""
    slow = [t for t in timed if t.ms > MS_MAX and t.n_rows <= ROWS_SHOWN_MAX]
    verdict = f"Every query that gives fewer than {ROWS_SHOWN_MAX:,} rows is within the target."
    if slow:
        told = (f"`{t.query.name}` ({t.query.models}, {t.query.range}) {t.ms:.0f} ms" for t in slow)
        verdict = f"Beyond the target: {', '.join(told)}."
    return PAGE.format(
        models=month.models,
        features=month.features,
        segments=month.segments,
        days=month.days,
        predictions=month.predictions_a_day,
        share=month.label_share,
        version=version,
        cores=os.cpu_count(),
        machine=platform.machine(),
        gib=psutil.virtual_memory().total / 1024**3,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        sizes=_sizes(tables),
        ms_max=MS_MAX,
        one=_table(timed, "one", by_hand=False),
        all=_table(timed, "all", by_hand=False),
        by_hand=_table(timed, "one", by_hand=True),
        without_time=_table_without_ranges(timed),
        verdict=verdict,
        **asdict(tidied),
    )


def _sizes(tables: Sequence[Size]) -> str:
    lines = ["| table | rows | table MiB | indexes MiB | bytes a row |", "|---|---:|---:|---:|---:|"]
    for of in tables:
        if of.n >= ROWS_OF_A_TABLE_MIN:
            room = f"{of.table_bytes / MIB:.1f} | {of.index_bytes / MIB:.1f}"
            lines.append(f"| `{of.name}` | {of.n:,} | {room} | {of.bytes_a_row:.0f} |")
    return "\n".join(lines)


ROWS_OF_A_TABLE_MIN = 100
"""Of fewer rows, what they take is pages, not rows."""


def _table(timed: Sequence[Timed], models: str, *, by_hand: bool) -> str:
    of = {
        (t.query.name, t.query.range): t
        for t in timed
        if t.query.models == models and t.query.name.startswith("v_") == by_hand and t.query.range
    }
    lines = ["| query | " + " | ".join(RANGES) + " |", "|---|" + "---:|" * len(RANGES)]
    for name in dict.fromkeys(name for name, _ in of):
        cells = [of[name, span] for span in RANGES]
        told = (_with_rows(t) if by_hand else f"{t.ms:.0f}" for t in cells)
        lines.append(f"| `{name}` | " + " | ".join(told) + " |")
    return "\n".join(lines)


def _table_without_ranges(timed: Sequence[Timed]) -> str:
    lines = [f"| `{t.query.name}` | {_with_rows(t)} |" for t in timed if not t.query.range]
    return "\n".join(["| query | all of it |", "|---|---:|", *lines])


def _with_rows(timed: Timed) -> str:
    return f"{timed.ms:.0f} ({timed.n_rows:,})"
