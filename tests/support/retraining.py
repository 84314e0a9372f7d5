"""Retraining consumers as processes, the requests they get, the commands they run and the statuses they publish."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from tests.support.kafka import Broker
from tests.support.live import wait_for
from tests.support.monitors import Sent, create_topics, send_all

COMMAND = """
import json, os, sys, time
from pathlib import Path

folder, request = Path(sys.argv[1]), json.load(sys.stdin)
with (folder / "runs.txt").open("a") as runs:
    runs.write(request["id"] + "\\n")
assert json.loads(Path(os.environ["DRIFTLINE_REQUEST_FILE"]).read_text()) == request
assert os.environ["DRIFTLINE_MODEL"] == request["data"]["model"]
while (folder / "hold").exists():
    time.sleep(0.05)
print("fitting", "x" * 5_000)
print(json.dumps({"version": "8"}))
"""


def request_event(request_id: str, model: str = "m", **data: Any) -> dict[str, Any]:
    """Make a request as the policy makes it."""
    return {
        "specversion": "1.0",
        "id": request_id,
        "source": f"/driftline/models/{model}",
        "type": "driftline.retraining.requested",
        "subject": f"{model}/v1",
        "time": "2024-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "data": {
            "request_id": request_id,
            "episode_id": "11111111-2222-3333-4444-555555555555",
            "model": model,
            "version": "v1",
            "kind": "drift",
            "lineage": {"recommended_window": {"from": "2023-12-01T00:00:00Z", "to": "2024-01-01T00:00:00Z"}},
            **data,
        },
    }


@dataclass
class Bench:
    """Two topics of one test, a folder for its consumers' state, and a command that notes each of its runs."""

    folder: Path
    broker: Broker
    topic: str
    status_topic: str
    consumers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def command(self) -> str:
        """The command line of a run, which waits while there is a file `hold`."""
        script = self.folder / "command.py"
        script.write_text(COMMAND)
        return f"'{sys.executable}' '{script}' '{self.folder}'"

    @property
    def hold(self) -> Path:
        """While this file exists, runs do not end."""
        return self.folder / "hold"

    def arguments(self, *arguments: str) -> list[str]:
        """Return the command line of a consumer, whose death is noticed as early as the broker allows."""
        config = self.folder / "kafka.yaml"
        config.write_text(
            "kafka: {bootstrap_servers: elsewhere, session_timeout: 6s, heartbeat: 1s}\n"
            "models: {m: {task: binary, reference: {first_events: 100}}}\n"
        )
        return [
            sys.executable, "-m", "retraining.consumer", "--config", str(config),
            "--bootstrap-servers", self.broker.bootstrap_servers,
            "--topic", self.topic, "--status-topic", self.status_topic, "--group", self.topic,
            "--state", str(self.folder / "state"), *arguments,
        ]  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a consumer."""
        with (self.folder / f"consumer-{len(self.consumers)}.log").open("wb") as log:
            process = subprocess.Popen(self.arguments(*arguments), cwd=self.folder, stdout=log, stderr=log)
        self.consumers.append(process)
        return process

    def once(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Let a consumer do what is there."""
        return subprocess.run(
            self.arguments("--once", *arguments), cwd=self.folder, capture_output=True, text=True, timeout=120
        )

    def send(self, *events: dict[str, Any] | bytes, partition: int = 0) -> None:
        """Publish requests."""
        values = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
        send_all(self.broker.bootstrap_servers, self.topic, [Sent(value, partition=partition) for value in values])

    def runs(self) -> list[str]:
        """Return the ids of the requests whose command was started, one for each start."""
        file = self.folder / "runs.txt"
        return file.read_text().split() if file.exists() else []

    def statuses(self) -> list[dict[str, Any]]:
        """Return what is in the status topic now."""
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap_servers, "group.id": "none", "log_level": 0})
        place = TopicPartition(self.status_topic, 0)
        try:
            _, end = consumer.get_watermark_offsets(place, timeout=30)
            consumer.assign([TopicPartition(self.status_topic, 0, 0)])
            found: list[dict[str, Any]] = []
            while len(found) < end:
                message = consumer.poll(10)
                assert message is not None
                found.append(json.loads(message.value() or b""))
            return found
        finally:
            consumer.close()

    def states(self) -> list[tuple[str, str, int]]:
        """Return (request, state, attempt) of each status."""
        return [
            (each["data"]["request_id"], each["data"]["state"], each["data"]["attempt"]) for each in self.statuses()
        ]

    def wait_for_states(self, *states: tuple[str, str, int]) -> None:
        """Wait until exactly these statuses were published."""
        wait_for(lambda: self.states() == list(states), f"statuses {states}; there are {self.states()}")

    def attempt(self, request_id: str, number: int = 1) -> dict[str, Any]:
        """Wait until an attempt's command runs, and return what is known of it."""
        file = self.folder / "state" / self.topic / request_id / f"attempt-{number}.json"
        told: dict[str, Any] = wait_for(
            lambda: file.exists() and (found := json.loads(file.read_text())).get("group") and found, str(file), 60
        )
        return told

    def logs(self) -> str:
        """Return what all consumers said."""
        return "".join(file.read_text() for file in sorted(self.folder.glob("consumer-*.log")))


@contextmanager
def bench(folder: Path, broker: Broker, topic_name: Callable[[str], str], partitions: int = 1) -> Iterator[Bench]:
    """Make the topics; end all that is left at the end."""
    made = Bench(folder, broker, topic_name("requests"), topic_name("statuses"))
    create_topics(broker.bootstrap_servers, [made.topic], partitions)
    create_topics(broker.bootstrap_servers, [made.status_topic])
    try:
        yield made
    finally:
        for consumer in made.consumers:
            consumer.kill()
            consumer.wait()
        for file in folder.glob("state/*/*/attempt-*.json"):
            told = json.loads(file.read_text())
            for group in (told["keeper"], told.get("group")):
                if group is not None:
                    with suppress(ProcessLookupError):
                        os.killpg(group, signal.SIGKILL)


class Receiver:
    """An HTTP server that answers posts with the codes it was given, the last one for ever, and keeps what came."""

    def __init__(self, *codes: int) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self._codes = list(codes)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver._codes.pop(0) if len(receiver._codes) > 1 else receiver._codes[0])
                self.send_header("location", "/elsewhere")
                self.end_headers()
                self.wfile.write(b'{"version": "9"}')

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/retrain"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
