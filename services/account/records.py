"""Users and their API keys, as the rest of the service handles them."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.common.permissions import Permission, Role


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may call, or might."""

    user_id: str
    name: str
    email: str
    role: Role
    role_set: bool
    """An administrator has set the role: it follows the tokens no more."""
    time_zone: str
    active: bool
    low_balance: int
    create_time: datetime
    update_time: datetime
    last_seen_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user whom an administrator makes, or whose first call this is."""

    user_id: str
    role: Role
    role_set: bool
    name: str = ""
    email: str = ""
    time_zone: str = ""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key for programs, without the key."""

    api_key_id: UUID
    user_id: str
    name: str
    prefix: str
    permissions: frozenset[Permission]
    create_time: datetime
    last_use_time: datetime | None
    expire_time: datetime | None
    revoke_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that is made."""

    api_key_id: UUID
    user_id: str
    name: str
    prefix: str
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)
    permissions: frozenset[Permission]
    expire_time: datetime | None
    made_by: UUID | None = None
    """The key that makes it, if one does."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A key with what is needed to check it, and its user."""

    api_key_id: UUID
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)
    permissions: frozenset[Permission]
    valid: bool
    """Neither revoked nor expired, by the clock of the database."""
    seconds_left: float | None
    """Until it expires."""
    user_id: str
    role: Role
    active: bool
