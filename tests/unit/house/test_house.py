"""Does the house stand as its plan says: one tree, imports in one direction, locks without an address?"""

import ast
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[3]
PYPROJECT: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())
NOT_SHIPPED = {"tests", "benchmarks", "examples"}
MAY_RUN_WHAT_THEY_READ = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
PACKAGES = sorted(found.parent.name for found in PROJECT.glob("*/__init__.py") if found.parent.name not in NOT_SHIPPED)


def test_each_package_resolves_to_this_tree_and_not_to_a_namesake_elsewhere(tmp_path: Path) -> None:
    # `-I` and another folder: what an installed command sees, without pytest's own path.
    question = "import sys, importlib.util as u; [print(u.find_spec(name).origin) for name in sys.argv[1:]]"
    answer = subprocess.run(
        [sys.executable, "-I", "-c", question, *PACKAGES], cwd=tmp_path, capture_output=True, text=True
    )

    assert answer.returncode == 0, f"not installed; run make setup\n{answer.stderr}"
    assert answer.stdout.splitlines() == [str(PROJECT / package / "__init__.py") for package in PACKAGES]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_of_this_tree_is_installed_typed_and_under_the_import_contracts(package: str) -> None:
    linter = ConfigParser()
    linter.read(PROJECT / ".importlinter")

    assert f"{package}*" in PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert package in PYPROJECT["tool"]["mypy"]["packages"]
    assert package in linter["importlinter"]["root_packages"].split()


def test_imports_go_one_way() -> None:
    checked = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_security_rules_of_ruff_hold_for_all_code_that_ships() -> None:
    lint = PYPROJECT["tool"]["ruff"]["lint"]

    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S")] == ["S101", "SIM108"]  # assertions, and style
    without = {files for files, rules in lint["per-file-ignores"].items() if any(rule[0] == "S" for rule in rules)}
    assert without == {"benchmarks/**", "tests/**"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_code_that_ships_reads_a_kind_of_file_that_can_hold_code(package: str) -> None:
    trees = [ast.parse(file.read_text("utf-8")) for file in (PROJECT / package).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}

    assert {name.partition(".")[0] for name in imported} & MAY_RUN_WHAT_THEY_READ == set()
    assert called & {"eval", "exec"} == set()


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.lock",
        "requirements-dev.lock",
        "benchmarks/peers/requirements.lock",
        "tests/fuzz/requirements.lock",
    ],
)
def test_a_lock_file_holds_names_versions_and_hashes_only(lock: str) -> None:
    lines = (PROJECT / lock).read_text().splitlines()

    assert [line for line in lines if "://" in line or line.startswith("-")] == []
    requirements = [line for line in lines if not line.startswith(" ")]
    assert requirements
    assert [line for line in requirements if "==" not in line] == []
