"""What Grafana does with a panel's SQL before Postgres sees it, and a small Grafana that takes what is pushed.

The rules are those of Grafana 11.6: variables are put in by the browser (`sqlstring` quotes and doubles quotes, the
value that stands for "all" goes in as it is), then the PostgreSQL data source replaces its macros.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Value = str | Sequence[str]

_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}")
_MACRO = re.compile(r"\$(\w+)\(([^)]*)\)")


class Raw(str):
    """A custom "all" value: no format applies to it."""


@dataclass(frozen=True)
class Sight:
    """What somebody looks at: a time range, and what is chosen."""

    start: datetime
    end: datetime
    chosen: Mapping[str, Value]
    interval_s: int = 300

    def expand(self, sql: str) -> str:
        """Turn a panel's SQL into what Postgres gets."""
        with_variables = _VARIABLE.sub(self._variable, sql).replace("$__interval", f"{self.interval_s}s")
        expanded = _MACRO.sub(self._macro, with_variables)
        assert "$" not in expanded, f"Grafana would leave a $ in: {expanded}"
        return expanded

    def _variable(self, match: re.Match[str]) -> str:
        value, form = self.chosen[match[1]], match[2]
        if isinstance(value, Raw):
            return value
        assert form == "sqlstring", f"{match[0]} is put into SQL as it is"
        values = [value] if isinstance(value, str) else value
        return ",".join("'" + one.replace("'", "''") + "'" for one in values)

    def _macro(self, match: re.Match[str]) -> str:
        arguments = [argument.strip() for argument in match[2].split(",")]
        start, end = (time.isoformat().replace("+00:00", "Z") for time in (self.start, self.end))
        if match[1] == "__timeFilter":
            return f"{arguments[0]} BETWEEN '{start}' AND '{end}'"
        if match[1] == "__timeFrom":
            return f"'{start}'"
        if match[1] == "__timeTo":
            return f"'{end}'"
        if match[1] == "__timeGroup":
            seconds = int(arguments[1].strip("'").removesuffix("s"))
            return f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}"
        raise AssertionError(f"Grafana's PostgreSQL data source has no macro ${match[1]}")


class FakeGrafana:
    """The part of Grafana's HTTP API that is used: it keeps what it is sent, and refuses as Grafana does.

    Parameters
    ----------
    token
        The only one it knows.
    path
        Under which it is served.
    """

    def __init__(self, token: str, path: str = "") -> None:
        self.folders: dict[str, Any] = {}
        self.data_sources: dict[str, Any] = {}
        self.dashboards: dict[str, Any] = {}
        self.requests: list[str] = []
        self.answer_all: Answer | None = None
        """What every request gets, instead of what it asked for."""
        self._token, self._path = token, path

    def answer(self, method: str, path: str, token: str | None, body: Any) -> Answer:
        """Do what a request asks for."""
        self.requests.append(f"{method} {path}")
        if self.answer_all is not None:
            return self.answer_all
        if not path.startswith(f"{self._path}/api/"):
            return Answer(404, {"message": "Not found"})
        if token != f"Bearer {self._token}":
            return Answer(401, {"message": "Invalid API key"})
        match method, path.removeprefix(f"{self._path}/api/").split("/"):
            case "GET", ["frontend", "settings"]:
                return Answer(200, {"buildInfo": {"version": "11.6.0"}})
            case "GET", ["folders", uid]:
                return self._found(self.folders, uid)
            case "POST", ["folders"]:
                return self._made(self.folders, body["uid"], body)
            case "GET", ["datasources", "uid", uid]:
                return self._found(self.data_sources, uid)
            case "POST", ["datasources"]:
                return self._made(self.data_sources, body["uid"], body)
            case "PUT", ["datasources", "uid", uid]:
                self.data_sources[uid] = body
                return Answer(200, {"message": "Datasource updated"})
            case "POST", ["dashboards", "db"]:
                uid = body["dashboard"]["uid"]
                if body["folderUid"] not in self.folders or (uid in self.dashboards and not body["overwrite"]):
                    return Answer(412, {"message": "The dashboard has been changed by someone else"})
                self.dashboards[uid] = body
                return Answer(200, {"uid": uid, "url": f"{self._path}/d/{uid}/{uid}", "status": "success"})
        return Answer(404, {"message": "Not found"})

    def _found(self, among: dict[str, Any], uid: str) -> Answer:
        return Answer(200, among[uid]) if uid in among else Answer(404, {"message": "not found"})

    def _made(self, among: dict[str, Any], uid: str, body: Any) -> Answer:
        if uid in among:
            return Answer(409, {"message": f"{uid} already exists"})
        among[uid] = body
        return Answer(200, body)


@dataclass(frozen=True)
class Answer:
    """What a server answers; `body` is JSON unless it is text, which is taken for a page."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0


@contextmanager
def serving(grafana: FakeGrafana) -> Iterator[str]:
    """Serve it on loopback; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = grafana.answer(
                self.command, self.path, self.headers.get("Authorization"), json.loads(sent) if sent else None
            )
            time.sleep(answer.after_s)
            page = isinstance(answer.body, str)
            content = (answer.body if page else json.dumps(answer.body)).encode()
            with suppress(ConnectionError):  # it may have given up
                self.send_response(answer.status)
                self.send_header("Content-Type", "text/html" if page else "application/json")
                self.send_header("Content-Length", str(len(content)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = _any  # noqa: N815 - names that the standard library looks for

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
