"""Does the demo's webhook believe what is signed, by somebody else's Standard Webhooks library, and nothing else?"""

import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from driftline.demo.receiver import AGE_S_MAX, Received, Receiver, new_secret

NOW_S = 1_700_000_000
BODY = json.dumps({"id": "e1", "type": "driftline.drift.detected", "data": {"model": "fraud"}}).encode()


def headers(secret: str, body: bytes = BODY, identity: str = "e1", at_s: int = NOW_S) -> dict[str, str]:
    signature = Webhook(secret).sign(identity, datetime.fromtimestamp(at_s, UTC), body.decode())
    return {"webhook-id": identity, "webhook-timestamp": str(at_s), "webhook-signature": signature}


def test_a_signed_message_is_taken_once_however_often_it_comes() -> None:
    hook = Receiver()

    assert hook.take(headers(hook.secret), BODY, NOW_S)
    assert hook.take(headers(hook.secret, at_s=NOW_S + 5), BODY, NOW_S + 5)
    assert hook.received() == (Received("e1", "driftline.drift.detected", is_signed=True),)


def test_one_of_several_signatures_is_enough_while_a_secret_is_exchanged() -> None:
    hook, old = Receiver(), new_secret()
    both = headers(old)["webhook-signature"] + " " + headers(hook.secret)["webhook-signature"]

    assert hook.take(headers(hook.secret) | {"webhook-signature": both}, BODY, NOW_S)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"webhook-id": "e2"},
        {"webhook-timestamp": str(NOW_S + 1)},
        {"webhook-timestamp": "yesterday"},
        {"webhook-timestamp": ""},
    ],
)
def test_a_message_with_another_header_is_not_believed(changes: dict[str, str]) -> None:
    hook = Receiver()

    assert not hook.take(headers(hook.secret) | changes, BODY, NOW_S)
    assert [message.is_signed for message in hook.received()] == [False]


def test_another_body_another_secret_and_an_old_message_are_not_believed() -> None:
    hook = Receiver()

    assert not hook.take(headers(hook.secret), BODY + b" ", NOW_S)
    assert not hook.take(headers(new_secret()), BODY, NOW_S)
    assert not hook.take(headers(hook.secret), BODY, NOW_S + AGE_S_MAX + 1)
    assert not hook.take({}, b"\xff not json", NOW_S)


def test_a_forged_message_does_not_keep_the_true_one_out() -> None:
    hook = Receiver()
    hook.take(headers(new_secret()), BODY, NOW_S)

    assert hook.take(headers(hook.secret), BODY, NOW_S)
    assert [message.is_signed for message in hook.received()] == [True]


def test_the_secret_is_in_no_representation() -> None:
    hook = Receiver()

    assert hook.secret not in repr(hook)


@pytest.mark.parametrize("at", ["9" * 5_000, "-1", "", "\N{SUPERSCRIPT TWO}"])
def test_a_time_that_is_none_is_no_reason_to_fail(at: str) -> None:
    hook = Receiver()

    assert not hook.take(headers(hook.secret) | {"webhook-timestamp": at}, b"[" * 100_000, NOW_S)
    assert hook.received() == (Received("e1", "", is_signed=False),)
