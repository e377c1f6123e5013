"""Keys that this process has in its memory, and what both of their providers do alike."""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.credentials.envelope import KEY_BYTES, NONCE_BYTES
from services.credentials.keys import KeyMissing, NotUnwrapped

KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Ids of keys: such are names of files, and of entries of a Kubernetes Secret."""


class KeyMalformed(ValueError):
    """What stands there is no key; the message says what was expected, and never what was found."""


def read_key(key_id: str, text: str) -> bytes:
    """The key that a text holds: 32 bytes in base64."""
    if not KEY_ID.fullmatch(key_id):
        raise KeyMalformed(f"{key_id!r} is no id of a key: 1 to 100 of A-Z a-z 0-9 . _ - are expected")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise KeyMalformed(f'the key "{key_id}" is not base64') from None
    if len(key) != KEY_BYTES:
        raise KeyMalformed(f'the key "{key_id}" has {len(key)} bytes in base64, {KEY_BYTES} are expected')
    return key


def wrap_with(keys: Mapping[str, bytes], key_id: str, data_key: bytes, context: bytes) -> bytes:
    """A data key, encrypted by AES-256-GCM: nonce and ciphertext. Bound to the context and to the key's id."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(_key(keys, key_id)).encrypt(nonce, data_key, _bound(key_id, context))


def unwrap_with(keys: Mapping[str, bytes], key_id: str, wrapped: bytes, context: bytes) -> bytes:
    """The data key."""
    key = _key(keys, key_id)
    if len(wrapped) <= NONCE_BYTES:
        raise NotUnwrapped
    try:
        return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(key_id, context))
    except InvalidTag:
        raise NotUnwrapped from None


def _key(keys: Mapping[str, bytes], key_id: str) -> bytes:
    key = keys.get(key_id)
    if key is None:
        raise KeyMissing(key_id)
    return key


def _bound(key_id: str, context: bytes) -> bytes:
    name = key_id.encode()
    return len(name).to_bytes(4) + name + context
