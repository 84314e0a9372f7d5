"""Did a worker compute what it should have?

Counted is what the store holds, compared is what the views say with a replay of the same events. Invariants: numbers
are equal to the last bit; at least one window is compared; what is wrong is told by name.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row

from benchmarks.setting.stage import WrongAnswerError
from benchmarks.setting.traffic import MODEL, Traffic

SETTLES_S_MAX = 60
VIEWS = ("drift", "performance")
TEXTS = {"model", "version", "segment", "feature", "detector", "level", "basis", "metric", "reason"}
TIMES = {"window_start", "window_end", "mature_at"}

COUNTS = "select reason, sum(n)::bigint from driftline.v_counts where model = %s group by 1"
IN_PANES = """
    select (select coalesce(sum(n), 0) from driftline.pane where segment = -1)
         + (select coalesce(sum(n), 0) from driftline.rollup where segment = -1 and kind = 'features')
"""
PAIRS = """
    select (select coalesce(sum(n), 0) from driftline.outcome where segment = -1)
         + (select coalesce(sum(n), 0) from driftline.rollup where segment = -1 and kind = 'arrival')
"""
DEAD = "select count(*), min(reason), min(detail) from driftline.v_dead_letters"
CLOSED = "select max(closed_through) from driftline.evaluation"


class Alive(Protocol):
    """A worker that may have ended."""

    def fail_if_ended(self) -> None:
        """Raise if it has."""


def check_answer(
    connection: psycopg.Connection[Any], events: Traffic, expected: Mapping[str, Iterable[dict[str, str]]], alive: Alive
) -> None:
    """Compare what the store holds with the events and with what a replay found in them.

    Parameters
    ----------
    expected
        Rows of `drift` and `performance` as a replay of the same events, watched the same way, wrote them.

    Raises
    ------
    WrongAnswerError
        Naming what is wrong.
    """
    check_counts(connection, events)
    last_end = _closable(expected["drift"], events)
    deadline = time.monotonic() + SETTLES_S_MAX
    while (closed := closed_through(connection)) is None or closed < last_end:
        alive.fail_if_ended()
        if time.monotonic() > deadline:
            raise WrongAnswerError(f"windows until {last_end} are not closed, only until {closed}")
        time.sleep(0.2)
    check_rows(connection, expected, closed)


def check_counts(connection: psycopg.Connection[Any], events: Traffic) -> None:
    """Compare how many events there are in the counters, in panes and among the pairs."""
    dead, reason, detail = _one(connection, DEAD)
    if dead:
        raise WrongAnswerError(f"{dead} dead letters, such as {reason}: {detail}")
    counted = {reason: int(n) for reason, n in connection.execute(COUNTS, [MODEL]).fetchall()}
    wanted = {"prediction": len(events)}
    if n_labels := len(events.labelled):
        wanted |= {"label": n_labels, "pair": n_labels}
    if counted != wanted:
        raise WrongAnswerError(f"counted {counted}, not {wanted}")
    for what, query, n in (("events in panes", IN_PANES, len(events)), ("labelled outcomes", PAIRS, n_labels)):
        found = int(_one(connection, query)[0])
        if found != n:
            raise WrongAnswerError(f"{found} {what}, not {n}")


def check_rows(
    connection: psycopg.Connection[Any], expected: Mapping[str, Iterable[Mapping[str, Any]]], closed: datetime | None
) -> None:
    """Compare the views with a replay's rows, for the windows that are closed."""
    found = rows_of_views(connection)
    for name, rows in expected.items():
        replayed, live = ({comparable(row) for row in of} for of in (rows, found[name]))
        wanted = {row for row in replayed if closed is not None and dict(row)["window_end"] <= closed}
        if live != wanted:
            example = sorted(map(str, live ^ wanted))[0]
            raise WrongAnswerError(f"v_{name} differs from a replay in {len(live ^ wanted)} rows, such as {example}")
        if replayed and not wanted:
            raise WrongAnswerError(f"no window is closed, so no row of v_{name} was compared")


def rows_of_views(connection: psycopg.Connection[Any]) -> dict[str, list[dict[str, Any]]]:
    """Return what the views of results hold."""
    cursor = connection.cursor(row_factory=dict_row)
    return {name: cursor.execute(f"select * from driftline.v_{name}".encode()).fetchall() for name in VIEWS}


def closed_through(connection: psycopg.Connection[Any]) -> datetime | None:
    """Return the end of the newest window that is closed."""
    closed: datetime | None = _one(connection, CLOSED)[0]
    return closed


def _closable(rows: Iterable[dict[str, str]], events: Traffic) -> datetime:
    """Return the last end of a window that closes while the events go on."""
    newest = datetime.fromtimestamp(int(events.time_ms[-1]) / 1000 - 20, UTC)
    ends = {end for row in rows if (end := _value("window_end", row["window_end"])) <= newest}
    if not ends:
        raise WrongAnswerError("there are too few events to close a window")
    last: datetime = max(ends)
    return last


def comparable(row: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Bring a row of a view, or of a file, to values that compare; revisions may differ."""
    return tuple((name, _value(name, value)) for name, value in sorted(row.items()) if name != "revision")


def _value(name: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if name in TIMES:
        return value if isinstance(value, datetime) else datetime.fromisoformat(value).astimezone(UTC)
    return value if name in TEXTS else float(value)


def _one(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = connection.execute(query.encode()).fetchone()
    assert found is not None
    return found
