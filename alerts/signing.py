"""How does a receiver know that a message is ours and was not changed on its way?

As the Standard Webhooks specification (version 1, symmetric) has it: HMAC-SHA256 over `id.timestamp.body`, with the
bytes that the secret holds. Pure; docs/webhooks.md tells receivers how to verify it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def signed_headers(key: bytes, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a signed message.

    Parameters
    ----------
    key
        The decoded secret, 24 to 64 bytes.
    message_id
        Repeats when the message does.
    at_s
        When it is sent, in seconds since 1970 UTC: receivers refuse what is minutes old.

    Examples
    --------
    The example of the specification:

    >>> key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> headers = signed_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    >>> headers["webhook-signature"]
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = b".".join((message_id.encode(), str(at_s).encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(at_s), "webhook-signature": f"v1,{signature}"}
