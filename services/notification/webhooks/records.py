"""The values of webhooks."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID, uuid5

from blockyard.event.v1.event_pb2 import Event, EventBatch

_NAMESPACE = UUID("6f1d3a52-4d0f-5c55-9d57-1f6f0a2f7a11")


class State(IntEnum):
    """Of a webhook; the numbers are those of the contract."""

    ACTIVE = 1
    PAUSED = 2
    DISABLED = 3


class DisableReason(IntEnum):
    """Why a webhook is disabled; the numbers are those of the contract."""

    NONE = 0
    OWNER = 1
    GONE = 2
    FAILING = 3
    BACKLOG = 4
    SECRET_LOST = 5


class DeliveryState(IntEnum):
    """Of a delivery; the numbers are those of the contract."""

    PENDING = 1
    DELIVERED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are sent. What is empty excludes nothing."""

    graph_ids: tuple[str, ...] = ()
    execution_ids: tuple[str, ...] = ()
    kinds: tuple[int, ...] = ()

    def fits(self, batch: EventBatch) -> bool:
        """Whether something of a turn may be wanted."""
        if self.execution_ids and batch.execution_id not in self.execution_ids:
            return False
        return not self.graph_ids or batch.graph_id in self.graph_ids

    def wants(self, event: Event) -> bool:
        """Whether an event of a turn that fits is wanted."""
        return not self.kinds or event.kind in self.kinds


@dataclass(frozen=True, slots=True)
class Content:
    """What an owner says of a webhook."""

    url: str
    description: str = ""
    filter: Filter = Filter()
    state: State = State.ACTIVE


@dataclass(frozen=True, slots=True)
class Secrets:
    """From what the secrets of a webhook are made: generation `generation`, and for a while the one before."""

    generation: int
    key: str
    """Fingerprint of the operator's key."""
    previous_key: str = ""
    previous_expire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """How far a replay is."""

    done: bool
    queued: int
    message: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Health:
    """What became of a webhook's deliveries of late, and how many wait."""

    pending: int = 0
    last_success_time: datetime | None = None
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as its row has it."""

    webhook_id: UUID
    user_id: str
    content: Content
    disable_reason: DisableReason
    disable_message: str
    state_time: datetime
    resume_cursor: str
    secrets: Secrets
    create_time: datetime
    update_time: datetime
    health: Health = Health()
    replay: Replay | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """A webhook that is sent what a user's executions do."""

    webhook_id: UUID
    user_id: str
    url: str
    filter: Filter
    pending: int
    pending_bytes: int


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """An event for a webhook."""

    delivery_id: UUID
    """The header webhook-id: the same however often the event is taken in."""
    webhook_id: UUID
    event_id: str
    event_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that something was sent."""

    number: int
    time: datetime
    status: int
    """0 if there was no answer."""
    milliseconds: int
    error: str
    """Empty if it succeeded."""
    response: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as the log shows it."""

    delivery_id: UUID
    webhook_id: UUID
    event_id: str
    event_type: str
    state: DeliveryState
    create_time: datetime
    due_time: datetime
    attempts: tuple[Attempt, ...] = ()
    """The last ones, oldest first."""


def delivery_id(webhook_id: UUID, event_id: str) -> UUID:
    """Of an event for a webhook."""
    return uuid5(_NAMESPACE, f"{webhook_id} {event_id}")
