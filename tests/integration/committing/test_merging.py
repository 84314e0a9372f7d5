"""Does one row wait for each pane, version and segment, and does nobody see a difference in results?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest

from driftline.store.connection import Connection
from streams.committing import deltas, merging
from streams.committing.merging import merge_passed_panes
from streams.panes import narrowed
from streams.watermarks import BEFORE_ALL_MS
from tests.support.pipelines import MINUTE, SECOND, START_MS, Event, Lab, beside, lab, label, prediction

pytestmark = pytest.mark.postgres

MODEL = {
    "segments": ["c"],
    "windows": {"length": "1m", "pane": "10s", "allowed_lateness": "5s", "out_of_orderness": "0s"},
    "performance": {"metrics": ["recall"]},
}
N = 160


def events() -> list[tuple[str, Event]]:
    """Two minutes of predictions and labels; some predictions come late."""
    chance = np.random.default_rng(5)
    made = []
    for row in range(N):
        at_ms = row * 500 - (15 * SECOND if row % 40 == 39 else 0)
        values = {"x": round(float(chance.uniform()), 3), "c": "ab"[row % 2]}
        made.append(("predictions", prediction(f"p{row}", at_ms, row % 2, score=0.25 + row % 2 / 2, features=values)))
        if row >= 20:
            made.append(("labels", label(f"p{row - 20}", row * 500, int(chance.integers(0, 2)))))
    return made


async def fed(connection: Connection, name: str, *, merged: bool) -> Lab:
    """Commit every few events as a fetch; merge now and then, or never."""
    made = await lab(connection, MODEL, name=name)
    through_ms, sent = BEFORE_ALL_MS, events()
    for start in range(0, len(sent), 6):
        for topic in ("predictions", "labels"):
            of_topic = [event for to, event in sent[start : start + 6] if to == topic]
            if of_topic:
                assert await made.commit(topic, *of_topic)
        if merged and start % 30 == 0:
            through_ms = await merge(made, through_ms, start * 270)
    return made


async def merge(made: Lab, from_ms: int, watermark_ms: int) -> int:
    through_ms = await merge_passed_panes(
        made.connection, made.pipeline.profiles, made.model, from_ms, START_MS + watermark_ms
    )
    assert through_ms is not None
    return through_ms


def every_second_as_before() -> Callable[[Sequence[bytes], int], Sequence[bytes]]:
    """Write the vectors of every second fetch as they are, which programs of before did with all."""
    number = count()
    return lambda vectors, n_bins: vectors if next(number) % 2 else narrowed(vectors, n_bins)


async def waiting(made: Lab, table: str, columns: str) -> tuple[int, int]:
    """How many rows wait, and of how many kinds they are."""
    [found] = await made.rows(
        f"select count(*) as n, count(distinct ({columns})) as kinds from driftline.{table} where model_id = %s",
        made.model.model_id,
    )
    return found["n"], found["kinds"]


PANES = "version, segment, pane_start, late, profile_id"
OUTCOMES = "version, segment, cohort_start, arrival_start, late, profile_id"


async def test_one_row_waits_for_each_pane_version_and_segment(connection: Connection) -> None:
    made = await fed(connection, "m", merged=False)
    n, kinds = await waiting(made, "pane", PANES)
    assert n > 2 * kinds

    await merge(made, BEFORE_ALL_MS, 10 * MINUTE)

    assert await waiting(made, "pane", PANES) == (kinds, kinds)
    n, kinds = await waiting(made, "outcome", OUTCOMES)
    assert n == kinds > 0


async def test_results_are_the_same_with_and_without_merging(connection: Connection) -> None:
    found: dict[bool, Any] = {}
    for merged in (False, True):
        made = await fed(connection, f"merged-{merged}", merged=merged)
        await made.close()
        rows = [*await made.drift(), *await made.performance()]
        found[merged] = [{name: value for name, value in row.items() if name != "model"} for row in rows]

    assert len(found[False]) > 50
    assert found[True] == found[False]


@pytest.mark.parametrize("merged", [False, True])
async def test_results_are_the_same_if_half_of_what_waits_is_as_programs_of_before_wrote_it(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, merged: bool
) -> None:
    found = []
    for name in ("now", "both"):
        monkeypatch.setattr(deltas, "narrowed", every_second_as_before() if name == "both" else narrowed)
        made = await fed(connection, name, merged=merged)
        lengths = await made.rows(
            "select distinct length(vector) %% 8 as odd from driftline.pane where model_id = %s", made.model.model_id
        )
        assert {row["odd"] for row in lengths} == ({0, 4} if name == "both" else {4})
        await made.close()
        rows = [*await made.drift(), *await made.performance()]
        found.append([{name: value for name, value in row.items() if name != "model"} for row in rows])

    assert len(found[0]) > 50
    assert found[1] == found[0]


async def test_panes_that_may_still_grow_are_left_alone(connection: Connection) -> None:
    made = await fed(connection, "m", merged=False)

    assert await merge(made, BEFORE_ALL_MS, 25 * SECOND) == START_MS + 20 * SECOND

    [open_] = await made.rows(
        "select count(*) as n, count(distinct (version, segment, pane_start, late)) as kinds from driftline.pane"
        " where pane_start >= to_timestamp(%s)",
        START_MS / 1000 + 20,
    )
    [passed] = await made.rows(
        "select count(*) as n, count(distinct (version, segment, pane_start, late)) as kinds from driftline.pane"
        " where pane_start < to_timestamp(%s)",
        START_MS / 1000 + 20,
    )
    assert passed["n"] == passed["kinds"]
    assert open_["n"] > 2 * open_["kinds"]


async def test_what_was_merged_through_is_not_looked_at_again(connection: Connection) -> None:
    made = await fed(connection, "m", merged=False)
    before = await waiting(made, "pane", PANES)

    assert await merge(made, START_MS + 10 * MINUTE, 10 * MINUTE) == START_MS + 10 * MINUTE
    assert await waiting(made, "pane", PANES) == before


async def test_however_much_waits_it_is_merged_in_bounded_pieces(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await fed(connection, "m", merged=False)
    _, kinds = await waiting(made, "pane", PANES)
    monkeypatch.setattr(merging, "DELTAS_AT_ONCE_MAX", 7)

    await merge(made, BEFORE_ALL_MS, 10 * MINUTE)

    assert await waiting(made, "pane", PANES) == (kinds, kinds)


async def test_while_windows_are_being_closed_nothing_is_merged(connection: Connection) -> None:
    made = await fed(connection, "m", merged=False)
    before = await waiting(made, "pane", PANES)

    async with beside(connection) as evaluator, evaluator.transaction():
        await evaluator.execute("select pg_advisory_xact_lock(5, %s)", [made.model.model_id])
        profiles = made.pipeline.profiles
        assert await merge_passed_panes(connection, profiles, made.model, BEFORE_ALL_MS, START_MS + MINUTE) is None

    assert await waiting(made, "pane", PANES) == before


async def test_what_waits_is_stored_as_it_is_and_what_stays_is_compressed(connection: Connection) -> None:
    await lab(connection, MODEL)
    tables = ["driftline.pane", "driftline.outcome", "driftline.rollup"]
    found = await connection.execute(
        "select attrelid::regclass::text, attstorage::text from pg_attribute"
        " where attname = 'vector' and attrelid = any (%s::regclass[])",
        (tables,),
    )
    external, extended = "e", "x"
    assert dict(await found.fetchall()) == dict(zip(tables, (external, external, extended), strict=True))
