"""The vault's own ids and secrets at the providers, as an operator has got them there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.common.errors import StartRefused
from services.credentials.providers.definitions import Authentication, ProviderDefinition

VARIABLE = "BLOCKYARD_OAUTH_CLIENTS"
FOLDER_VARIABLE = "BLOCKYARD_OAUTH_CLIENTS_FOLDER"


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """What the provider knows the vault by."""

    client_id: str
    client_secret: SecretStr


def load_clients(
    text: SecretStr, folder: Path | None, definitions: Mapping[str, ProviderDefinition]
) -> dict[str, OAuthClient]:
    """Clients by provider, of the variable and of the folder's files `<provider>.json`, which win.

    A StartRefused says what is wrong, and never a value.
    """
    sources: dict[str, tuple[str, Any]] = {}  # Any: JSON until it is checked
    for provider, content in _object(text.get_secret_value() or "{}", VARIABLE).items():
        sources[provider] = (f"{VARIABLE}: {provider}", content)
    for file in _files(folder):
        try:
            content = file.read_text()
        except (OSError, UnicodeDecodeError):
            raise StartRefused(f"{FOLDER_VARIABLE}: {file.name} cannot be read; give the service the right.") from None
        sources[file.stem] = (f"{FOLDER_VARIABLE}: {file.name}", _object(content, f"{FOLDER_VARIABLE}: {file.name}"))
    return {
        provider: _client(place, content, definitions.get(provider)) for provider, (place, content) in sources.items()
    }


def _files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise StartRefused(f"{FOLDER_VARIABLE}: {folder} is no folder; mount it, or leave the setting out.")
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _object(text: str, place: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise StartRefused(f'{place}: expected a JSON object, as {{"client_id": "…", "client_secret": "…"}} has it.')
    return content


def _client(place: str, content: Any, definition: ProviderDefinition | None) -> OAuthClient:
    if definition is None or definition.oauth2 is None:
        raise StartRefused(f"{place}: there is no such provider with oauth2; add its file, or take this out.")
    if not isinstance(content, dict) or not content.keys() <= {"client_id", "client_secret"}:
        raise StartRefused(f"{place}: expected an object with client_id and client_secret.")
    client_id, secret = content.get("client_id"), content.get("client_secret", "")
    if not isinstance(client_id, str) or not isinstance(secret, str) or not client_id or not client_id.isprintable():
        raise StartRefused(f"{place}: client_id and client_secret are texts, and client_id is not empty.")
    if definition.oauth2.authentication is not Authentication.NONE and not secret:
        raise StartRefused(f"{place}: client_secret is missing; the provider wants one.")
    return OAuthClient(client_id, SecretStr(secret))
