"""Are the values of features kept as counts only, wherever one looks, but for what `docs/privacy.md` names?

The whole store is searched, every column of every table, in text and in bytes, packed or not.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from driftline.store.connection import Connection
from tests.support.desk import Desk, a_desk
from tests.support.pipelines import MINUTE, features, prediction

pytestmark = pytest.mark.postgres

NUMBER, TEXT = 0.7351904286, "qzxv marker"
"""Of a kind that nothing else has by chance."""

MODEL: dict[str, Any] = {"drift": {"detectors": ["psi", "adwin"]}, "quality": {}, "traffic": {}}
ALLOWED = {("dead_letter", "payload")}
"""Where `docs/privacy.md` says that values of single events are; the beginning of messages that could not be used."""


def whole_store(url: str) -> dict[tuple[str, str], bytes]:
    """Return all that each column of each table holds; what is packed, both ways."""
    found = {}
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "select table_name, column_name, data_type from information_schema.columns join information_schema.tables"
            " using (table_schema, table_name) where table_schema = 'driftline' and table_type = 'BASE TABLE'"
        ).fetchall()
        for table, column, kind in columns:
            cast = sql.SQL("" if kind == "bytea" else "::text")
            query = sql.SQL("select {}{} from driftline.{}").format(sql.Identifier(column), cast, sql.Identifier(table))
            held = [value for (value,) in connection.execute(query).fetchall() if value is not None]
            found[table, column] = b"\n".join(map(_bytes_of, held))
    return found


def _bytes_of(value: str | bytes) -> bytes:
    if isinstance(value, str):
        return value.encode()
    try:
        return value + zlib.decompress(value)
    except zlib.error:
        return value


def written(value: float | str) -> list[bytes]:
    """Return the forms in which a value may be written: text, and numbers in single or double precision."""
    if isinstance(value, str):
        return [value.encode()]
    return [str(value)[:8].encode(), *(struct.pack(form, value) for form in ("<d", ">d", "<f", ">f"))]


def places_of(store: dict[tuple[str, str], bytes], value: float | str) -> set[tuple[str, str]]:
    return {place for place, held in store.items() if any(form in held for form in written(value))}


async def stream(desk: Desk) -> None:
    """Send the values as known, unknown, wrongly typed and extra features, beside predictions and within."""
    odd = [
        {"x": NUMBER, "c": "a"},
        {"x": 0.5, "c": TEXT},
        {"x": TEXT, "c": NUMBER},
        {"x": 0.5, "c": "a", "unheard of": TEXT, "another": NUMBER},
    ]
    many = [prediction(f"p{row}", row * 1_000, score=0.5, features=odd[row % len(odd)]) for row in range(4 * 60)]
    await desk.read(0, *many)
    apart = [prediction(f"a{row}", 4 * MINUTE + row) for row in range(20)]
    for event in apart:
        del event["features"]
    await desk.read(len(many), *apart)
    served = [features(f"a{row}", 4 * MINUTE + row, **odd[row % 3]) for row in range(20)]
    await desk.made.commit("features", *served)
    refused = prediction("bad", 5 * MINUTE, features={"x": NUMBER, "c": TEXT}) | {"score": 7}
    await desk.read(len(many) + len(apart), refused, prediction("last", 9 * MINUTE))
    await desk.worker.close_windows()


async def test_values_of_features_are_nowhere_but_in_what_could_not_be_used(
    connection: Connection, postgres_url: str
) -> None:
    async with a_desk(connection, postgres_url, 1, **MODEL) as desk:
        await stream(desk)
        judged = desk.rows("select count(*) from driftline.v_drift where level <> 'not_ready'")
        odd = desk.rows("select max(current_share) from driftline.v_distribution where label = 'other'")

    store = whole_store(postgres_url)
    assert judged[0][0] > 0
    assert odd[0][0] > 0.2, "they were counted"
    assert places_of(store, NUMBER) == ALLOWED
    assert places_of(store, TEXT) == ALLOWED


async def test_without_payloads_they_are_nowhere(connection: Connection, postgres_url: str) -> None:
    async with a_desk(connection, postgres_url, 1, **MODEL) as desk:
        settings = desk.parts.settings
        silent = settings.privacy.model_copy(update={"dead_letter_payloads": "none"})
        desk.parts = replace(desk.parts, settings=settings.model_copy(update={"privacy": silent}))
        desk.made.decoder = replace(desk.made.decoder, payloads="none")
        await stream(desk)
        assert [reason for _, reason, _, _ in desk.dead()] == ["bad_score"]

    store = whole_store(postgres_url)
    assert places_of(store, NUMBER) | places_of(store, TEXT) == set()


async def test_the_first_events_are_kept_whole_until_they_are_a_reference(
    connection: Connection, postgres_url: str
) -> None:
    first = MODEL | {"reference": {"first_events": 40}}
    event = {"x": NUMBER, "c": TEXT}
    async with a_desk(connection, postgres_url, 1, **first) as desk:
        await desk.read(0, *(prediction(f"p{row}", row * 1_000, features=event) for row in range(30)))
        collected = whole_store(postgres_url)
        await desk.read(30, *(prediction(f"p{row}", row * 1_000, features=event) for row in range(30, 600)))
        await desk.worker.close_windows()

    kept = {table for value in (NUMBER, TEXT) for table, _ in places_of(collected, value)}
    assert kept == {"warm_up"}
    frozen = whole_store(postgres_url)
    left = {table for value in (NUMBER, TEXT) for table, _ in places_of(frozen, value)}
    assert left == {"profile", "profile_bin"}, "edges and categories of the reference"


def test_the_search_finds_what_is_packed() -> None:
    held = {("t", "c"): _bytes_of(zlib.compress(json.dumps(TEXT).encode() + struct.pack("<d", NUMBER)))}

    assert places_of(held, TEXT) == places_of(held, NUMBER) == {("t", "c")}
