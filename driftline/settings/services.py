"""How are the services around Driftline reached, and how much may anything grow?

Invariants: a password or key is never in a `repr`, a `str` or an error; every bound has a default and its unit in its
name.
"""

import base64
import re
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from driftline.settings.values import DurationMs, FilePath, Keys, Name, Section, TopicName, Unique, refuse, refuse_value

Input = Literal["predictions", "labels", "features"]
INPUTS: tuple[Input, ...] = ("predictions", "labels", "features")

POSTGRES_SCHEMES = ("postgresql", "postgres")


class KafkaTopics(Section):
    """The names of our topics: three that are read, four that are written. Several inputs may share a topic."""

    predictions: TopicName = "driftline.predictions"
    labels: TopicName = "driftline.labels"
    features: TopicName = "driftline.features"
    drift: TopicName = "driftline.drift"
    retraining: TopicName = "driftline.retraining"
    retraining_status: TopicName = "driftline.retraining-status"
    dead_letters: TopicName = "driftline.dead-letters"

    def relayed(self) -> set[str]:
        """Name the topics that workers and relays write."""
        return {self.drift, self.retraining, self.dead_letters}

    def written(self) -> set[str]:
        """Name the topics that anything of Driftline writes: the retraining consumer, too."""
        return {*self.relayed(), self.retraining_status}

    @model_validator(mode="after")
    def _never_read_what_is_written(self) -> Self:
        problems: list[tuple[Keys, str]] = [
            ((kind,), f"{getattr(self, kind)} is also written by Driftline")
            for kind in INPUTS
            if getattr(self, kind) in self.written()
        ]
        if self.retraining_status in self.relayed():  # workers read it, and would read their own dead letters for ever
            problems.append((("retraining_status",), f"{self.retraining_status} is also written by workers"))
        refuse(problems)
        return self


class KafkaSecurity(Section):
    """How a connection to a broker is encrypted and who we are to it."""

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    ca_file: FilePath | None = None
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        sasl = {"sasl_mechanism": self.sasl_mechanism, "username": self.username, "password": self.password}
        tls = {"ca_file": self.ca_file, "certificate_file": self.certificate_file, "key_file": self.key_file}
        problems: list[tuple[Keys, str]] = []
        if self.protocol.startswith("sasl_"):
            problems += [((key,), f"is required with protocol {self.protocol}") for key in sasl if sasl[key] is None]
        else:
            problems += [
                ((key,), f"needs protocol sasl_plaintext or sasl_ssl, not {self.protocol}")
                for key in sasl
                if sasl[key] is not None
            ]
        if not self.protocol.endswith("ssl"):
            problems += [
                ((key,), f"needs protocol ssl or sasl_ssl, not {self.protocol}") for key in tls if tls[key] is not None
            ]
        if (self.certificate_file is None) != (self.key_file is None):
            problems.append((("certificate_file",), "needs key_file beside it, and key_file needs certificate_file"))
        refuse(problems)
        return self


class KafkaSettings(Section):
    """Where the log is read from and written to."""

    bootstrap_servers: str = Field(min_length=1)
    group: str = Field(default="driftline", min_length=1, max_length=200)
    topics: KafkaTopics = KafkaTopics()
    security: KafkaSecurity = KafkaSecurity()
    fetch_bytes_max: int = Field(default=4 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024)
    session_timeout_ms: DurationMs = Field(default=10_000, gt=0, alias="session_timeout")
    heartbeat_ms: DurationMs = Field(default=3_000, gt=0, alias="heartbeat")
    stuck_after_ms: DurationMs = Field(default=30_000, ge=1_000, alias="stuck_after")

    @field_validator("heartbeat_ms")
    @classmethod
    def _comes_in_time(cls, heartbeat_ms: int, info: ValidationInfo) -> int:
        if heartbeat_ms >= info.data.get("session_timeout_ms", heartbeat_ms + 1):
            refuse_value("must be shorter than session_timeout, or every worker is taken for dead")
        return heartbeat_ms


def tells_where_secrets_end(url: str) -> bool:
    """Tell whether everybody finds user and password of a database's URL in the same place, and the server after them.

    A password with a bare `/`, `@`, `?` or `#` ends at another character for each reader, and the rest of it would be
    taken for the server's name, which messages tell.

    Examples
    --------
    >>> tells_where_secrets_end("postgresql://me:a%2Fb@db/ml?sslmode=require")
    True
    >>> tells_where_secrets_end("postgresql://me:a/b@db/ml")
    False
    """
    address, _, query = url.partition("://")[2].partition("?")
    authority, _, path = address.partition("/")
    in_query = "@" in query and "@" not in authority
    return authority.count("@") <= 1 and "@" not in path and "#" not in address and not in_query


class PostgresSettings(Section):
    """Where results, stored predictions and offsets live."""

    url: SecretStr
    connect_timeout_ms: DurationMs = Field(default=10_000, gt=0, alias="connect_timeout")
    answer_timeout_ms: DurationMs = Field(default=60_000, ge=1_000, alias="answer_timeout")
    idle_in_transaction_timeout_ms: DurationMs = Field(default=5_000, gt=0, alias="idle_in_transaction_timeout")
    pool_size_max: int = Field(default=8, ge=1, le=1_000)

    @field_validator("url")
    @classmethod
    def _is_a_postgres_url(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        try:
            parts = urlsplit(text)
            usable = parts.scheme in POSTGRES_SCHEMES and ("," in parts.netloc or parts.port != 0)
        except ValueError:  # its text may quote the URL
            usable = False
        if not usable or not tells_where_secrets_end(text):
            refuse_value(
                "must be a URL such as postgresql://user:password@host:5432/database, "
                "with what is special in the password percent-encoded (/ is %2F, @ is %40)"
            )
        return url

    @property
    def place(self) -> str:
        """The server and database without user and password, for messages.

        Examples
        --------
        >>> PostgresSettings(url="postgresql://me:secret@db:5432/ml").place
        'db:5432/ml'
        """
        url = urlsplit(self.url.get_secret_value())
        return url.netloc.rpartition("@")[2] + url.path


class WebSettings(Section):
    """Where a worker answers whether it lives and is ready; port 0 takes a free one."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=0, ge=0, le=65_535)


EventType = Literal[
    "driftline.drift.detected",
    "driftline.drift.recovered",
    "driftline.performance.degraded",
    "driftline.performance.recovered",
    "driftline.quality.detected",
    "driftline.quality.recovered",
    "driftline.traffic.detected",
    "driftline.traffic.recovered",
    "driftline.retraining.requested",
    "driftline.records.lost",
    "driftline.detectors.reset",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
"""What Driftline tells the world, as the `type` of a CloudEvent."""


class OutboxSettings(Section):
    """For how long a message is tried that cannot be sent."""

    age_max_ms: DurationMs = Field(default=86_400_000, gt=0, alias="age_max")


class RetentionSettings(Section):
    """For how long what was found is kept: by event time, but messages and dead letters by the clock."""

    verdicts_ms: DurationMs = Field(default=180 * 86_400_000, ge=3_600_000, alias="verdicts")
    performance_ms: DurationMs = Field(default=400 * 86_400_000, ge=3_600_000, alias="performance")
    episodes_ms: DurationMs = Field(default=730 * 86_400_000, ge=3_600_000, alias="episodes")
    messages_ms: DurationMs = Field(default=90 * 86_400_000, ge=3_600_000, alias="messages")
    dead_letters_ms: DurationMs = Field(default=30 * 86_400_000, ge=3_600_000, alias="dead_letters")


WEBHOOKS_MAX = 50
"""Each webhook is looked after by a task of its own in every relay."""

_MARK = "whsec_"
_SECRET_BYTES = range(24, 65)  # as the Standard Webhooks specification has it
_WEBHOOK_SCHEMES = ("http", "https")


class WebhookSettings(Section):
    """Who is told, of what, and how a message is signed. The URL is a secret too: many carry a token."""

    url: SecretStr
    secret: SecretStr
    events: Annotated[tuple[EventType, ...], Unique] = Field(default=EVENT_TYPES, min_length=1)
    models: Annotated[tuple[Name, ...], Unique] | None = Field(default=None, min_length=1)
    timeout_ms: DurationMs = Field(default=10_000, gt=0, alias="timeout")

    @field_validator("url")
    @classmethod
    def _is_an_http_url(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        try:
            parts = urlsplit(text)
            usable = parts.scheme in _WEBHOOK_SCHEMES and parts.hostname and parts.port != 0
        except ValueError:  # its text may quote the URL
            usable = False
        if not usable or re.search(r"[\s\x00-\x1f\x7f]", text):
            refuse_value("must be a URL such as https://alerts.example/driftline")
        return url

    @field_validator("secret")
    @classmethod
    def _is_a_signing_secret(cls, secret: SecretStr) -> SecretStr:
        if len(_secret_bytes(secret)) not in _SECRET_BYTES:
            refuse_value(f"must be {_MARK} and 24 to 64 bytes as base64, as `openssl rand -base64 32` writes them")
        return secret

    @property
    def host(self) -> str:
        """Where messages go, without user, password, path and query, for people to read.

        Examples
        --------
        >>> WebhookSettings(url="https://me:token@hooks.example:8443/T00/xyz?key=1", secret="whsec_" + "A" * 32).host
        'hooks.example:8443'
        """
        return urlsplit(self.url.get_secret_value()).netloc.rpartition("@")[2]

    @property
    def key(self) -> bytes:
        """The bytes that messages are signed with."""
        return _secret_bytes(self.secret)


def _secret_bytes(secret: SecretStr) -> bytes:
    """Decode a signing secret; nothing if it is none."""
    text = secret.get_secret_value()
    if not text.startswith(_MARK):
        return b""
    try:
        return base64.b64decode(text.removeprefix(_MARK), validate=True)
    except ValueError:
        return b""


class AlertSettings(Section):
    """Whom Driftline tells of what goes wrong."""

    webhooks: dict[Name, WebhookSettings] = Field(default={}, max_length=WEBHOOKS_MAX)


Payloads = Literal["keep", "redact", "none"]
"""What dead letters keep of their messages: the beginning, the names and kinds of fields without values, or nothing."""


class PrivacySettings(Section):
    """What of the events may be stored: ids are hashed with `id_key` if it is given."""

    id_key: SecretStr | None = None
    dead_letter_payloads: Payloads = "keep"

    @field_validator("dead_letter_payloads", mode="before")
    @classmethod
    def _may_be_switched(cls, payloads: object) -> object:
        return {"true": "keep", "false": "none"}.get(str(payloads).lower(), payloads)

    @field_validator("id_key")
    @classmethod
    def _is_long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not 16 <= len(key.get_secret_value().encode()) <= 64:
            refuse_value("must have 16 to 64 bytes: with fewer the ids can be guessed back, more the hash cannot take")
        return key


NAMES_MAX = 30_000
"""Names are numbered in two bytes a model, and a few numbers are kept for what is beyond the limits."""


class LimitSettings(Section):
    """How far anything may grow; whatever goes beyond is counted, never silent."""

    models_max: int = Field(default=2_000, ge=1, le=NAMES_MAX)
    message_bytes_max: int = Field(default=1024 * 1024, ge=1)
    array_events_max: int = Field(default=10_000, ge=1)
    id_bytes_max: int = Field(default=512, ge=1)
    features_max: int = Field(default=500, ge=1)
    new_features_max: int = Field(default=50, ge=1, le=1_000)
    categories_max: int = Field(default=200, ge=1)
    classes_max: int = Field(default=100, ge=2, le=NAMES_MAX)
    versions_max: int = Field(default=100, ge=2, le=NAMES_MAX)
    segments_max: int = Field(default=100, ge=1, le=NAMES_MAX)
    buffered_fetches_max: int = Field(default=2, ge=1)
    dead_letter_payload_bytes_max: int = Field(default=4096, ge=0)
    max_future_ms: DurationMs = Field(default=600_000, alias="max_future")
