"""Does docs/pitfalls.md name every known failure, each with a test that there is?"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| ([PAS]\d+) \| (.+?) \| (.+) \|$", (ROOT / "docs" / "pitfalls.md").read_text("utf-8"), re.MULTILINE
)
FAILURES = [*(f"P{n}" for n in range(1, 16)), *(f"A{n}" for n in range(1, 14)), *(f"S{n}" for n in range(1, 19))]


def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_known_failure_has_a_row_and_every_row_a_test() -> None:
    assert [number for number, _, _ in ROWS] == FAILURES
    assert [number for number, _, shown in ROWS if "::test_" not in shown] == []


def test_every_test_that_is_named_exists() -> None:
    named = {node for _, _, shown in ROWS for node in re.findall(r"`(tests/\S+?::\w+)`", shown)}
    assert len(named) > len(FAILURES)
    assert [node for node in sorted(named) if node.split("::")[1] not in functions_of(node.split("::")[0])] == []
