"""Whether a delivery is of somebody who knows the secret. Pure: headers, body, secrets and the time come in.

What a delivery claims is read first, and then held against secrets: those that are made here, or one in the vault,
which compares it itself (senders.py). Nobody is told which part was wrong, and every comparison takes the same time.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from services.execution.webhooks.records import Kind
from services.execution.webhooks.secrets import STANDARD_PREFIX

TOLERANCE_SECONDS = 300
"""How far the time stamp of a signed delivery may lie from now, on either side."""
MOST_SIGNATURES = 10
"""In one header: senders that rotate their secret send two."""

_SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a delivery shows for knowing the secret: signatures of something, or the digest of the secret itself."""

    signed: bytes = b""
    signatures: tuple[bytes, ...] = ()
    """HMAC-SHA256; one that is right will do."""
    digest: bytes = b""
    as_text: bool = False
    """Whether the key is the text of the secret, whatever that looks like."""


def delivery_id(kind: Kind, headers: Mapping[str, str]) -> str:
    """The id that an authentic delivery has; empty if it has none."""
    if kind is Kind.GITHUB:
        return headers.get("x-github-delivery", "")
    return headers.get("webhook-id", "") or headers.get("idempotency-key", "")


def claim_of(kind: Kind, headers: Mapping[str, str], body: bytes, now: float) -> Claim | None:
    """What a delivery claims; `now` is in seconds since 1970. None if that cannot be right, whatever the secret is.

    A signature that is there has to be right, whatever else is there.
    """
    if kind is Kind.GITHUB:
        scheme, _, text = headers.get("x-hub-signature-256", "").partition("=")
        signature = _of_hex(text) if scheme == "sha256" else b""
        return Claim(body, (signature,), as_text=True) if signature else None
    if "webhook-signature" in headers:
        return _standard_claim(headers, body, now)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    return Claim(digest=hashlib.sha256(token.strip().encode()).digest())


def holds(claim: Claim, secrets: Iterable[SecretStr]) -> bool:
    """Whether whoever claims that knows one of the secrets, which were made here and are valid now."""
    return any(_knows(claim, one.get_secret_value()) for one in secrets)


def _knows(claim: Claim, text: str) -> bool:
    known = bool(claim.digest) and hmac.compare_digest(hashlib.sha256(text.encode()).digest(), claim.digest)
    expected = hmac.digest(_key(text, claim.as_text), claim.signed, "sha256")
    for signature in claim.signatures:
        known |= hmac.compare_digest(signature, expected)
    return known


def _standard_claim(headers: Mapping[str, str], body: bytes, now: float) -> Claim | None:
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not _SECONDS.fullmatch(timestamp) or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return None
    # Any of them may be of another version, or of a secret that is not known here.
    given = [one.partition(",") for one in headers["webhook-signature"].split()[:MOST_SIGNATURES]]
    signatures = tuple(filter(None, (_of_base64(text) for version, _, text in given if version == "v1")))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return Claim(signed, signatures) if signatures else None


def _key(secret: str, as_text: bool) -> bytes:
    if not as_text and secret.startswith(STANDARD_PREFIX):
        return base64.b64decode(secret.removeprefix(STANDARD_PREFIX))
    return secret.encode()


def _of_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _of_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
