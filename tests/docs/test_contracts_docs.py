"""Does the page of contracts say what the code does?"""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from driftline.errors import ConfigurationError, InputError, ServiceUnavailableError, StateError
from driftline.events import DEAD_REASONS
from driftline.settings.services import KafkaTopics
from driftline.store.connection import connect
from driftline.store.migrate import migrate
from driftline.telling import INTERRUPTED
from streams.committing import commit
from streams.committing.prepared import CodedFeatures, CodedLabels, CodedPredictions
from streams.decode.rows import OFFLINE, SERVING
from streams.decode.shapes import KNOWN_FIELDS
from streams.sending.relay import PAYLOAD_BYTES_MAX, dead_letter_message
from tests.support.events import Message, decoder, records, shape


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


def code_words(*nodes: ast.AST) -> set[str]:
    """Return the words among the constants of some expressions."""
    constants = (node.value for each in nodes for node in ast.walk(each) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", value)}


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@pytest.fixture
def nodes(project: Path) -> list[ast.AST]:
    """Every node of the code that reads and counts events."""
    files = sorted(file for room in ("streams", "labels_join") for file in (project / room).rglob("*.py"))
    return [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]


def test_the_reasons_of_dead_letters_are_those_of_the_code(page: str, nodes: list[ast.AST]) -> None:
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    reasons = set(commit._TIME_DETAILS)
    for call in calls:
        if name_of(call.func) in ("Refused", "DeadLetter"):
            reasons |= code_words(call.args[0])
        elif name_of(call.func) == "_letter":
            reasons |= code_words(*call.args)
    assert words_of("Dead letters", page) == reasons == set(DEAD_REASONS)


def test_the_counters_are_those_of_the_code(page: str, nodes: list[ast.AST]) -> None:
    counters = {f"late_{part.kind}" for part in (CodedPredictions, CodedFeatures, CodedLabels)}
    for node in nodes:
        if isinstance(node, ast.Call):
            if name_of(node.func) in ("_count", "_count_empty"):
                counters |= code_words(*node.args)
            if name_of(node.func) not in ("Verdict", "replace"):  # a verdict has a reason, too, and counts nothing
                counters |= code_words(*(word.value for word in node.keywords if word.arg == "reason"))
        elif isinstance(node, ast.Subscript) and name_of(node.value) == "counts" and isinstance(node.slice, ast.Tuple):
            counters |= code_words(node.slice)
    assert words_of("Counters", page) == counters


def test_the_fields_of_events_are_those_that_are_known(page: str) -> None:
    section = page.split("\n## Events in\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if re.match(r"\| (prediction|label|feature) \|", line)]
    assert len(rows) == 3
    assert set(re.findall(r"`(\w+)`", "".join(rows))) - {SERVING, OFFLINE} == KNOWN_FIELDS


def test_the_examples_of_events_are_read_without_a_word(page: str) -> None:
    [example] = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    types = {"age": "numeric", "city": "categorical"}
    topic = decoder(shape("churn", features=types, segments=["plan"]), kinds=("prediction", "label", "feature"))
    decoded = topic.decode("t", 0, records(*(Message(line.encode(), (), 1000) for line in example.splitlines())))
    assert (decoded.dead, decoded.counts) == ([], {})
    assert [len(batch["churn"]) for batch in (decoded.predictions, decoded.labels, decoded.features)] == [1, 1, 1]


def test_the_topics_are_those_of_the_settings(page: str) -> None:
    section = page.split("\n## Topics\n")[1].split("\n## ")[0]
    assert set(re.findall(r"`(driftline\.[a-z-]+)`", section)) == set(KafkaTopics().model_dump().values())


def test_a_dead_letter_is_sent_with_the_fields_that_are_named(page: str) -> None:
    section = page.split("\n## Dead letters\n")[1].split("\n## ")[0]
    named = re.search(r"The message is JSON: (.*?)\.", section, re.DOTALL)
    letter = SimpleNamespace(topic="t", partition=0, record_offset=0, element=0, reason="r", detail="", model=None)
    letter.at, letter.payload = 0, b""
    assert named is not None
    assert re.findall(r"`(\w+)`", named[1]) == list(dead_letter_message(letter))
    assert f"{PAYLOAD_BYTES_MAX // 1024} KiB" in section


def test_the_exit_codes_are_those_of_the_errors_and_of_the_command_line(page: str) -> None:
    section = page.split("\n## Exit codes\n")[1]
    errors = (ConfigurationError, InputError, StateError, ServiceUnavailableError)
    expected = {0, INTERRUPTED, *(error.exit_code for error in errors)}
    assert {int(code) for code in re.findall(r"(?:^|· )(\d+) ", section.replace("\n", " ").strip())} == expected


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
