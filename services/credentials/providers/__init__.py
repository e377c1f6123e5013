"""The providers that the vault knows, and with which of them it may speak for users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from services.credentials.errors import ProviderNotConfigured
from services.credentials.providers.clients import OAuthClient, load_clients
from services.credentials.providers.definitions import OAuth2, ProviderDefinition
from services.credentials.providers.loading import load_definitions


@dataclass(frozen=True, slots=True)
class Connection:
    """A provider that accounts can be connected at."""

    provider: ProviderDefinition
    oauth2: OAuth2
    client: OAuthClient


class Providers:
    """All of them; they are read once, at the start."""

    def __init__(self, definitions: Mapping[str, ProviderDefinition], clients: Mapping[str, OAuthClient]) -> None:
        self._definitions = dict(definitions)
        self._clients = dict(clients)

    @classmethod
    def load(cls, files: Path | None, clients: SecretStr, clients_folder: Path | None) -> "Providers":
        """From what comes with the vault and what an operator has set; a StartRefused says what is wrong."""
        definitions = load_definitions(files)
        return cls(definitions, load_clients(clients, clients_folder, definitions))

    def all(self) -> Sequence[ProviderDefinition]:
        """By name."""
        return [self._definitions[name] for name in sorted(self._definitions)]

    def find(self, name: str) -> ProviderDefinition | None:
        """The provider of that name."""
        return self._definitions.get(name)

    def is_connectable(self, name: str) -> bool:
        """Whether accounts can be connected there: the provider has OAuth 2, and the vault has a client."""
        return name in self._clients

    def connection(self, name: str) -> Connection:
        """What it takes to connect accounts; raises ProviderNotConfigured."""
        definition = self._definitions.get(name)
        if definition is None or definition.oauth2 is None:
            raise ProviderNotConfigured(
                f'provider: the vault connects no accounts at "{name[:100]}"; ListProviders has those it can.'
            )
        if name not in self._clients:
            raise ProviderNotConfigured(
                f'provider: the vault has no client id for "{name}"; an operator sets it in BLOCKYARD_OAUTH_CLIENTS.'
            )
        return Connection(definition, definition.oauth2, self._clients[name])
