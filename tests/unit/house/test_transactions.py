"""Does every transaction begin with a bound on how long it may stand still?

Who forgets that keeps everybody waiting when stopped or cut off in its middle
(`tests/integration/committing/test_stopped_inside.py` shows it).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

BOUNDS = {"bound_hold", "begin_fetch", "commit_fetch"}
"""What a transaction may begin with: a statement that sets the bound, or what begins with one itself."""

BY_THEMSELVES = {"connection.py", "commit.py", "statuses.py"}
"""Where transactions are begun by hand: in `bounded`, which all others use, and where a fetch begins with a bound."""

PACKAGES = ("driftline", "streams", "labels_join", "retraining", "alerts", "dashboards")


def first_steps(source: str) -> Iterator[tuple[int, set[str]]]:
    """Yield the line of each `async with ….transaction()`, and the names and texts in its first statement."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.AsyncWith | ast.With):
            continue
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        if any(isinstance(call.func, ast.Attribute) and call.func.attr == "transaction" for call in calls):
            told = list(ast.walk(node.body[0]))
            names = {part.id for part in told if isinstance(part, ast.Name)}
            texts = {part.value for part in told if isinstance(part, ast.Constant) and isinstance(part.value, str)}
            yield node.lineno, names | texts


def test_every_transaction_begins_with_a_bound(project: Path) -> None:
    files = [file for package in PACKAGES for file in (project / package).rglob("*.py")]
    found = [(f"{file.name}:{line}", told) for file in files for line, told in first_steps(file.read_text())]

    assert {place.split(":")[0] for place, _ in found} == BY_THEMSELVES
    assert [place for place, told in found if not told & BOUNDS] == []


def test_a_transaction_without_a_bound_is_found() -> None:
    [(line, told)] = first_steps("async def f(c):\n    async with c.transaction():\n        await run(c, 'audit')\n")

    assert (line, told & BOUNDS) == (2, set())
