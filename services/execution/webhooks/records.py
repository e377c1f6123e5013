"""Triggers and their deliveries as values."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any
from uuid import UUID


class Kind(IntEnum):
    """How a sender proves who it is: a TriggerKind."""

    GENERIC = 1
    GITHUB = 2


class Outcome(IntEnum):
    """What became of a delivery: a TriggerDeliveryOutcome."""

    STARTED = 1
    DUPLICATE = 2
    FILTERED = 3
    PING = 4
    REFUSED = 5
    DISABLED = 6
    FAILED = 7


@dataclass(frozen=True, slots=True)
class Condition:
    """What must stand at a place of a payload."""

    path: tuple[str, ...]
    equals: Any  # a JSON value


@dataclass(frozen=True, slots=True)
class TriggerContent:
    """What the owner of a trigger says and may change."""

    name: str
    template: bytes
    """A message blockyard.execution.v1.StartTemplate, as templates.stored() has it."""
    events: tuple[str, ...]
    conditions: tuple[Condition, ...]
    disabled: bool
    secret_credential_id: str = ""
    """Of the credential that holds the secret; empty where it is made here."""


@dataclass(frozen=True, slots=True)
class SecretState:
    """Which secrets of a trigger are valid. None of them is here: see secrets.py."""

    key_id: str
    """Of the key that the present one is made from."""
    generation: int
    previous_key_id: str
    previous_until: datetime | None
    """Until then the one of the generation before, which is made from that key, is valid too."""


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """A stored trigger."""

    trigger_id: str
    user_id: str
    kind: Kind
    content: TriggerContent
    graph_id: str
    """That it starts: of a preset, as it was stored. Empty if nobody has looked since there is such a column."""
    secret: SecretState
    version: int
    """Rises with each change."""
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """A trigger to be stored."""

    trigger_id: str
    user_id: str
    kind: Kind
    content: TriggerContent
    graph_id: str
    """That it starts: of a preset, as it is now."""
    key_id: str
    request_id: str | None
    request_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came to a trigger, and what became of it."""

    delivery_id: str
    """As the sender says; empty if it does not, or if it is not known who it was."""
    event: str
    outcome: Outcome
    reason: str = ""
    execution_id: UUID | None = None
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as it is listed."""

    delivery: Delivery
    number: int
    """Rises from one that came to the next."""
    receive_time: datetime
    receipts: int


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page of triggers begins: below this place."""

    create_time: datetime
    trigger_id: str


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Where a page of deliveries begins: below this place."""

    receive_time: datetime
    number: int
