"""Is everything gone that is stored under an id, and nothing else, and does nothing tell which id it was?"""

from __future__ import annotations

import asyncio
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from driftline.cli import main
from driftline.events import event_keys
from driftline.settings import Settings
from driftline.store.connection import Connection
from streams.monitored import id_secret
from tests.support.pipelines import Lab, features, lab, label, prediction

pytestmark = pytest.mark.postgres


def arrow(*identities: object) -> bytes:
    """Write events with these ids as an Arrow stream, in which they lie side by side."""
    table = pa.table({"prediction_id": list(identities), "score": ["x"] * len(identities)})
    written = io.BytesIO()
    with pa.ipc.new_stream(written, table.schema) as writer:
        writer.write_table(table)
    return written.getvalue()


LETTERS = {
    "told": b'{"prediction_id": "ann", "score": "x"}',
    "longer": b'{"prediction_id": "anna"}',
    "among": b'[{"a": 1}, {"request": {"id": "ann"}}]',
    "cut": b'{"features": {"x": 1}, "prediction_id": "ann", "sc',
    "other": b'{"prediction_id": "bob"}',
    "among Arrow": arrow("bob", "ann", "eve"),
    "cut Arrow": arrow("bob", "ann", "eve")[:-8],
    "longer in Arrow": arrow("bob", "anna"),
    "numbers": arrow(4711, 4712),
}


@dataclass
class House:
    """A store in which three ids are, two of them alike, and the configuration that names it."""

    made: Lab
    url: str
    config: Path

    async def forget(self, *arguments: str, **given: Any) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, main, ["forget", *arguments, "--config", str(self.config)], **given
        )

    async def counted(self) -> list[int]:
        tables = ("prediction", "label", "served_features", "warm_up", "pane")
        return [await self.made.count(table) for table in tables]

    async def kept_letters(self) -> set[str]:
        found = await self.made.rows("select reason from driftline.dead_letter where payload is not null")
        return {row["reason"] for row in found}


@pytest.fixture(params=[{"path": "reference.parquet"}, {"first_events": 100}], ids=["with reference", "without"])
async def house(request: pytest.FixtureRequest, connection: Connection, postgres_url: str, tmp_path: Path) -> House:
    reference = request.param
    made = await lab(connection, {"reference": reference})
    await made.commit("predictions", *(prediction(name, at) for at, name in enumerate(("ann", "bob", "anna"))))
    await made.commit("labels", label("ann", 5), label("bob", 6))
    await made.commit("features", features("ann", 7, x=1.0))
    await connection.execute(
        "insert into driftline.served_features select horizon_s, model_id, key, event_time from driftline.prediction"
    )
    await connection.execute("update driftline.installation set id_key = 'secret'")
    for offset, (reason, payload) in enumerate(LETTERS.items()):
        await connection.execute(
            "insert into driftline.dead_letter (reason, detail, topic, partition, record_offset, element, payload)"
            " values (%s, 'score: a text', 't', 0, %s, 0, %s)",
            [reason, offset, payload],
        )
    config = tmp_path / "monitor.yaml"
    models = {name: {"task": "binary", "reference": {"first_events": 100}} for name in ("m", "n")}
    config.write_text(json.dumps({"postgres": {"url": postgres_url}, "models": models}))
    return House(made, postgres_url, config)


async def test_all_that_is_stored_of_an_id_goes_and_nothing_else(house: House) -> None:
    waits = await house.made.count("warm_up")
    before = await house.counted()

    done = await house.forget("--prediction-id", "ann", "--by", "eve", "--note", "request 4711", "--json")

    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "predictions": 1,
        "labels": 1,
        "served_features": 1,
        "events_for_reference": min(waits, 1),
        "dead_letters": 5,
    }
    after = await house.counted()
    assert after == [before[0] - 1, before[1] - 1, before[2] - 1, *before[3:]]
    assert await house.kept_letters() == {"longer", "other", "longer in Arrow", "numbers"}
    kept = await house.made.rows("select content from driftline.warm_up")
    assert [len(json.loads(zlib.decompress(row["content"]))["key"]) for row in kept] == [2] * len(kept)
    again = await house.forget("--prediction-id", "-", "--by", "eve", input="ann\n")
    assert again.stdout.startswith("Nothing is stored under this id.\nWhat stays: sums")


async def test_an_id_that_is_a_number_is_found_in_arrow_where_it_is_no_text(house: House) -> None:
    done = await house.forget("--prediction-id", "4711", "--by", "eve", "--json")

    assert json.loads(done.stdout)["dead_letters"] == 1
    assert await house.kept_letters() == set(LETTERS) - {"numbers"}


async def test_nothing_tells_afterwards_which_id_it_was(house: House) -> None:
    refused = await house.forget("--prediction-id", "ann", "--by", "eve", "--note", "for ann, who asked")
    assert (refused.exit_code, (await house.counted())[0]) == (2, 3)

    done = await house.forget("--prediction-id", "ann", "--by", "eve", "--note", "request 4711")

    audit = await house.made.rows("select actor, action, subject, detail::text as detail from driftline.audit")
    assert [(row["actor"], row["action"], row["subject"]) for row in audit] == [("eve", "forget_prediction", "m, n")]
    digest = event_keys("m", ["ann"], b"secret")[0].tobytes().hex()
    tables = await house.made.rows(
        "select relname from pg_class where relnamespace = 'driftline'::regnamespace and relkind = 'r'"
    )
    for table in tables:
        rows = await house.made.rows(f"select t::text as row from driftline.{table['relname']} t")
        told = " ".join(row["row"] for row in rows).replace("-", "")
        assert digest not in told
        assert b'"ann"'.hex() not in told
    assert "ann" not in done.output + str(audit)


async def test_of_one_model_only_and_of_none_that_is_not_there(house: House) -> None:
    other = await house.forget("--prediction-id", "ann", "--by", "eve", "--model", "n", "--json")

    assert json.loads(other.stdout)["predictions"] == 0
    assert (await house.forget("--prediction-id", "ann", "--by", "eve", "--model", "x")).exit_code == 2
    assert (await house.forget("--prediction-id", "", "--by", "eve")).exit_code == 2


async def test_a_key_of_the_ids_that_is_configured_is_the_one_that_counts_and_is_in_no_table(
    connection: Connection,
) -> None:
    models = {"m": {"task": "binary", "reference": {"first_events": 100}}}
    own = await id_secret(connection, Settings.model_validate({"models": models}))
    given = await id_secret(connection, Settings.model_validate({"models": models, "privacy": {"id_key": "k" * 20}}))
    [(stored,)] = await (await connection.execute("select id_key from driftline.installation")).fetchall()

    assert (own, given) == (stored, b"k" * 20)
    keys = [event_keys(model, ["ann"], secret) for model in ("m", "n") for secret in (own, given)]
    assert {key.shape for key in keys} == {(1, 128 // 8)}
    assert len({key.tobytes() for key in keys}) == 4
