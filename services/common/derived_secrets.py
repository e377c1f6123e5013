"""Secrets that others share with us (of webhooks), made anew whenever they are needed, so that no row holds one.

A secret is HKDF-SHA256 (RFC 5869) of a key of the operator's, of what it is for and of the names of what it belongs to.
What a row keeps is the fingerprint of the key: whoever has changed the keys is told which secrets went with them, and a
secret of one key never passes for that of another.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, SecretStr

FINGERPRINT_BYTES = 6
SHORTEST_KEY = 32


def _each_is_long(keys: SecretStr) -> SecretStr:
    if any(len(key) < SHORTEST_KEY for key in _parted(keys)):
        raise ValueError(f"each key needs at least {SHORTEST_KEY} characters")
    return keys


def _parted(keys: SecretStr) -> list[str]:
    return [key.strip() for key in keys.get_secret_value().split(",") if key.strip()]


DerivingKeys = Annotated[SecretStr, AfterValidator(_each_is_long)]
"""A setting: keys of the operator's, parted by commas."""


class KeyGone(Exception):
    """The key that a secret was made from is none of the operator's any more."""


class DerivedSecrets:
    """The secrets for one purpose. New ones are made from the first key; the others still count."""

    def __init__(self, keys: DerivingKeys, service_secret: SecretStr, purpose: str) -> None:
        """Without keys the services' secret is the one."""
        texts = _parted(keys) or [service_secret.get_secret_value()]
        extracted = [hmac.digest(f"blockyard {purpose}".encode(), text.encode(), "sha256") for text in texts]
        self._keys: Mapping[str, bytes] = {_fingerprint(key): key for key in extracted}
        self.newest = _fingerprint(extracted[0])
        """Fingerprint of the first key."""

    def derive(self, fingerprint: str, *names: str) -> bytes:
        """The 32 bytes for these names; raises KeyGone."""
        key = self._keys.get(fingerprint)
        if key is None:
            raise KeyGone
        # Each name with its length: no two lists of names are the same bytes.
        info = b"".join(len(name.encode()).to_bytes(4, "big") + name.encode() for name in names)
        return hmac.digest(key, info + b"\x01", "sha256")


def _fingerprint(key: bytes) -> str:
    return hashlib.sha256(b"fingerprint\0" + key).hexdigest()[: 2 * FINGERPRINT_BYTES]
