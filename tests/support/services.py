"""Which outside things do tests need, and what happens when one is missing?

Invariants: a service that cannot be had is a `MissingServiceError`, which names its remedy; one that is there but
broken is any other error; a port given out was free a moment ago.
"""

import socket


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
    """Return a loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
