"""Envelope encryption: a fresh data key encrypts one thing, and is wrapped itself by a key-encryption key.

AES-256-GCM throughout. A context is bound to everything that is encrypted: a secret that was moved to another user,
credential or version does not open.
"""

import secrets
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


class NotOpened(Exception):
    """The key does not open this: it was changed, or is bound to another context."""


def secret_context(user_id: str, credential_id: UUID, version: int) -> bytes:
    """What a secret is bound to. The lengths stand in it, so that no two contexts have the same bytes."""
    user = user_id.encode()
    return b"blockyard secret 1\0" + len(user).to_bytes(4) + user + credential_id.bytes + version.to_bytes(8)


def fresh_key() -> bytes:
    """A data key; each encrypts one thing."""
    return secrets.token_bytes(KEY_BYTES)


def encrypt(key: bytes, data: bytes, context: bytes) -> tuple[bytes, bytes]:
    """A fresh nonce, and the ciphertext with its tag."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce, AESGCM(key).encrypt(nonce, data, context)


def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, context: bytes) -> bytes:
    """What was encrypted, if nothing of it was changed; raises NotOpened."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES or len(ciphertext) < TAG_BYTES:
        raise NotOpened
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, context)
    except InvalidTag:
        raise NotOpened from None
