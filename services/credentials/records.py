"""Credentials and their secrets as values. What is secret in them is never printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from uuid import UUID

Parts = Mapping[str, object]
"""A secret as a JSON object of its parts, by the kind of the credential:

api_key: "api_key". oauth2: "access_token", "token_type", and "refresh_token" if there is one. user_password:
"username", "password". host_scoped: "host" and "headers", an object of names and values.
"""


class CredentialType(IntEnum):
    """Kinds of credentials, by their numbers in the contract and in the tables."""

    API_KEY = 1
    OAUTH2 = 2
    USER_PASSWORD = 3
    HOST_SCOPED = 4

    @property
    def word(self) -> str:
        """As schemas of blocks write it: "api_key"."""
        return self.name.lower()


class CredentialState(IntEnum):
    """Whether a credential can be used, by the numbers of the contract.

    That its time is over stands in no row, except of tokens that cannot be refreshed.
    """

    ACTIVE = 1
    EXPIRED = 2
    REVOKED = 3
    UNREADABLE = 4


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A credential without its secret."""

    credential_id: UUID
    user_id: str
    provider: str
    type: CredentialType
    title: str
    version: int
    scopes: Sequence[str]
    account_name: str
    host: str
    header_names: Sequence[str]
    expire_time: datetime | None
    state: CredentialState
    state_reason: str
    create_time: datetime
    update_time: datetime
    last_use_time: datetime | None
    uses: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A credential with the parts of its secret, both of the same version."""

    record: CredentialRecord
    parts: Parts = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential to be kept, as version 1."""

    user_id: str
    provider: str
    type: CredentialType
    title: str
    parts: Parts = field(repr=False)
    scopes: Sequence[str] = ()
    account_name: str = ""
    host: str = ""
    header_names: Sequence[str] = ()
    expire_time: datetime | None = None
    request_id: str = ""
    """The same id of the same user keeps one credential; empty for none."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """Something encrypted, with its data key wrapped by the key of that id."""

    key_id: str
    wrapped_key: bytes
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A credential and the secret of its version; None if the secret is not there."""

    record: CredentialRecord
    sealed: Sealed | None
