"""Is a secret of the configuration in no text, no problem and no traceback?"""

import traceback
from pathlib import Path

import pytest

from driftline.errors import ConfigurationError
from tests.support.configurations import MODEL, load

SECRETS = """\
kafka:
  bootstrap_servers: b
  security: {protocol: sasl_ssl, sasl_mechanism: PLAIN, username: me, password: hunter2-kafka}
postgres: {url: "postgresql://me:hunter2@db/ml"}
privacy: {id_key: hunter2-hunter2-hunter2}
alerts: {webhooks: {chat: {url: "https://me:hunter2@chat/hunter2", secret: whsec_hunter2ahunter2ahunter2ahunter2a}}}
"""


UNESCAPED = [
    "me:hunter2/x@db",
    "me:1/hunter2@db",
    "me:hunter2@x@db",
    "me:x@hunter2@db",
    "me:hunter2?x@db",
    "me:1#hunter2@db",
]
"""Passwords that were not percent-encoded: where they end and the server begins, everybody reads otherwise."""


def test_a_secret_is_in_no_text_of_the_settings(config: Path) -> None:
    loaded = load(config, MODEL + SECRETS)

    assert loaded.postgres is not None
    assert loaded.postgres.url.get_secret_value() == "postgresql://me:hunter2@db/ml"
    for text in (repr(loaded), str(loaded), loaded.model_dump_json(), str(loaded.model_dump())):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    "text",
    [
        SECRETS.replace("postgresql:", "mysql:"),
        SECRETS.replace("hunter2-hunter2-hunter2", "hunter2"),
        SECRETS.replace("password:", "pasword:"),
        *(SECRETS.replace("me:hunter2@db", odd) for odd in UNESCAPED),
        SECRETS.replace("@db/ml", "@db:hunter2/ml"),
        SECRETS.replace("https:", "ftp:"),
        SECRETS.replace("@chat", "@[chat"),
        SECRETS.replace("@chat", "@chat:hunter2"),
        SECRETS.replace("whsec_", "wsec_"),
        SECRETS.replace("whsec_hunter2a", "whsec_hunter2-"),
        SECRETS.replace("whsec_hunter2ahunter2a", "whsec_"),
        SECRETS.replace("url: ", "uri: "),
        SECRETS.replace("url: ", "models: [n], url: "),
        "alerts: {webhooks: {chat: https://chat/hunter2}}\n",
        "alerts: {webhooks: [https://chat/hunter2]}\n",
        SECRETS.replace("PLAIN", "PLAN"),
        SECRETS.replace("protocol: sasl_ssl", "protocol: ssl"),
        SECRETS.replace("hunter2-kafka", "[hunter2]"),
        SECRETS.replace("hunter2-kafka", "{hunter2: hunter2}"),
        SECRETS.replace("hunter2-kafka", "*hunter2"),
        'postgres: "postgresql://me:hunter2@db/ml"\n',
        "postgres: [postgresql://me:hunter2@db/ml]\n",
        "postgres: {url:postgresql://me:hunter2@db/ml}\n",
        "kafka: {bootstrap_servers: b, security: hunter2}\n",
        "kafka: {bootstrap_servers: b, security: {password:hunter2}}\n",
        "privacy: {id_key: 1234567890123456789}\nweb: {port: x}\n",
    ],
)
def test_a_secret_is_in_no_problem_and_in_no_traceback(config: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(config, MODEL + text)

    told = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in told
    assert "1234567890123456789" not in told
