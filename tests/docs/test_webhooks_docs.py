"""Does docs/webhooks.md tell receivers how to verify what we send, and is its example a configuration?"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from alerts.signing import signed_headers
from driftline.settings import WebhookSettings, load_settings

TEXT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
WITH_LIBRARY, WITHOUT = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
BODY = b'{"id": "e-1"}'


@pytest.fixture
def webhook(tmp_path: Path) -> WebhookSettings:
    """The webhook of the example."""
    [example] = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    config = tmp_path / "monitor.yaml"
    config.write_text(example + "models: {employment: {task: binary, reference: {first_events: 10}}}\n")
    return load_settings(config, {"DRIFTLINE__ALERTS__WEBHOOKS__PAGER__URL": "http://localhost/x"}).alerts.webhooks[
        "pager"
    ]


def defined_in(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(block, names)
    return names


def accepts_with_library(headers: dict[str, str], body: bytes, _secret: str) -> bool:
    try:
        return bool(defined_in(WITH_LIBRARY)["receive"](headers, body) == {"id": "e-1"})
    except WebhookVerificationError:
        return False


@pytest.mark.parametrize("accepts", [accepts_with_library, defined_in(WITHOUT)["is_ours"]])
def test_a_receiver_as_described_accepts_what_we_sign_and_nothing_else(
    webhook: WebhookSettings, accepts: Callable[[dict[str, str], bytes, str], bool]
) -> None:
    secret, now_s = webhook.secret.get_secret_value(), int(time.time())
    headers = signed_headers(webhook.key, "e-1", now_s, BODY)

    assert accepts(headers, BODY, secret)
    assert not accepts(headers, BODY + b" ", secret)
    assert not accepts(headers | {"webhook-id": "e-2"}, BODY, secret)
    assert not accepts(signed_headers(webhook.key, "e-1", now_s - 3600, BODY), BODY, secret)
    assert not accepts(signed_headers(b"x" * 24, "e-1", now_s, BODY), BODY, secret)
