"""Does an accepted stretch become exactly the reference that its events make, from exactly one moment on?"""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pytest

from driftline.store.connection import Connection, connect, rows
from streams.references.accept import Accepted, Stretch, accept_stretch, find_model
from tests.support.accepting import accept, in_force, stream
from tests.support.pipelines import (
    MINUTE,
    SECOND,
    START_MS,
    Event,
    beside,
    lab,
    label,
    prediction,
    reference_events,
)

pytestmark = pytest.mark.postgres


def binned(events: list[Event]) -> list[tuple[int, ...]]:
    """Count `x` and `c` in the bins of the reference, straight from its definition."""
    edges = np.unique(
        np.quantile([event["features"]["x"] for event in reference_events()], np.linspace(0, 1, 11)[1:-1])
    )
    x = np.searchsorted(edges, [event["features"]["x"] for event in events], "left")
    c = [["a", "b", "missing", "new"].index(event["features"]["c"]) for event in events]
    return [tuple(np.bincount(values, minlength=n).tolist()) for values, n in ((x, 12), (c, 4))]


def psi(reference: tuple[int, ...], current: tuple[int, ...]) -> float:
    p, q = ((np.array(counts) + 0.5) / (sum(counts) + 0.5 * len(counts)) for counts in (reference, current))
    return float(((q - p) * np.log(q / p)).sum())


async def test_the_counts_are_those_of_the_events_and_all_else_is_the_old_reference(connection: Connection) -> None:
    made = await lab(connection, {"segments": ["c"]})
    old = await in_force(made)
    events = stream(1, 300, 0, 3 * MINUTE)
    labels = [label(event["prediction_id"], event["timestamp"] - START_MS + 200 * SECOND, 1) for event in events[::3]]
    await made.commit("predictions", *events)
    # Some labels came to closed windows, some wait in open ones.
    await made.commit("labels", *labels[:50])
    await made.close(10 * MINUTE)
    await made.commit("labels", *labels[50:])

    taken = [event for event in events if MINUTE <= event["timestamp"] - START_MS < 3 * MINUTE]
    accepted = await accept(made, 30 * SECOND, 3 * MINUTE + 59 * SECOND)  # cut to whole windows

    new = await in_force(made)
    assert old is not None
    assert new is not None
    assert (accepted.from_ms, accepted.to_ms) == (START_MS + MINUTE, START_MS + 3 * MINUTE)
    assert (accepted.windows, accepted.events, new.n) == (2, len(taken), len(taken))
    assert (accepted.old_digest, accepted.new_digest) == (old.digest, new.digest)
    x, c, *_ = new.features
    assert [x.counts, c.counts] == binned(taken)
    assert [(f.edges, f.categories, f.centre, f.scale) for f in new.features] == [
        (f.edges, f.categories, f.centre, f.scale) for f in old.features
    ]
    assert accepted.changes[:2] == sorted(
        (
            (f.name, pytest.approx(psi(f.counts, counts)))
            for f, counts in zip(old.features, binned(taken), strict=False)
        ),
        key=lambda change: -change[1].expected,
    )
    labelled = {event["prediction_id"] for event in labels}
    bins = np.searchsorted(old.score_edges, [event["score"] for event in taken], "left").tolist()
    expected = Counter(
        # The place of class 1 among the classes 0 and 1 is 1.
        (score, event["prediction"], 1 if event["prediction_id"] in labelled else -1)
        for score, event in zip(bins, taken, strict=True)
    )
    assert {tuple(cell): n for *cell, n in new.score_counts} == expected
    assert list(new.score_counts) == sorted(new.score_counts)
    for segment in new.segments:
        own = [event for event in taken if event["features"]["c"] == segment.name.removeprefix("c=")]
        assert segment.counts[:16] == tuple(count for counts in binned(own) for count in counts)
    assert [segment.name for segment in new.segments] == ["c=a", "c=b", "c=new"]
    audited = await made.rows("select actor, action, subject, detail from driftline.audit")
    assert [(row["actor"], row["action"], row["subject"]) for row in audited] == [("ann", "accept_reference", "m")]
    assert audited[0]["detail"]["note"] == "new prices"
    assert audited[0]["detail"]["new_digest"] == new.digest


@pytest.mark.parametrize("slide", ["1m", "20s"])
async def test_what_is_open_is_judged_whole_by_the_new_reference_and_what_was_judged_stays(
    connection: Connection, slide: str
) -> None:
    made = await lab(connection, {"windows": {"slide": slide, "pane": "5s"}})
    before, half, rest = (
        stream(seed, 200, from_ms * SECOND, to_ms * SECOND)
        for seed, from_ms, to_ms in ((1, 0, 180), (2, 180, 210), (3, 210, 300))
    )
    await made.commit("predictions", *before, *half)
    await made.commit("labels", *(label(event["prediction_id"], event["timestamp"] - START_MS) for event in half))
    await made.close(3 * MINUTE)
    judged = await made.drift(detector="psi")
    assert {row["level"] for row in judged if row["feature"] == "x"} == {"drift"}

    accepted = await accept(made, 0, 3 * MINUTE)
    # A label and a prediction that come late, to windows that were judged before, change no verdict of them.
    late = prediction("late", 100 * SECOND)
    await made.commit("predictions", *rest, late)
    await made.close(5 * MINUTE)

    everything = [*before, *half, *rest]
    new = await in_force(made)
    after = await made.drift(detector="psi", feature="x")
    assert [row for row in after if row["window_end"] <= 3 * MINUTE] == [row for row in judged if row["feature"] == "x"]
    judged_now = [row for row in after if row["window_end"] > 3 * MINUTE]
    assert [row["window_end"] for row in judged_now] == list(
        range(
            3 * MINUTE + (20 if slide == "20s" else 60) * SECOND,
            5 * MINUTE + 1,
            (20 if slide == "20s" else 60) * SECOND,
        )
    )
    for row in judged_now:
        inside = [
            event
            for event in [*everything, *([late] if slide == "20s" else [])]
            if row["window_start"] <= event["timestamp"] - START_MS < row["window_end"]
        ]
        assert (row["n_reference"], row["n_current"], row["level"]) == (len(before), len(inside), "ok")
        assert row["score"] == pytest.approx(psi(binned(before)[0], binned(inside)[0]))
    assert new is not None
    assert accepted.in_force_ms == START_MS + 3 * MINUTE
    shares = await made.rows(
        "select reference_share from driftline.v_distribution where feature = 'x' and window_start = to_timestamp(%s)"
        " order by bin",
        (START_MS + 4 * MINUTE) / 1000,
    )
    assert [row["reference_share"] for row in shares] == [n / len(before) for n in new.features[0].counts]
    # The sequential detectors began anew: they can know nothing of what was before.
    widths = await made.drift(detector="adwin", feature="x")
    last = [row["n_reference"] + row["n_current"] for row in widths if row["window_end"] == 5 * MINUTE]
    assert 0 < last[0] <= len(half) + len(rest)
    # And they know of all that was open, labels too.
    errors = await made.drift(detector="adwin", feature="@error.1")
    assert max(row["n_reference"] + row["n_current"] for row in errors) == len(half)
    states = await made.rows("select distinct spec from driftline.detector_state")
    assert [row["spec"].split()[0] for row in states] == [new.digest]


async def test_acceptance_waits_for_a_writer_under_way_and_again_nothing_is_changed(
    connection: Connection, postgres_url: str
) -> None:
    made = await lab(connection)
    await made.commit("predictions", *stream(1, 100, 0, 2 * MINUTE))
    await made.close(2 * MINUTE)
    async with await connect(postgres_url) as writer:
        async with writer.transaction():
            await rows(writer, "lock_panes_shared", buckets=[made.model.bucket])
            accepting = asyncio.create_task(accept(made, 0, 2 * MINUTE))
            waiting = "select count(*) from pg_locks where not granted and locktype = 'advisory'"
            while (await (await writer.execute(waiting)).fetchall())[0][0] == 0:
                await asyncio.sleep(0.05)
            assert not accepting.done()
        accepted = await accepting

    again = await accept(made, 0, 2 * MINUTE)

    assert accepted.is_new
    assert (again.is_new, again.new_digest) == (False, accepted.new_digest)
    assert {change for _, change in again.changes} == {0.0}
    assert await made.count("audit") == 1


async def test_beside_a_writer_and_an_evaluator_no_event_is_lost_doubled_or_judged_with_half_a_window(
    connection: Connection,
) -> None:
    made = await lab(connection, {"windows": {"slide": "20s", "pane": "5s", "out_of_orderness": "0s"}})
    events = stream(7, 800, 0, 5 * MINUTE)
    written_ms = 0
    accepted: list[Accepted] = []

    def n_new() -> int:
        return sum(of.is_new for of in accepted)

    async def write(writer: Connection) -> None:
        nonlocal written_ms
        for start in range(0, len(events), 20):
            fetch = events[start : start + 20]
            assert await made.commit("predictions", *fetch, connection=writer)
            written_ms = fetch[-1]["timestamp"] - START_MS
            await asyncio.sleep(0)
            if written_ms > 2 * MINUTE and start % 80 == 0:
                # However quick this machine writes, what was accepted is new again and again.
                before = n_new()
                async with asyncio.timeout(60):
                    while n_new() == before:
                        await asyncio.sleep(0.01)
        written_ms = 5 * MINUTE

    async def evaluate() -> None:
        while written_ms < 5 * MINUTE:
            await made.close(written_ms, restate="when due")
            await asyncio.sleep(0.05)

    async def keep_accepting(by_hand: Connection) -> None:
        model = await find_model(made.connection, "m", made.model.settings)
        closed = "select (extract(epoch from closed_through) * 1000)::bigint from driftline.evaluation"
        while written_ms < 5 * MINUTE:
            for (closed_ms,) in await (await by_hand.execute(closed)).fetchall():
                if closed_ms is not None and closed_ms > START_MS + MINUTE:
                    stretch = Stretch(None, closed_ms - MINUTE, closed_ms)
                    accepted.append(await accept_stretch(by_hand, model, stretch, "ann"))
            await asyncio.sleep(0.1)

    async with beside(connection) as writer, beside(connection) as by_hand:
        await asyncio.gather(write(writer), evaluate(), keep_accepting(by_hand))
    await made.close(6 * MINUTE)

    sizes = {200, *(of.events for of in accepted)}
    found = await made.drift(detector="psi", feature="x")
    times = np.array([event["timestamp"] - START_MS for event in events])
    assert n_new() > 3
    assert len({row["n_reference"] for row in found}) > 3
    assert {row["n_reference"] for row in found} <= sizes
    assert [(row["window_end"], row["n_current"]) for row in found] == [
        (end, int(((times >= end - MINUTE) & (times < end)).sum()))
        for end in range(20 * SECOND, 5 * MINUTE + 40 * SECOND + 1, 20 * SECOND)
    ]


async def test_a_stretch_over_an_earlier_acceptance_is_one_stretch(connection: Connection) -> None:
    made = await lab(connection)
    events = [stream(seed, 100, (seed - 1) * MINUTE, seed * MINUTE) for seed in (1, 2)]
    await made.commit("predictions", *events[0])
    await made.close(MINUTE)
    await accept(made, 0, MINUTE)
    await made.commit("predictions", *events[1])
    await made.close(2 * MINUTE)

    both = await accept(made, 0, 2 * MINUTE)

    new = await in_force(made)
    assert both.events == 200
    assert new is not None
    assert [feature.counts for feature in new.features[:2]] == binned([*events[0], *events[1]])
