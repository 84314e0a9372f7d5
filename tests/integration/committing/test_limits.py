"""Is every bound that a fetch reaches kept, and told in a counter?"""

from dataclasses import replace

import pytest

from driftline.doctor.bounds import check_stored
from driftline.doctor.names import check_names
from driftline.store.connection import Connection, rows
from streams.committing.commit import PAYLOAD_BYTES_A_FETCH_MAX
from tests.support.pipelines import features, lab, label, prediction

pytestmark = pytest.mark.postgres


async def test_dead_letters_of_a_fetch_keep_a_bounded_number_of_payload_bytes(connection: Connection) -> None:
    made = await lab(connection)
    position = await made.position("all", 0, 3)
    decoded = made.decode("all", [b"broken"] * 3)
    half = PAYLOAD_BYTES_A_FETCH_MAX // 2
    decoded.dead = [replace(letter, payload=b"x" * (half + 1), detail="a\0b\ud800") for letter in decoded.dead]
    made.decode = lambda *_: decoded

    assert await made.commit("all", b"1", b"2", b"3", position=position) is not None

    letters = await made.rows("select * from driftline.v_dead_letters order by record_offset")
    assert [len(letter["payload"] or b"") for letter in letters] == [half + 1, 0, 0]
    assert {letter["reason"] for letter in letters} == {"not_json"}
    assert {letter["detail"] for letter in letters} == {"a\ufffdb?"}


async def test_names_beyond_the_bound_share_other(connection: Connection) -> None:
    limits = {"segments_max": 6, "versions_max": 3}
    made = await lab(connection, {"segments": ["c", "d"], "labels": None, "performance": None}, limits=limits)
    events = [
        prediction(str(n), 0, version=f"v{n}", features={"x": 0.5, "c": f"c{n}"}, segment={"d": "left"})
        for n in range(9)
    ]
    await made.commit("all", *events)
    await made.close()

    found = await made.drift(feature="x", detector="psi")
    by_segment: dict[str, int] = {}
    for row in found:
        by_segment[row["segment"]] = by_segment.get(row["segment"], 0) + row["n_current"]
    assert by_segment.pop("*") == 9
    assert sum(n for name, n in by_segment.items() if name.startswith("c=")) == 9
    assert sum(n for name, n in by_segment.items() if name.startswith("d=")) == 9
    assert {row["version"] for row in found} == {"v0", "v1", "v2", "other"}
    assert len(by_segment) == 6 + 2
    assert await made.counts() == {
        "prediction": 9,
        "version_beyond_limit": 9 - 3,
        "segment_beyond_limit": (9 - 6) + 9,  # three of `c`, and that of `d` nine times
    }
    await made.commit("all", prediction("again", 0, version="v8", variant="v"), features("more", 0, x=1, c="c8"))
    assert (await made.counts())["version_beyond_limit"] == 9 - 3 + 1


async def test_classes_and_variants_beyond_the_bound_are_counted(connection: Connection) -> None:
    made = await lab(connection, limits={"classes_max": 2, "versions_max": 2})
    events = [prediction(str(n), 0, n, variant=f"variant {n}") for n in range(5)]
    await made.commit("all", *events, *(label(str(n), 0, 10 + n) for n in range(4)))

    counts = await made.counts()
    assert {name: counts[name] for name in counts if name.endswith("_beyond_limit")} == {
        "variant_beyond_limit": 5 - 2,
        "class_beyond_limit": 5 - 2 + 4,
    }


async def test_a_segment_field_with_a_new_value_for_every_event_is_bounded_counted_and_explained(
    connection: Connection,
) -> None:
    made = await lab(
        connection, {"segments": ["user"], "labels": None, "performance": None}, limits={"segments_max": 5}
    )
    for start in range(0, 300, 100):
        await made.commit(
            "all", *(prediction(f"p{n}", n, segment={"user": f"u{n}"}) for n in range(start, start + 100))
        )

    assert await made.count("pane") <= 3 * (5 + 2 + 1)  # of each fetch: the values, `other` and `missing`, all traffic
    assert (await made.counts())["segment_beyond_limit"] == 300 - 5
    [found] = check_names(await rows(connection, "names_beyond_limits"))
    assert found.level == "warn"
    assert (
        "m: 295 events came with segment values beyond limits.segments_max and count as `other` (user 7)" in found.what
    )


async def test_as_many_keys_as_there_are_events_leave_nothing_behind_but_rows_that_go(connection: Connection) -> None:
    made = await lab(connection)
    before = [await made.count(table) for table in ("name", "event_count", "stream_offset")]
    for start in range(0, 3_000, 1_000):
        await made.commit("predictions", *(prediction(f"p{n}", 0) for n in range(start, start + 1_000)))
        if not start:
            after_one = [await made.count(table) for table in ("name", "event_count", "stream_offset", "pane")]

    assert before < after_one[:3]
    assert [await made.count(table) for table in ("name", "event_count", "stream_offset")] == after_one[:3]
    assert await made.count("pane") == 3 * after_one[3]  # one of each fetch, until they are merged
    assert await made.count("prediction") == 3_000
    await connection.execute("analyze")
    assert "about 3,000 rows of prediction (" in check_stored(await rows(connection, "stored_events")).what
