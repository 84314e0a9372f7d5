"""Why does a Postgres server of our own not start, and what can its user do about it?

The last line of its log often says only that it gives up; the reason stands before it, in the operating system's words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """What a server said before it ended.

    Parameters
    ----------
    told
        The line that says why.
    remedy
        What to do about it; empty where that is not known.
    of_machine
        Whether the machine is to blame, and not what is in the server's folder.
    """

    told: str
    remedy: str = ""
    of_machine: bool = False


ADDRESS_IN_USE = "Address already in use"
FREE_SPACE = "free some space on the disk of this folder"

_MACHINE = {
    "semaphores?: No space left": "end other servers, or raise the kernel's limit of semaphores (kernel.sem)",
    r"shared memory|/dev/shm|dsm_": "give this machine more shared memory (in a container: --shm-size=512m)",
    "No space left on device|Disk quota exceeded": FREE_SPACE,
    ADDRESS_IN_USE: "try again, or end what listens on this port",
    "Cannot allocate memory|out of memory": "free some memory",
    "Read-only file system": "choose a folder that can be written",
    "Permission denied": "let the user that runs the server use this folder",
    "Too many open files": "raise the limit of open files (ulimit -n)",
    r"loading shared libraries: \S+": "install the system package that has this library",
}
"""What a line says, and what to do then."""

_FOLDER = {
    r"postmaster\.pid": "stop the server that runs on this folder",
    "initialized by PostgreSQL version|not compatible with this version": "choose another folder, or dump and restore",
}

_STAMP = re.compile(r"^[-\d]+ [:.\d]+ \w+ \[\d+\] ")
_GIVES_UP = re.compile(r"\b(FATAL|PANIC):|\berror:")


def reason_of(log: str) -> Reason:
    r"""Find in what a server or `initdb` wrote why it ended.

    Examples
    --------
    >>> reason_of("LOG:  could not bind: Address already in use\nFATAL:  could not create any TCP/IP sockets").told
    'LOG:  could not bind: Address already in use'
    >>> reason_of("")
    Reason(told='it says nothing', remedy='', of_machine=False)
    """
    lines = [_STAMP.sub("", line.strip()) for line in log.splitlines() if line.strip()]
    # The last start is what counts; hints speak of everything that might be.
    told = [line for line in reversed(lines) if not line.startswith("HINT:")]
    for remedies in (_FOLDER, _MACHINE):
        for words, remedy in remedies.items():
            for line in told:
                if re.search(words, line):
                    return Reason(line, remedy, remedies is _MACHINE)
    return Reason(next(filter(_GIVES_UP.search, told), told[0] if told else "it says nothing"))
