"""Do the examples in the docstrings of every package hold?"""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
NOT_SHIPPED = {"tests", "benchmarks", "examples"}
PACKAGES = sorted(found.parent.name for found in PROJECT.glob("*/__init__.py") if found.parent.name not in NOT_SHIPPED)
MODULES = sorted(
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages([str(PROJECT / package)], f"{package}.")
    if not module.name.endswith(".__main__")
)


@pytest.mark.parametrize("name", [*PACKAGES, *MODULES])
def test_the_examples_of_a_module_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0
