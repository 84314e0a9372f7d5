"""docker-compose.yml as Docker Compose reads it, for tests that run its services without containers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.kafka import PROJECT

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def compose_file() -> dict[str, Any]:
    """Return the file with the defaults of its variables put in; a variable without a default is an error."""
    text = _VARIABLE.sub(lambda match: match[2], (PROJECT / "docker-compose.yml").read_text())
    assert "${" not in text, "a variable without a default"
    document: dict[str, Any] = yaml.safe_load(text)
    return document


@dataclass(frozen=True)
class Outside:
    """Where a container's places are on this machine.

    Parameters
    ----------
    places
        What stands in commands and in the environment, and what takes its place; the longest first.
    programs
        What the image's programs are here.
    """

    places: Mapping[str, str]
    programs: Mapping[str, tuple[str, ...]]
    environment: Mapping[str, str]

    def command(self, words: list[str]) -> list[str]:
        """Translate a command, or a health check without its leading CMD."""
        program, *arguments = words[1:] if words[0] == "CMD" else words
        return [*self.programs[program], *map(self._placed, arguments)]

    def environment_of(self, service: Mapping[str, Any]) -> dict[str, str]:
        """Translate a service's environment."""
        own = {name: self._placed(value) for name, value in service.get("environment", {}).items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DRIFTLINE", "PG"))}
        return {**inherited, **own, **self.environment}

    def _placed(self, text: str) -> str:
        for place, here in self.places.items():
            text = text.replace(place, here)
        return text


def python_programs() -> dict[str, tuple[str, ...]]:
    """Return what `driftline` and `python` of the image are here."""
    return {"driftline": (sys.executable, "-m", "driftline.cli"), "python": (sys.executable,)}


@contextmanager
def running(command: list[str], environment: Mapping[str, str], folder: Path, log: Path) -> Iterator[Any]:
    """Run a service until the context ends; then it is asked to end, and killed if it does not."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=dict(environment), cwd=folder, stdout=output, stderr=output)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
