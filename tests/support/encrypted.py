"""Services that speak TLS, with certificates made just now by an authority that nobody else knows."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from driftline import embedded
from tests.support.services import MissingServiceError


@dataclass(frozen=True)
class Authority:
    """Who signs certificates, and the file that says so.

    Parameters
    ----------
    folder
        Where every user may read.
    """

    folder: Path
    signer: trustme.CA

    @property
    def file(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "authority.pem"

    def identity(self, name: str, host: str) -> Path:
        """Write a server's key and certificates into one file, the key as Kafka and Postgres both read it."""
        path = self._written(name, host, NoEncryption())
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        return path

    def client(self, name: str, password: str) -> Path:
        """Write our own key, which takes a password, and certificates into one file."""
        return self._written(name, name, BestAvailableEncryption(password.encode()))

    def _written(self, name: str, host: str, encryption: KeySerializationEncryption) -> Path:
        made = self.signer.issue_cert(host)
        key = load_pem_private_key(made.private_key_pem.bytes(), None)
        path = self.folder / f"{name}.pem"
        path.touch(0o600)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        path.write_bytes(pem + b"".join(chain.bytes() for chain in made.cert_chain_pems))
        return path


def make_authority(folder: Path) -> Authority:
    """Make an authority that keeps its files in a new folder, which is in one that every user may enter."""
    folder.mkdir()
    folder.chmod(0o755)
    made = Authority(folder, trustme.CA())
    made.signer.cert_pem.write_to_path(str(made.file))
    return made


@contextmanager
def encrypted_postgres(identity: Path) -> Iterator[str]:
    """Run Debian's Postgres, which speaks TLS as the one of the wheel does not; give its URL without a word of that.

    Raises
    ------
    MissingServiceError
        If it is not installed.
    """
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not servers:
        raise MissingServiceError("a Postgres that speaks TLS", "install Debian's package postgresql")
    settings = {**embedded._SERVER, "ssl": "on", "ssl_cert_file": str(identity), "ssl_key_file": str(identity)}
    cluster = ("--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C")
    with (
        mock.patch.multiple(embedded, _SERVER=settings, _CLUSTER=cluster),
        mock.patch.object(embedded, "embedded_binaries", return_value=servers[-1].parent),
        embedded.embedded_postgres(durable=False) as url,
    ):
        yield url
