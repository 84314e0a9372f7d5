"""How does a program of ours run beside the demo, and end with it?

Invariants: it ends with the context, and also when this process is killed (see `driftline.embedded.keeper`); the user's
own `DRIFTLINE__…` variables never reach it, so it can't write into another database than the demo's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from driftline.embedded import keeper
from driftline.errors import ServiceUnavailableError, StateError

START_SECONDS_MAX = 60
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A program of ours, in a process of its own.

    Parameters
    ----------
    log
        What it writes: a file without a name, which outlasts the folder.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def require_running(self) -> None:
        """Check that it has not ended.

        Raises
        ------
        StateError
            If it has; with the last line it wrote.
        """
        if self.process.poll() is not None:
            told = next((line for line in reversed(self._text().splitlines()) if line.strip()), "it says nothing")
            raise StateError(f"ended with {self.process.returncode}: {told}", where=self.name)

    def wait_until_it_says(self, words: str) -> None:
        """Wait until it has started.

        Raises
        ------
        StateError
            If it ends.
        ServiceUnavailableError
            If it takes longer than `START_SECONDS_MAX`.
        """
        deadline = time.monotonic() + START_SECONDS_MAX
        while words not in self._text():
            self.require_running()
            if time.monotonic() > deadline:
                raise ServiceUnavailableError(f"does not start within {START_SECONDS_MAX} s", where=self.name)
            time.sleep(_POLL_S)

    def _text(self) -> str:
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), size, 0).decode(errors="replace")  # leaves the place where it writes


@contextmanager
def started(name: str, arguments: list[str], folder: Path) -> Iterator[Process]:
    """Run Python until the context ends, or this process does.

    Parameters
    ----------
    folder
        Where it works and keeps its temporary files; removed when it has ended.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("DRIFTLINE__")}
    command = [sys.executable, "-P", *arguments]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own files
            [sys.executable, "-I", "-S", keeper.__file__, str(folder), "-1", "-1", *command],
            cwd=folder,
            env=inherited | {"TMPDIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us, who then end it in order
        )
        try:
            yield Process(name, process, log)
        finally:
            process.communicate()  # closes its standard input, and waits
