"""Is this program whole: the right Python, its packages, and each top-level package from one and the same tree?

Imports the standard library and `driftline.errors` only, so that it can still say what is missing.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from pathlib import Path

from driftline.doctor import Finding, fail, ok
from driftline.errors import ConfigurationError

PYTHON_MIN = (3, 11)
TREE = Path(__file__).parents[2]
REINSTALL = "run `make setup`, or install driftline again"


def check_machine() -> Iterator[Finding]:
    """Check Python, the installed packages, and where our own packages come from."""
    yield from check_python(sys.version_info[:3])
    yield from check_dependencies(required_packages())
    yield from check_tree(own_packages(), TREE)


def check_python(version: Sequence[int]) -> list[Finding]:
    """Check the version of Python.

    Examples
    --------
    >>> check_python((3, 9, 2))[0].exit_code
    2
    """
    text = ".".join(map(str, version))
    if tuple(version[:2]) < PYTHON_MIN:
        needed = ".".join(map(str, PYTHON_MIN))
        return fail("python", ConfigurationError(f"{text} is too old", remedy=f"use Python {needed} or newer"))
    return [ok("python", f"{platform.python_implementation()} {text}")]


def required_packages() -> list[str]:
    """Name the packages that ours was declared to need, without those for development."""
    try:
        requirements = metadata.requires("driftline") or []
    except metadata.PackageNotFoundError:
        return []
    return [found[0] for text in requirements if "extra ==" not in text and (found := re.match(r"[\w.-]+", text))]


def own_packages() -> list[str]:
    """Name the top-level packages that were installed as ours."""
    try:
        return (metadata.distribution("driftline").read_text("top_level.txt") or "").split()
    except metadata.PackageNotFoundError:
        return []


def check_dependencies(names: Sequence[str]) -> list[Finding]:
    """Tell the versions of packages, and which of them are missing."""
    versions, missing = {}, []
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if not names:
        return fail("packages", ConfigurationError("driftline itself is not installed", remedy=REINSTALL))
    if missing:
        return fail("packages", ConfigurationError(f"missing: {', '.join(missing)}", remedy=REINSTALL))
    return [ok("packages", ", ".join(f"{name} {version}" for name, version in versions.items()))]


def check_tree(names: Sequence[str], tree: Path) -> list[Finding]:
    """Check that each of our packages is found in this tree: a namesake elsewhere would be run instead of ours."""
    elsewhere = []
    for name in names:
        spec = util.find_spec(name)
        if spec is None or spec.origin is None:
            elsewhere.append(f"{name} is not found")
        elif Path(spec.origin) != tree / name / "__init__.py":
            elsewhere.append(f"{name} comes from {Path(spec.origin).parent}")
    if elsewhere:
        remedy = "use a virtual environment of its own for driftline"
        return fail("tree", ConfigurationError(f"not all from {tree}: {', '.join(elsewhere)}", remedy=remedy))
    return [ok("tree", f"{', '.join(names)} in {tree}")]
