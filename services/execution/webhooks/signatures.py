"""Whether a delivery is of somebody who knows the secret. Pure: headers, body, secrets and the time come in.

Nobody is told which part was wrong, and every comparison takes the same time whatever stands there.
"""

import base64
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence

from pydantic import SecretStr

from services.execution.webhooks.records import Kind
from services.execution.webhooks.secrets import STANDARD_PREFIX

TOLERANCE_SECONDS = 300
"""How far the time stamp of a signed delivery may lie from now, on either side."""
MOST_SIGNATURES = 10
"""In one header: senders that rotate their secret send two."""

_SECONDS = re.compile(r"[0-9]{1,12}")


def delivery_id(kind: Kind, headers: Mapping[str, str]) -> str:
    """The id that an authentic delivery has; empty if it has none."""
    if kind is Kind.GITHUB:
        return headers.get("x-github-delivery", "")
    return headers.get("webhook-id", "") or headers.get("idempotency-key", "")


def is_authentic(kind: Kind, headers: Mapping[str, str], body: bytes, secrets: Sequence[SecretStr], now: float) -> bool:
    """Whether one of the secrets, which are those valid now, has signed the body or stands in a header; `now` is in
    seconds since 1970. A signature that is there has to be right, whatever else is there."""
    if kind is Kind.GITHUB:
        return _is_githubs(headers, body, secrets)
    if "webhook-signature" in headers:
        return _is_signed(headers, body, secrets, now)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and _equals_one(token.strip(), (one.get_secret_value() for one in secrets))


def standard_signature(secret: SecretStr, message_id: str, timestamp: int, body: bytes) -> str:
    """A signature after the Standard Webhooks specification."""
    key = base64.b64decode(secret.get_secret_value().removeprefix(STANDARD_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def github_signature(secret: SecretStr, body: bytes) -> str:
    """As GitHub signs."""
    return "sha256=" + hmac.digest(secret.get_secret_value().encode(), body, "sha256").hex()


def _is_signed(headers: Mapping[str, str], body: bytes, secrets: Sequence[SecretStr], now: float) -> bool:
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not _SECONDS.fullmatch(timestamp) or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    expected = [standard_signature(one, message_id, int(timestamp), body) for one in secrets]
    given = headers["webhook-signature"].split()
    # Any of them may be of another version, or of a secret that is not known here.
    return any(_equals_one(one, expected) for one in given[:MOST_SIGNATURES])


def _is_githubs(headers: Mapping[str, str], body: bytes, secrets: Sequence[SecretStr]) -> bool:
    return _equals_one(headers.get("x-hub-signature-256", ""), [github_signature(one, body) for one in secrets])


def _equals_one(given: str, expected: Iterable[str]) -> bool:
    found = False
    for one in expected:
        found |= hmac.compare_digest(given.encode(), one.encode())
    return found
