"""Users, API keys, credits and the audit log, as the account service answers them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as messages
from blockyard.records import moment

if TYPE_CHECKING:
    from pydantic import SecretStr


class UserRole(Enum):
    """What a user may do."""

    UNSPECIFIED = 0
    ADMIN = 1
    USER = 2
    VIEWER = 3
    UNKNOWN = -1
    """Newer than this package."""

    @classmethod
    def _missing_(cls, value: object) -> "UserRole":
        return cls.UNKNOWN


class UserState(Enum):
    """Whether a user may call at all."""

    UNSPECIFIED = 0
    ACTIVE = 1
    DISABLED = 2
    UNKNOWN = -1
    """Newer than this package."""

    @classmethod
    def _missing_(cls, value: object) -> "UserState":
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class UserRecord:
    """Somebody who may call."""

    id: str
    name: str
    email: str
    role: UserRole
    time_zone: str
    state: UserState
    low_balance: int
    """Below this balance of credits the user is told once; 0 tells nothing."""
    created: datetime | None
    updated: datetime | None
    last_seen: datetime | None

    @classmethod
    def from_proto(cls, proto: account_pb2.User) -> "UserRecord":
        """The value of a message."""
        return cls(
            id=proto.id,
            name=proto.name,
            email=proto.email,
            role=UserRole(proto.role),
            time_zone=proto.time_zone,
            state=UserState(proto.state),
            low_balance=proto.low_balance,
            created=moment(proto, "create_time"),
            updated=moment(proto, "update_time"),
            last_seen=moment(proto, "last_seen_time"),
        )


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """A key for programs, without the key."""

    id: str
    name: str
    prefix: str
    user_id: str
    permissions: tuple[str, ...]
    """Names of blockyard.account.v1.Permission without their prefix, in small letters: "read_graphs"."""
    created: datetime | None
    last_used: datetime | None
    expires: datetime | None
    revoked: datetime | None

    @classmethod
    def from_proto(cls, proto: account_pb2.ApiKey) -> "ApiKeyRecord":
        """The value of a message."""
        return cls(
            id=proto.id,
            name=proto.name,
            prefix=proto.prefix,
            user_id=proto.user_id,
            permissions=tuple(_permission_name(one) for one in proto.permissions),
            created=moment(proto, "create_time"),
            last_used=moment(proto, "last_use_time"),
            expires=moment(proto, "expire_time"),
            revoked=moment(proto, "revoke_time"),
        )


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was made now. `key` prints as stars; `key.get_secret_value()` is the key, which nobody shows again."""

    record: ApiKeyRecord
    key: "SecretStr"

    @classmethod
    def from_proto(cls, proto: messages.CreateApiKeyResponse) -> "NewApiKey":
        """Reads the message."""
        from pydantic import SecretStr  # here, since it is a quarter of what a client would import

        return cls(ApiKeyRecord.from_proto(proto.api_key), SecretStr(proto.key))


PERMISSIONS = {
    name.removeprefix("PERMISSION_").lower(): account_pb2.Permission.Value(name)
    for name in account_pb2.Permission.keys()  # noqa: SIM118 - an enum of protobuf is no mapping
    if name != "PERMISSION_UNSPECIFIED"
}
"""Numbers of what a key may be allowed, by name."""


def _permission_name(number: account_pb2.Permission.ValueType) -> str:
    return next((name for name, known in PERMISSIONS.items() if known == number), "unknown")


@dataclass(frozen=True, slots=True)
class CreditsRecord:
    """A user's credits."""

    user_id: str
    balance: int
    held: int
    """Part of the balance that is held for executions."""
    spent: int
    enabled: bool
    """False where credits are not counted at all."""

    @classmethod
    def from_proto(cls, proto: account_pb2.Credits) -> "CreditsRecord":
        """The value of a message."""
        return cls(proto.user_id, proto.balance, proto.held, proto.spent, proto.enabled)


class CreditTransactionKind(Enum):
    """Why credits came or went."""

    UNSPECIFIED = 0
    TOP_UP = 1
    CHARGE = 2
    ADJUSTMENT = 3
    UNKNOWN = -1
    """Newer than this package."""

    @classmethod
    def _missing_(cls, value: object) -> "CreditTransactionKind":
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class CreditTransaction:
    """A movement of credits."""

    id: str
    kind: CreditTransactionKind
    amount: int
    balance: int
    """After it."""
    time: datetime | None
    execution_id: str
    graph_id: str
    charges: int
    note: str
    actor: str

    @classmethod
    def from_proto(cls, proto: account_pb2.CreditTransaction) -> "CreditTransaction":
        """The value of a message."""
        return cls(
            id=proto.id,
            kind=CreditTransactionKind(proto.kind),
            amount=proto.amount,
            balance=proto.balance,
            time=moment(proto, "time"),
            execution_id=proto.execution_id,
            graph_id=proto.graph_id,
            charges=proto.charges,
            note=proto.note,
            actor=proto.actor,
        )


@dataclass(frozen=True, slots=True)
class BlockSpending:
    """What was spent on a block."""

    block_id: str
    charges: int
    amount: int


@dataclass(frozen=True, slots=True)
class Spending:
    """What was spent, by block, the costliest first."""

    blocks: tuple[BlockSpending, ...]
    amount: int

    @classmethod
    def from_proto(cls, proto: messages.SummarizeSpendingResponse) -> "Spending":
        """The value of an answer."""
        blocks = tuple(BlockSpending(one.block_id, one.charges, one.amount) for one in proto.blocks)
        return cls(blocks, proto.amount)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, on what, from where, and what came of it."""

    id: str
    time: datetime | None
    actor: str
    api_key_id: str
    action: str
    resource: str
    outcome: str
    address: str
    user_agent: str
    request_id: str
    details: Mapping[str, str]

    @classmethod
    def from_proto(cls, proto: account_pb2.AuditEntry) -> "AuditEntry":
        """The value of a message."""
        return cls(
            id=proto.id,
            time=moment(proto, "time"),
            actor=proto.actor,
            api_key_id=proto.api_key_id,
            action=proto.action,
            resource=proto.resource,
            outcome=proto.outcome,
            address=proto.address,
            user_agent=proto.user_agent,
            request_id=proto.request_id,
            details=dict(proto.details),
        )
