"""Credentials, as the vault answers them, and secrets on their way into it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

from blockyard.credentials.v1 import credential_pb2
from blockyard.credentials.v1 import credentials_service_pb2 as messages
from blockyard.records import moment

if TYPE_CHECKING:
    from pydantic import SecretStr  # a quarter of what a client would import


class CredentialType(Enum):
    """Kinds of credentials. Blocks and the command line write them in small letters."""

    UNSPECIFIED = 0
    API_KEY = 1
    OAUTH2 = 2
    USER_PASSWORD = 3
    HOST_SCOPED = 4
    UNKNOWN = -1
    """Newer than this package."""

    @classmethod
    def _missing_(cls, value: object) -> "CredentialType":
        return cls.UNKNOWN


class CredentialState(Enum):
    """Whether a credential can be used."""

    UNSPECIFIED = 0
    ACTIVE = 1
    EXPIRED = 2
    REVOKED = 3
    UNREADABLE = 4
    UNKNOWN = -1
    """Newer than this package."""

    @classmethod
    def _missing_(cls, value: object) -> "CredentialState":
        return cls.UNKNOWN


class TestVerdict(Enum):
    """Whether a provider takes a credential. UNKNOWN: it offers no way to ask, or could not be asked."""

    __test__ = False  # pytest would take it for tests

    UNSPECIFIED = 0
    VALID = 1
    INVALID = 2
    UNKNOWN = 3

    @classmethod
    def _missing_(cls, value: object) -> "TestVerdict":
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class ApiKeySecret:
    """One secret text."""

    api_key: "str | SecretStr" = field(repr=False)

    def to_proto(self) -> credential_pb2.CredentialSecret:
        """The message."""
        return credential_pb2.CredentialSecret(api_key=_revealed(self.api_key))


@dataclass(frozen=True, slots=True)
class UserPasswordSecret:
    """A user name and a password."""

    username: str
    password: "str | SecretStr" = field(repr=False)

    def to_proto(self) -> credential_pb2.CredentialSecret:
        """The message."""
        pair = credential_pb2.UserPassword(username=self.username, password=_revealed(self.password))
        return credential_pb2.CredentialSecret(user_password=pair)


@dataclass(frozen=True, slots=True)
class HostHeadersSecret:
    """Headers by name for requests to a host: `api.example.com`, `*.example.com`, either with `:port`."""

    host: str
    headers: "Mapping[str, str | SecretStr]" = field(repr=False)

    def to_proto(self) -> credential_pb2.CredentialSecret:
        """The message."""
        headers = {name: _revealed(value) for name, value in self.headers.items()}
        return credential_pb2.CredentialSecret(host_headers=credential_pb2.HostHeaders(host=self.host, headers=headers))


CredentialSecret = ApiKeySecret | UserPasswordSecret | HostHeadersSecret


def _revealed(secret: "str | SecretStr") -> str:
    return secret if isinstance(secret, str) else secret.get_secret_value()


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A credential without its secret, which nobody can ask for."""

    id: str
    provider: str
    type: CredentialType
    title: str
    user_id: str
    version: int
    """One more whenever the secret is replaced or refreshed."""
    scopes: tuple[str, ...]
    account_name: str
    host: str
    header_names: tuple[str, ...]
    expires: datetime | None
    state: CredentialState
    state_reason: str
    """Why it cannot be used, and what to do."""
    created: datetime | None
    updated: datetime | None
    last_used: datetime | None
    uses: int

    @classmethod
    def from_proto(cls, proto: credential_pb2.Credential) -> "CredentialRecord":
        """The value of a message."""
        return cls(
            id=proto.id,
            provider=proto.provider,
            type=CredentialType(proto.type),
            title=proto.title,
            user_id=proto.user_id,
            version=proto.version,
            scopes=tuple(proto.scopes),
            account_name=proto.account_name,
            host=proto.host,
            header_names=tuple(proto.header_names),
            expires=moment(proto, "expire_time"),
            state=CredentialState(proto.state),
            state_reason=proto.state_reason,
            created=moment(proto, "create_time"),
            updated=moment(proto, "update_time"),
            last_used=moment(proto, "last_use_time"),
            uses=proto.uses,
        )


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """A place that names a credential: a preset, trigger or schedule, or a pin of a node, of a graph or an execution
    that has not ended."""

    graph_id: str
    graph_version: int
    node_id: str
    pin: str
    execution_id: str
    preset_id: str = ""
    trigger_id: str = ""
    schedule_id: str = ""

    def __str__(self) -> str:
        if self.trigger_id or self.schedule_id:
            return f"trigger {self.trigger_id}" if self.trigger_id else f"schedule {self.schedule_id}"
        if self.preset_id:
            return f"preset {self.preset_id} of graph {self.graph_id}"
        graph = f"graph {self.graph_id} version {self.graph_version}" if self.graph_id else "a run of a block"
        execution = f" in execution {self.execution_id}" if self.execution_id else ""
        return f"{graph}, {self.node_id}.{self.pin}{execution}"

    @classmethod
    def from_proto(cls, proto: credential_pb2.CredentialUse) -> "CredentialUse":
        """The value of a message."""
        return cls(
            proto.graph_id,
            proto.graph_version,
            proto.node_id,
            proto.pin,
            proto.execution_id,
            proto.preset_id,
            proto.trigger_id,
            proto.schedule_id,
        )


@dataclass(frozen=True, slots=True)
class CredentialProviderRecord:
    """A provider that the vault is configured for."""

    name: str
    title: str
    types: tuple[CredentialType, ...]
    oauth_configured: bool
    default_scopes: tuple[str, ...]
    testable: bool

    @classmethod
    def from_proto(cls, proto: credential_pb2.CredentialProvider) -> "CredentialProviderRecord":
        """The value of a message."""
        return cls(
            name=proto.name,
            title=proto.title,
            types=tuple(CredentialType(one) for one in proto.types),
            oauth_configured=proto.oauth_configured,
            default_scopes=tuple(proto.default_scopes),
            testable=proto.testable,
        )


@dataclass(frozen=True, slots=True)
class CredentialTest:
    """What a provider said of a credential."""

    verdict: TestVerdict
    message: str


@dataclass(frozen=True, slots=True)
class Authorization:
    """A connection by OAuth 2 that has begun: `url` is for the user's browser."""

    url: str
    state: str = field(repr=False)
    """What the provider sends back beside the code. It works once."""
    expires: datetime | None

    @classmethod
    def from_proto(cls, proto: messages.StartAuthorizationResponse) -> "Authorization":
        """The value of an answer."""
        return cls(proto.authorization_url, proto.state, moment(proto, "expire_time"))


@dataclass(frozen=True, slots=True)
class VaultKey:
    """A key that wraps secrets, without the key."""

    id: str
    active: bool
    secrets: int
    available: bool
    """Whether the replica that answered can use it."""
    created: datetime | None

    @classmethod
    def from_proto(cls, proto: messages.VaultKey) -> "VaultKey":
        """The value of a message."""
        return cls(proto.id, proto.active, proto.secrets, proto.available, moment(proto, "create_time"))


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far the vault is with wrapping its secrets by another key."""

    key_id: str
    rewrapped: int
    remaining: int
    unreadable_credential_ids: tuple[str, ...]

    @classmethod
    def from_proto(cls, proto: messages.RotateKeysResponse) -> "Rotation":
        """The value of an answer."""
        return cls(proto.key_id, proto.rewrapped, proto.remaining, tuple(proto.unreadable_credential_ids))
