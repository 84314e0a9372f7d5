"""A network between a client and a server that can be cut without a word: no packet is refused, none arrives.

It can also stall, so that everything arrives, but late, and end all connections, as a restarted firewall does.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536


class Proxy:
    """Forwards TCP connections to a server until it is cut; mended, it forwards only those that are made from then on.

    Parameters
    ----------
    url
        Of the server; `url` of the proxy is the same by way of the proxy.
    port
        Where to listen; by default on any free port.
    """

    def __init__(self, url: str, port: int = 0) -> None:
        at = urlsplit(url)
        assert at.hostname is not None
        assert at.port is not None
        self._server = (at.hostname, at.port)
        self._listener = socket.create_server(("127.0.0.1", port))
        self._sockets: list[socket.socket] = []
        self._network = threading.Event()
        """Set once the network that a connection was made over is cut."""
        self._moves = threading.Event()
        self._moves.set()
        self.made = 0
        """How many connections were made."""
        place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = urlunsplit(at._replace(netloc=f"{at.netloc.removesuffix(f'{at.hostname}:{at.port}')}{place}"))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cut()
        self.resume()
        for each in [self._listener, *self._sockets]:
            each.close()

    def cut(self) -> None:
        """Forward nothing any more, over any connection, and close none."""
        self._network.set()

    def mend(self) -> None:
        """Forward what comes over connections that are made from now on."""
        self._network = threading.Event()

    def stall(self) -> None:
        """Keep what comes, over any connection, until `resume`."""
        self._moves.clear()

    def resume(self) -> None:
        """Forward what was kept, and whatever comes."""
        self._moves.set()

    def reset(self) -> None:
        """End all connections that there are, so that both sides notice."""
        self._network.set()
        for each in self._sockets:
            with suppress(OSError):  # closed by either side
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()
        self.mend()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            network = self._network
            self._sockets.append(client)
            self.made += 1
            if network.is_set():
                continue
            try:
                server = socket.create_connection(self._server)
            except OSError:  # nobody listens there now
                client.close()
                continue
            self._sockets.append(server)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, sink, network), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, network: threading.Event) -> None:
        try:
            while (data := source.recv(CHUNK)) and not network.is_set():
                self._moves.wait()
                sink.sendall(data)
            if not network.is_set():
                sink.shutdown(socket.SHUT_WR)
        except OSError:  # closed by either side
            return
