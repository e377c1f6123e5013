"""Makes the provider of keys that a setting names."""

import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import orjson
from pydantic import SecretStr

from services.common.errors import StartRefused
from services.credentials.config import CredentialsSettings
from services.credentials.keys import KeyProvider
from services.credentials.keys.environment import EnvironmentKeys
from services.credentials.keys.folder import FolderKeys
from services.credentials.keys.local import KeyMalformed
from services.credentials.keys.transit import TransitAccess, TransitKeys

EXPECTED = (
    'BLOCKYARD_VAULT_KEYS_URL: expected "file:///folder", "env:" or "https://host:port/mount/name" of a transit engine'
)


def open_keys(settings: CredentialsSettings) -> KeyProvider:
    """The provider; a StartRefused says what is wrong with its settings."""
    url = settings.vault_keys_url
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme == "file" and not parts.netloc and path.startswith("/") and not parts.query:
        return FolderKeys(Path(path))
    if url == "env:":
        return _environment(settings.vault_keys)
    mount, _, name = path.strip("/").rpartition("/")
    if parts.scheme in ("http", "https") and parts.hostname and mount and name and not (parts.query or parts.username):
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise StartRefused("BLOCKYARD_VAULT_KEYS_URL: keys travel over https alone; http is for this machine.")
        base = f"{parts.scheme}://{parts.netloc}"
        return TransitKeys(
            TransitAccess(
                base,
                mount,
                name,
                settings.vault_keys_token,
                settings.vault_keys_token_file,
                settings.vault_keys_timeout_seconds,
                _trusted(settings.vault_keys_ca),
            )
        )
    raise StartRefused(f"{EXPECTED}.")


def _trusted(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise StartRefused(f"BLOCKYARD_VAULT_KEYS_CA: {authority} cannot be read: {error}.") from error


def _environment(keys: SecretStr) -> EnvironmentKeys:
    try:
        texts = orjson.loads(keys.get_secret_value())
    except orjson.JSONDecodeError:
        texts = None
    if not isinstance(texts, dict) or not texts or not all(isinstance(text, str) for text in texts.values()):
        raise StartRefused(
            'BLOCKYARD_VAULT_KEYS: expected {"<key id>": "<32 bytes in base64>"}, with one key at least.'
        )
    try:
        return EnvironmentKeys(texts)
    except KeyMalformed as error:
        raise StartRefused(f"BLOCKYARD_VAULT_KEYS: {error}.") from error
