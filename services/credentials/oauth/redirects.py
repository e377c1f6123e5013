"""Where a provider may send the user's browser: the addresses that the operator has allowed, and no other.

They are compared letter by letter. Of an address on the loopback without a port any port is allowed (RFC 8252, 7.3):
what listens there took a free one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.credentials.providers.definitions import is_loopback

MAX_CHARACTERS = 2_000
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(/[^?#]*)?")
_PORT = re.compile(r":([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class RedirectUris:
    """The addresses that are allowed."""

    allowed: Sequence[str]

    @classmethod
    def parse(cls, text: str) -> "RedirectUris":
        """Addresses with spaces or commas between them; a ValueError says which is none."""
        allowed = [word for word in re.split(r"[\s,]+", text) if word]
        for uri in allowed:
            _check(uri)
        return cls(tuple(allowed))

    def allows(self, uri: str) -> bool:
        """Whether it is one of them."""
        if len(uri) > MAX_CHARACTERS:
            return False
        return uri in self.allowed or any(_is_loopback_of(uri, one) for one in self.allowed)


def _is_loopback_of(uri: str, allowed: str) -> bool:
    match = _LOOPBACK.fullmatch(allowed)
    if match is None:
        return False
    origin, path = match.group(1), match.group(2) or ""
    if not uri.startswith(origin) or not uri.endswith(path):
        return False
    port = _PORT.fullmatch(uri[len(origin) : len(uri) - len(path)])
    return port is not None and int(port.group(1)) <= 65_535


def _check(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError(f"{uri}: expected an address that begins with https://, or http:// and a loopback host")
    if not parts.hostname or "@" in parts.netloc or "#" in uri or "*" in uri or not uri.isascii():
        raise ValueError(f"{uri}: expected a full address without user, fragment and wildcards")
