"""A small disk, for a database's tables or a broker's log, which can be filled and emptied. Only root can have one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.support.services import MissingServiceError

BYTES = 192 * 1024**2
CHUNK = 1024**2


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory."""

    folder: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(CHUNK))
            except OSError:
                pass
        assert shutil.disk_usage(self.folder).free < CHUNK
        try:
            yield
        finally:
            ballast.unlink()


@contextmanager
def small_disk() -> Iterator[SmallDisk]:
    """Mount a small disk.

    Raises
    ------
    MissingServiceError
        If we may not mount one.
    """
    folder = Path(tempfile.mkdtemp(prefix="driftline-chaos-disk-"))
    try:
        folder.chmod(0o755)
        size = ["-t", "tmpfs", "-o", f"size={BYTES},mode=0755", "driftline-chaos"]
        mounted = subprocess.run(["mount", *size, str(folder)], capture_output=True, text=True)
        if mounted.returncode:
            raise MissingServiceError("a small disk", f"only root may mount one: {mounted.stderr.strip()}")
        try:
            yield SmallDisk(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


@contextmanager
def tablespace_on(disk: SmallDisk, server_url: str) -> Iterator[str]:
    """Make a tablespace on a disk, and give its name."""
    (place := disk.folder / "tables").mkdir(0o700)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
    name = f"small_{disk.folder.name[-6:].lower()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create tablespace \"{name}\" location '{place}'".encode())
        yield name
        connection.execute(f'drop tablespace "{name}"'.encode())
