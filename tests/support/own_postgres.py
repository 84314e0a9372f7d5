"""A Postgres for one test alone, which may kill it and start it again."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from unittest import mock

import psutil

from driftline import embedded
from tests.support.services import free_port


class OwnPostgres:
    """An embedded server that is killed and started again on the same port and the same files.

    Parameters
    ----------
    within
        A folder that every user may enter, for its files.
    """

    def __init__(self, within: Path | None = None) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="driftline-own-postgres-", dir=within)
        self._folder = Path(self._place.name)
        self._folder.chmod(0o755)  # the server may run as another user
        self._port = free_port()
        self._running = ExitStack()
        self.url = self.start()

    def __enter__(self) -> OwnPostgres:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._running.close()
        self._place.cleanup()

    def start(self) -> str:
        """Start, on the port and the files of before, and wait until it answers; return its URL."""
        with mock.patch.object(embedded, "_free_port", return_value=self._port):
            return self._running.enter_context(embedded.embedded_postgres(self._folder, durable=True))

    @property
    def processes(self) -> list[psutil.Process]:
        """All processes of the server, the postmaster first; none if it does not run."""
        try:
            postmaster = psutil.Process(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]))
            return [postmaster, *postmaster.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    def stop(self) -> None:
        """End the server in order: whoever is connected is sent away."""
        self._running.close()

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL), and wait until none of its processes is left."""
        family = self.processes
        family[0].kill()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
        self._running.close()
