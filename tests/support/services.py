"""Which outside things do tests need, and what happens when one is missing?

Invariants: a service that cannot be had is a `MissingServiceError`, which names its remedy; one that is there but
broken is any other error; a port given out was free a moment ago.
"""

import secrets
import socket
from pathlib import Path


class MissingServiceError(Exception):
    """A service that this machine cannot provide; what was tried, and what to install.

    Parameters
    ----------
    service
        What is missing, as a reader would call it: ``a real Kafka broker``.
    remedy
        What to install or set so that it is found.
    """

    def __init__(self, service: str, remedy: str) -> None:
        super().__init__(f"{service} is missing: {remedy}")


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on now, and that no outgoing connection takes by chance.

    A client that tries the port of a server that is away, again and again from ports of its own, would sooner or later
    try from that very port: TCP then connects it to itself, and the server can't come back.
    """
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", secrets.choice(range(10_000, _first_outgoing_port()))))
            except OSError:
                continue
            return int(probe.getsockname()[1])


def _first_outgoing_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:  # not Linux
        return 32_768
