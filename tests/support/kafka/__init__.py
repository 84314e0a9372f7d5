"""Which Kafka do tests speak to, and how is it killed?

In this order: `DRIFTLINE_TEST_KAFKA`; a container, if a Docker engine answers; Apache Kafka from its own jars, if Java
17 and Maven are here; else librdkafka's mock cluster inside this process. Invariants: a broker that is ours is stopped
by its pid (or its container); killed and started again it keeps its address and its log; on a real broker that is ours
no topic is made by accident.
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from docker.errors import DockerException

from tests.support.services import MissingServiceError, free_port

PROJECT = Path(__file__).parents[3]
POM = Path(__file__).parent / "pom.xml"
JAVA_VERSION_MIN = 17
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 20
DOCKER_SECONDS_MAX = 5
DOWNLOAD_SECONDS_MAX = 600
MOCK_PARTITIONS = 4

AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
REMEDY = "set DRIFTLINE_TEST_KAFKA=host:port, or start Docker, or install Java 17 and Maven"


class Broker:
    """A Kafka that someone else runs, and what every other broker here can do too.

    Parameters
    ----------
    bootstrap_servers
        ``host:port`` for any client.
    missing
        Why this is only a stand-in, with the remedy; None for a real Kafka.
    """

    def __init__(self, bootstrap_servers: str, missing: MissingServiceError | None = None) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.missing = missing

    @property
    def real(self) -> bool:
        """Whether groups, transactions, retention and restarts behave as they do in production."""
        return self.missing is None

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic and wait until each of its partitions has a leader."""
        client = _admin(self.bootstrap_servers)
        client.create_topics([NewTopic(name, partitions, 1)])[name].result(START_SECONDS_MAX)
        _wait(lambda: _led_partitions(client, name) == partitions, f"topic {name} has no leaders")

    def stop(self) -> None:
        """Stop what was started for this object, and remove its files."""
        return


class MockBroker(Broker):
    """librdkafka's mock cluster: it stores, serves and has groups, but keeps nothing and knows no CreateTopics."""

    def __init__(self, missing: MissingServiceError) -> None:
        # The cluster lives as long as this client.
        self._client = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
        (broker,) = self._client.list_topics(timeout=START_SECONDS_MAX).brokers.values()
        super().__init__(f"{broker.host}:{broker.port}", missing)

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Touch the topic, which makes it, with the number of partitions that every topic of the mock has."""
        if partitions > MOCK_PARTITIONS:
            raise ValueError(f"the mock broker has {MOCK_PARTITIONS} partitions a topic; mark the test real_kafka")
        _wait(lambda: _led_partitions(self._client, name) == MOCK_PARTITIONS, f"topic {name} has no leaders")


class JarBroker(Broker):
    """Apache Kafka itself, one KRaft node, from the jars that `pom.xml` names.

    Parameters
    ----------
    users
        Passwords by name: whom it lets in at `guarded_servers`, with SASL PLAIN, or over TLS with SCRAM-SHA-512.
    identity
        Its key and certificates as PEM, one after the other, if it speaks TLS there.
    proxied_port
        The port of a proxy to `proxied_servers`: clients that come that way are sent that way again.
    log
        Where records are kept, if not beside the rest; a folder that does not exist yet.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        identity: Path | None = None,
        proxied_port: int | None = None,
        log: Path | None = None,
    ) -> None:
        self._java = [_java(), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO", "-cp", f"{_jars()}/*"]
        port, controller_port = free_port(), free_port()
        super().__init__(f"127.0.0.1:{port}")
        self._home = Path(tempfile.mkdtemp(prefix="driftline-kafka-"))
        self._log = self._home / "broker.log"
        self._properties = self._home / "server.properties"
        settings = _single_node(port, controller_port, log or self._home / "data")
        if users:
            guarded_port = free_port()
            self.guarded_servers = f"127.0.0.1:{guarded_port}"
            settings |= _guarded(settings, guarded_port, users) if identity is None else {}
            settings |= _encrypted(settings, guarded_port, identity) if identity is not None else {}
        if proxied_port is not None:
            port_behind = free_port()
            self.proxied_servers = f"127.0.0.1:{port_behind}"
            settings |= _proxied(settings, port, port_behind, proxied_port)
        self._users = users if users and identity is not None else {}
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        try:
            self._format()
            self.start()
        except BaseException:
            shutil.rmtree(self._home)
            raise

    def start(self) -> None:
        """Start, on the address and the log of before, and wait until it answers."""
        with self._log.open("a") as output:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)],
                stdout=output,
                stderr=output,
                cwd=self._home,
                start_new_session=True,  # Ctrl-C is for pytest, which then stops the broker in order
            )
        try:
            _wait_until_ready(self.bootstrap_servers, self._fail_if_ended)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the broker as a power cut would (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until it has ended by itself."""
        self._process.wait(timeout_s)

    @property
    def pid(self) -> int:
        """The broker's process."""
        return self._process.pid

    def shut_down(self) -> None:
        """End the broker in order; it may be started again."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop(self) -> None:
        self.shut_down()
        shutil.rmtree(self._home)

    def _format(self) -> None:
        # A random one that begins with a dash would be taken for an option.
        cluster_id = "K" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        command = [*self._java, "kafka.tools.StorageTool", "format", "-c", str(self._properties), "-t", cluster_id]
        for name, password in self._users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._home)
        if done.returncode:
            raise RuntimeError(f"Kafka's log could not be formatted:\n{done.stdout}{done.stderr}")

    def _fail_if_ended(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"Kafka did not start:\n{self._log.read_text()[-4000:]}")


class ContainerBroker(Broker):
    """Kafka in a container; its port is bound by us, so that it is the same after a restart."""

    def __init__(self) -> None:
        from testcontainers.community.kafka import KafkaContainer  # slow to import, and needed only now

        container = KafkaContainer().with_kraft().with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        container.with_env("KAFKA_AUTHORIZER_CLASS_NAME", AUTHORIZER)
        container.with_env("KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND", "true")
        self._container: Any = container.with_bind_ports(container.port, free_port())
        self._container.start(timeout=START_SECONDS_MAX)
        super().__init__(self._container.get_bootstrap_server())
        _wait_until_ready(self.bootstrap_servers)

    def start(self) -> None:
        """Start the container that was killed, with its files."""
        self._container.get_wrapped_container().start()
        _wait_until_ready(self.bootstrap_servers)

    def kill(self) -> None:
        """End the broker as a power cut would (SIGKILL)."""
        self._container.get_wrapped_container().kill()

    def stop(self) -> None:
        self._container.stop()


OwnBroker = JarBroker | ContainerBroker


def shared_broker() -> Broker:
    """Give the best broker there is; a stand-in rather than none."""
    if address := os.environ.get("DRIFTLINE_TEST_KAFKA"):
        _wait_until_ready(address)
        return Broker(address)
    try:
        return own_broker()
    except MissingServiceError as missing:
        return MockBroker(missing)


def own_broker() -> OwnBroker:
    """Start a real broker for one owner, who may kill it and start it again.

    Raises
    ------
    MissingServiceError
        This machine has neither a Docker engine nor Java and Kafka's jars.
    """
    if _docker_answers():
        try:
            return ContainerBroker()
        except DockerException as error:  # an engine that cannot get the image
            print(f"Docker cannot give a broker, trying Kafka's own jars: {error}", file=sys.stderr)
    return JarBroker()


def _docker_answers() -> bool:
    """Ask in a process of its own: docker's client leaves its socket open when nobody answers."""
    question = f"import docker; docker.from_env(timeout={DOCKER_SECONDS_MAX})"
    return subprocess.run([sys.executable, "-c", question], capture_output=True).returncode == 0


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin")) if home else None)
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java else ""
    version = re.search(r'version "(\d+)', said)
    if java is None or version is None or int(version[1]) < JAVA_VERSION_MIN:
        raise MissingServiceError("a real Kafka broker", REMEDY)
    return java


def _jars() -> Path:
    """Return the folder of Kafka's jars, fetched once for each content of the pom."""
    folder = PROJECT / ".cache" / "kafka-jars" / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingServiceError("a real Kafka broker", REMEDY)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Maven's own store is not made for two at a time
        if folder.exists():
            return folder
        jars = Path(unfinished) / "jars"
        command = [maven, "--quiet", "--batch-mode", "--strict-checksums", "--file", str(POM)]
        command += ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS_MAX)
        if done.returncode:
            raise MissingServiceError(
                "a real Kafka broker", f"Maven could not fetch Kafka's jars:\n{done.stdout[-1000:]}"
            )
        jars.rename(folder)
    return folder


def _single_node(port: int, controller_port: int, data: Path) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "log.dirs": data,
        # Killed and started again, a broker is refused until its old session has ended: 9 s by default.
        "broker.heartbeat.interval.ms": 300,
        "broker.session.timeout.ms": 2000,
        "auto.create.topics.enable": "false",  # a misspelt topic is an error, as in most companies
        # Whatever no rule speaks of is allowed, so a test can deny something on a topic of its own.
        "authorizer.class.name": AUTHORIZER,
        "allow.everyone.if.no.acl.found": "true",
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
    }


def _guarded(settings: Mapping[str, object], port: int, users: Mapping[str, str]) -> dict[str, object]:
    """Add a listener that asks for a name and a password."""
    known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    return {
        "listeners": f"{settings['listeners']},GUARDED://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {known};"
        ),
    }


def _proxied(settings: Mapping[str, object], port: int, port_behind: int, proxied_port: int) -> dict[str, object]:
    """Add a listener that says of itself that it is where the proxy is."""
    return {
        "listeners": f"{settings['listeners']},PROXIED://127.0.0.1:{port_behind}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _encrypted(settings: Mapping[str, object], port: int, identity: Path) -> dict[str, object]:
    """Add a listener that speaks TLS and asks for a name and a password."""
    return {
        "listeners": f"{settings['listeners']},GUARDED://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.guarded.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": identity,
    }


def _admin(bootstrap_servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})


def _led_partitions(client: AdminClient | Producer, topic: str) -> int:
    found = client.list_topics(topic, timeout=START_SECONDS_MAX).topics[topic]
    return sum(partition.leader >= 0 for partition in found.partitions.values())


def _wait_until_ready(bootstrap_servers: str, check: Callable[[], None] = lambda: None) -> None:
    client = _admin(bootstrap_servers)

    def answers() -> bool:
        check()
        try:
            return bool(client.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    _wait(answers, f"no Kafka broker answers at {bootstrap_servers}")


def _wait(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{complaint} after {START_SECONDS_MAX} s")
        time.sleep(0.05)
