"""Is every test that the documentation cites there?"""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])
_CITED = re.compile(r"\b(tests/[\w/]+\.py)(?:::(\w+))?")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_files_and_functions_that_are_cited_exist(page: Path) -> None:
    cited = set(_CITED.findall(page.read_text("utf-8")))

    assert {file for file, _ in cited if not (PROJECT / file).is_file()} == set()
    found = {(file, name): (PROJECT / file).read_text("utf-8") for file, name in cited if name}
    assert {of for of, text in found.items() if f"def {of[1]}(" not in text} == set()


def test_some_are_cited() -> None:
    assert sum(len(_CITED.findall(page.read_text("utf-8"))) for page in PAGES) > 100
