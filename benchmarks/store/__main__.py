"""`make bench-store`: fill a Postgres with a month, and say how large and how fast everything is."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.report.constants import write_constants
from benchmarks.store.month import Month, fill
from benchmarks.store.page import ROWS_SHOWN_MAX, as_page
from benchmarks.store.tidying import Tidied, time_tidying
from benchmarks.store.views import Size, Timed, asked, sizes, time_query
from driftline.embedded import embedded_postgres
from driftline.store.connection import connect


class Found(NamedTuple):
    """What was measured of a store of some version."""

    version: str
    tables: list[Size]
    timed: list[Timed]
    tidied: Tidied


async def measure(url: str, month: Month, runs: int, is_filled: bool) -> Found:
    """Fill a store if it is empty, and measure it."""
    connection = await connect(url)
    try:
        if not is_filled:
            await fill(connection, url, month, lambda what: print(what, file=sys.stderr, flush=True))
        await connection.execute("vacuum analyze")
        version = (await (await connection.execute("show server_version")).fetchall())[0][0]
        found = await sizes(connection)
        timed = [await time_query(connection, query, runs) for query in asked(month.end)]
        return Found(version, found, timed, await time_tidying(connection, month))
    finally:
        await connection.close()


def _at_least_one(text: str) -> int:
    """Read a number of which none would leave nothing to measure."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def options() -> argparse.ArgumentParser:
    """Return what may be asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    month = Month()
    parser.add_argument("--models", type=_at_least_one, default=month.models)
    parser.add_argument("--days", type=_at_least_one, default=month.days)
    parser.add_argument("--predictions-a-day", type=_at_least_one, default=month.predictions_a_day)
    parser.add_argument("--runs", type=_at_least_one, default=3)
    parser.add_argument("--folder", type=Path, help="keep the store here, and use it again if it is there")
    parser.add_argument("--out", type=Path, help="write `store.md` and `store.json` to this folder")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser


def main() -> None:
    """Run it."""
    given = options().parse_args()
    month = Month(models=given.models, days=given.days, predictions_a_day=given.predictions_a_day)
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as made:
        folder = given.folder or Path(made) / "postgres"
        Path(made).chmod(0o755)  # the server may run as another user
        is_filled = (folder / "data").exists()
        with embedded_postgres(folder, durable=False) as url:
            version, tables, timed, tidied = asyncio.run(measure(url, month, given.runs, is_filled))
    page = as_page(version, month, tables, timed, tidied)
    slowest = max((t for t in timed if t.n_rows <= ROWS_SHOWN_MAX), key=lambda t: t.ms)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.store", *sys.argv[1:]]),
        "bytes_a_row": {of.name: round(of.bytes_a_row, 1) for of in tables if of.n},
        "rows": {of.name: of.n for of in tables if of.n},
        "slowest": [slowest.query.name, slowest.query.models, slowest.query.range, round(slowest.ms, 1)],
        "tidied": {name: round(getattr(tidied, name), 1) for name in tidied.__slots__},
    }
    if given.out:
        (given.out / "store.md").write_text(page)
        (given.out / "store.json").write_text(json.dumps(found, indent=1) + "\n")
        write_constants(given.out)
    else:
        print(page)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
