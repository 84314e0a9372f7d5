"""Who ends a server when whoever started it is gone? This process, which stands between the two.

Run as a script of its own, with nothing but the standard library, so that it is small and quick. Invariants: the server
ends when our standard input ends, and that happens however its starter ends (by itself, by an exception, by any
signal, SIGKILL too); it is ended by its pid; the folder named first is removed after it.

Arguments: a folder to remove, a user id and a group id (-1 for our own), then the server's command line. Exits as the
server does.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

STOP_SECONDS_MAX = 20


def main(folder: str, user: int, group: int, command: list[str]) -> int:
    """Run the server until it ends or our standard input does."""
    account: dict[str, Any] = {} if user < 0 else {"user": user, "group": group, "extra_groups": []}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, **account)  # noqa: S603 - what our starter asks for
    threading.Thread(target=_end_with_stdin, args=[server], daemon=True).start()
    status: int = server.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return status


def _end_with_stdin(server: "subprocess.Popen[bytes]") -> None:
    try:
        while os.read(0, 1):  # unbuffered: a daemon thread that holds a buffer's lock breaks the interpreter's exit
            pass
    finally:
        server.send_signal(signal.SIGINT)  # Postgres's "fast shutdown": disconnects whoever is left
        time.sleep(STOP_SECONDS_MAX)
        server.kill()


if __name__ == "__main__":
    # A service manager may send these to all of us at once; the server ends when our starter says so. A handler is not
    # passed on to the server, as a signal that is ignored would be.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: None)
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
