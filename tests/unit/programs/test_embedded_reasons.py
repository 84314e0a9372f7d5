"""Is it told why a server of our own does not start, in words to act on? The logs are what Postgres writes."""

import pytest

from driftline.embedded.reasons import reason_of

BIND = """
2026-03-01 10:00:00.000 UTC [77] LOG:  starting PostgreSQL 18.1 on x86_64-linux-gnu, compiled by gcc, 64-bit
2026-03-01 10:00:00.001 UTC [77] LOG:  could not bind IPv4 address "127.0.0.1": Address already in use
2026-03-01 10:00:00.001 UTC [77] HINT:  Is another postmaster already running on port 5432? If not, wait a few seconds
2026-03-01 10:00:00.002 UTC [77] WARNING:  could not create listen socket for "127.0.0.1"
2026-03-01 10:00:00.002 UTC [77] FATAL:  could not create any TCP/IP sockets
2026-03-01 10:00:00.003 UTC [77] LOG:  database system is shut down
"""
SHARED_MEMORY = """
2026-03-01 10:00:00.000 UTC [77] FATAL:  could not resize shared memory segment "/PostgreSQL.1": No space left on device
2026-03-01 10:00:00.001 UTC [77] LOG:  database system is shut down
"""
SEMAPHORES = """
2026-03-01 10:00:00.000 UTC [77] FATAL:  could not create semaphores: No space left on device
2026-03-01 10:00:00.000 UTC [77] DETAIL:  Failed system call was semget(5432129, 17, 03600).
2026-03-01 10:00:00.000 UTC [77] HINT:  This error does *not* mean that you have run out of disk space.
"""
DISK = """
initdb: error: could not write to file "/tmp/x/unfinished/base/1/2619": No space left on device
initdb: removing contents of data directory "/tmp/x/unfinished"
"""
WAL = """
2026-03-01 10:00:00.000 UTC [77] LOG:  database system was interrupted; last known up at 2026-03-01 09:59:00 UTC
2026-03-01 10:00:00.500 UTC [79] PANIC:  could not write to file "pg_wal/xlogtemp.79": No space left on device
2026-03-01 10:00:00.600 UTC [77] LOG:  startup process (PID 79) was terminated by signal 6: Aborted
2026-03-01 10:00:00.601 UTC [77] LOG:  aborting startup due to startup process failure
"""
LIBRARY = "postgres: error while loading shared libraries: libssl.so.3: cannot open shared object file: No such file\n"
LOCKED = """
2026-03-01 10:00:00.000 UTC [77] FATAL:  lock file "postmaster.pid" already exists
2026-03-01 10:00:00.000 UTC [77] HINT:  Is another postmaster (PID 70) running in data directory "/tmp/x/data"?
"""
OLD = """
2026-03-01 10:00:00.000 UTC [77] FATAL:  database files are incompatible with server
2026-03-01 10:00:00.000 UTC [77] DETAIL:  The data was initialized by PostgreSQL version 15.
"""
OTHER = """
2026-03-01 10:00:00.000 UTC [77] FATAL:  could not open file "global/pg_control": No such file or directory
2026-03-01 10:00:00.001 UTC [77] LOG:  database system is shut down
"""


@pytest.mark.parametrize(
    ("log", "told", "remedy", "of_machine"),
    [
        (
            BIND,
            'could not bind IPv4 address "127.0.0.1": Address already in use',
            "end what listens on this port",
            True,
        ),
        (SHARED_MEMORY, "could not resize shared memory segment", "--shm-size", True),
        (SEMAPHORES, "could not create semaphores", "kernel.sem", True),
        (DISK, "could not write to file", "free some space", True),
        (WAL, "could not write to file", "free some space", True),
        (LIBRARY, "libssl.so.3", "install the system package", True),
        (LOCKED, 'lock file "postmaster.pid" already exists', "stop the server", False),
        (OLD, "initialized by PostgreSQL version 15", "choose another folder", False),
        (OTHER, 'FATAL:  could not open file "global/pg_control"', "", False),
    ],
)
def test_the_line_that_says_why_is_told_with_what_to_do(log: str, told: str, remedy: str, of_machine: bool) -> None:
    reason = reason_of(log)

    assert told in reason.told
    assert remedy in reason.remedy
    assert reason.of_machine == of_machine
    assert "2026" not in reason.told
