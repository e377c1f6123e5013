"""Page tokens: opaque to clients, made only here, and good only for the method and filters they were made for."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

import orjson
from blockyard.common.v1 import errors_pb2

from services.common.errors import InvalidArgument, Violation

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 1000

_SIGNATURE_BYTES = 16


class PageTokenInvalid(InvalidArgument):
    """The page token was not made by this method with these filters. Start again without one."""

    reason = errors_pb2.ERROR_REASON_PAGE_TOKEN_INVALID


Position = Sequence[str | int]
"""The sort key of a page's last row."""


def encode_page_token(secret: str, scope: str, position: Position) -> str:
    """A token for the page after `position`. `scope` names the method, the user and the filters."""
    payload = orjson.dumps(list(position))
    return base64.urlsafe_b64encode(_signature(secret, scope, payload) + payload).decode().rstrip("=")


def decode_page_token(secret: str, scope: str, token: str) -> list[str | int]:
    """The position that a token stands for, as it was given to encode_page_token."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise PageTokenInvalid(violations=_violations()) from None
    signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(secret, scope, payload)):
        raise PageTokenInvalid(violations=_violations())
    position: list[str | int] = orjson.loads(payload)
    return position


def page_size(requested: int, default: int = DEFAULT_PAGE_SIZE, largest: int = LARGEST_PAGE_SIZE) -> int:
    """The size to use: the default for 0, the largest for more than that (AIP-158)."""
    if requested < 0:
        raise InvalidArgument(violations=[Violation("page_size", f"must not be negative, got {requested}")])
    return min(requested or default, largest)


def _violations() -> list[Violation]:
    return [Violation("page_token", "was not made by this method with these filters")]


def _signature(secret: str, scope: str, payload: bytes) -> bytes:
    # A key of its own: a token must never pass for anything else that is signed with the same secret.
    key = hashlib.sha256(b"blockyard page token\0" + secret.encode()).digest()
    message = len(scope.encode()).to_bytes(4, "big") + scope.encode() + payload
    return hmac.digest(key, message, "sha256")[:_SIGNATURE_BYTES]
