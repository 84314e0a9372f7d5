"""Does the page of contracts say what the code does?"""

import re
from pathlib import Path

import psycopg
import pytest

from driftline.store.connection import connect
from driftline.store.migrate import migrate


def words_of(section: str, page: str) -> set[str]:
    """Return the words in backticks in the first column of a section's table."""
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return {
        word
        for line in text.splitlines()
        if line.startswith("| `")
        for word in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }


@pytest.fixture
def page(project: Path) -> str:
    return (project / "docs" / "contracts.md").read_text("utf-8")


@pytest.fixture
def code(project: Path) -> str:
    return "\n".join(file.read_text("utf-8") for file in sorted((project / "streams").rglob("*.py")))


def test_every_reason_of_a_dead_letter_is_explained_and_occurs(page: str, code: str) -> None:
    refused = set(re.findall(r"Refused\(\s*\"([a-z_]+)\"", code))
    explained = words_of("Dead letters", page)
    assert refused - explained == set()
    assert {reason for reason in explained if f'"{reason}"' not in code} == set()


def test_every_counter_is_explained_and_occurs(page: str, code: str) -> None:
    counted = set(re.findall(r"_count\(\s*\"([a-z_]+)\"", code)) | set(
        re.findall(r"counts\[[^\]]*\"([a-z_]+)\"\]", code)
    )
    explained = words_of("Counters", page)
    assert counted - explained == set()
    written = {reason for reason in explained if not reason.startswith("late_")}
    assert {reason for reason in written if f'"{reason}"' not in code} == set()


@pytest.mark.postgres
async def test_views_have_the_columns_that_are_promised(page: str, postgres_url: str) -> None:
    connection = await connect(postgres_url)
    await migrate(connection)
    await connection.close()
    section = page.split("\n## Views\n")[1].split("\n## ")[0]
    promised = {
        line.split("|")[1].strip(" `"): [name.strip() for name in line.split("|")[2].split(",")]
        for line in section.splitlines()
        if line.startswith("| `v_")
    }
    with psycopg.connect(postgres_url) as reading:
        found = reading.execute(
            "select table_name::text, array_agg(column_name::text order by ordinal_position)"
            "  from information_schema.columns where table_schema = 'driftline' and table_name like 'v\\_%' group by 1"
        ).fetchall()
    assert promised == dict(found)
