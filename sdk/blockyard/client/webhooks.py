"""Webhooks, through WebhookService: addresses that are sent what the caller's executions do."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from blockyard.calls import Caller
from blockyard.event.v1 import event_pb2
from blockyard.events import EventKind
from blockyard.notification.v1 import webhook_pb2
from blockyard.notification.v1 import webhook_service_pb2 as messages
from blockyard.records import moment, timestamp

if TYPE_CHECKING:
    from blockyard.notification.v1.webhook_service_pb2_grpc import WebhookServiceAsyncStub  # for type checkers alone

TEST_DEADLINE = 90.0
"""Seconds for a test: the endpoint may be as slow as the operator allows."""


class WebhookState(Enum):
    """Whether a webhook is sent anything. While it is paused, what happens waits; disabled, it is not kept for it."""

    ACTIVE = webhook_pb2.WEBHOOK_STATE_ACTIVE
    PAUSED = webhook_pb2.WEBHOOK_STATE_PAUSED
    DISABLED = webhook_pb2.WEBHOOK_STATE_DISABLED


class DeliveryState(Enum):
    """What became of a delivery."""

    PENDING = webhook_pb2.WEBHOOK_DELIVERY_STATE_PENDING
    DELIVERED = webhook_pb2.WEBHOOK_DELIVERY_STATE_DELIVERED
    FAILED = webhook_pb2.WEBHOOK_DELIVERY_STATE_FAILED


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """A webhook. Empty filters exclude nothing."""

    id: str
    url: str
    description: str
    graphs: tuple[str, ...]
    executions: tuple[str, ...]
    kinds: tuple[EventKind, ...]
    state: WebhookState
    disable_reason: str
    """Why it is disabled: OWNER, GONE, FAILING, BACKLOG or SECRET_LOST; empty if it is not."""
    disable_message: str
    resume_cursor: str
    """Of one that was disabled: where a replay begins for all that it was not sent meanwhile."""
    previous_secret_expires: datetime | None
    pending: int
    """Deliveries that wait."""
    last_success: datetime | None
    failing_since: datetime | None
    replay: str
    """What is to be said of the last replay: "running, 12 queued"; empty if there was none."""
    created: datetime | None
    updated: datetime | None

    @classmethod
    def from_proto(cls, proto: webhook_pb2.Webhook) -> "WebhookRecord":
        """The value of a message."""
        reason = webhook_pb2.WebhookDisableReason.Name(proto.disable_reason) if proto.disable_reason else ""
        return cls(
            id=proto.id,
            url=proto.url,
            description=proto.description,
            graphs=tuple(proto.filter.graph_ids),
            executions=tuple(proto.filter.execution_ids),
            kinds=tuple(EventKind(kind) for kind in proto.filter.kinds),
            state=WebhookState(proto.state),
            disable_reason=reason.removeprefix("WEBHOOK_DISABLE_REASON_"),
            disable_message=proto.disable_message,
            resume_cursor=proto.resume_cursor,
            previous_secret_expires=moment(proto, "previous_secret_expire_time"),
            pending=proto.pending_deliveries,
            last_success=moment(proto, "last_success_time"),
            failing_since=moment(proto, "failing_since_time"),
            replay=_replay(proto.replay) if proto.HasField("replay") else "",
            created=moment(proto, "create_time"),
            updated=moment(proto, "update_time"),
        )


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One time that something was sent. It succeeded if `error` is empty."""

    number: int
    time: datetime | None
    status: int
    seconds: float
    error: str
    response: str

    @classmethod
    def from_proto(cls, proto: webhook_pb2.WebhookAttempt) -> "AttemptRecord":
        """The value of a message."""
        took = proto.duration.ToTimedelta().total_seconds()
        return cls(proto.number, moment(proto, "time"), proto.status, took, proto.error, proto.response)


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """An event for a webhook. `id` is the header webhook-id."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    state: DeliveryState
    created: datetime | None
    next_attempt: datetime | None
    attempts: tuple[AttemptRecord, ...]

    @classmethod
    def from_proto(cls, proto: webhook_pb2.WebhookDelivery) -> "DeliveryRecord":
        """The value of a message."""
        return cls(
            id=proto.id,
            webhook_id=proto.webhook_id,
            event_id=proto.event_id,
            event_type=proto.event_type,
            state=DeliveryState(proto.state),
            created=moment(proto, "create_time"),
            next_attempt=moment(proto, "next_attempt_time"),
            attempts=tuple(map(AttemptRecord.from_proto, proto.attempts)),
        )


class WebhooksClient:
    """The caller's webhooks."""

    def __init__(self, stub: "WebhookServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def create(
        self,
        url: str,
        *,
        graphs: Collection[str] = (),
        executions: Collection[str] = (),
        kinds: Collection[EventKind] = (),
        description: str = "",
    ) -> tuple[WebhookRecord, str]:
        """Makes a webhook that is sent what happens from now on; the webhook and its secret, which is told only now."""
        webhook = webhook_pb2.Webhook(url=url, description=description, filter=_filter(graphs, executions, kinds))
        request = messages.CreateWebhookRequest(webhook=webhook)
        answer = await self._call(self._stub.CreateWebhook, request, messages.CreateWebhookResponse, repeatable=False)
        return WebhookRecord.from_proto(answer.webhook), answer.secret

    async def get(self, webhook_id: str) -> WebhookRecord:
        """A webhook."""
        request = messages.GetWebhookRequest(webhook_id=webhook_id)
        answer = await self._call(self._stub.GetWebhook, request, messages.GetWebhookResponse, repeatable=True)
        return WebhookRecord.from_proto(answer.webhook)

    async def list(self, *, page_size: int = 0) -> AsyncIterator[WebhookRecord]:
        """The caller's webhooks, newest first."""
        token = ""
        while True:
            request = messages.ListWebhooksRequest(page_size=page_size, page_token=token)
            answer = await self._call(self._stub.ListWebhooks, request, messages.ListWebhooksResponse, repeatable=True)
            for webhook in answer.webhooks:
                yield WebhookRecord.from_proto(webhook)
            token = answer.next_page_token
            if not token:
                return

    async def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        description: str | None = None,
        state: WebhookState | None = None,
        graphs: Collection[str] | None = None,
        executions: Collection[str] | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> WebhookRecord:
        """Changes what is given. The filter is replaced as a whole by whichever of its parts are given."""
        parts = (graphs, executions, kinds)
        changes = {"url": url, "description": description, "state": state}
        paths = [name for name, value in changes.items() if value is not None]
        if any(part is not None for part in parts):
            paths.append("filter")
        if not paths:
            # No mask would mean all that is set.
            return await self.get(webhook_id)
        webhook = webhook_pb2.Webhook(
            id=webhook_id,
            url=url or "",
            description=description or "",
            filter=_filter(graphs or (), executions or (), kinds or ()),
            state=state.value if state is not None else webhook_pb2.WEBHOOK_STATE_UNSPECIFIED,
        )
        request = messages.UpdateWebhookRequest(webhook=webhook, update_mask=FieldMask(paths=paths))
        answer = await self._call(self._stub.UpdateWebhook, request, messages.UpdateWebhookResponse, repeatable=True)
        return WebhookRecord.from_proto(answer.webhook)

    async def delete(self, webhook_id: str) -> None:
        """Deletes a webhook with what waits for it."""
        request = messages.DeleteWebhookRequest(webhook_id=webhook_id)
        await self._call(self._stub.DeleteWebhook, request, messages.DeleteWebhookResponse, repeatable=False)

    async def rotate(self, webhook_id: str, overlap: timedelta | None = None) -> str:
        """A new secret, told only now. The one before signs too for `overlap`: a day if None, 7 days at most."""
        request = messages.RotateWebhookSecretRequest(webhook_id=webhook_id)
        if overlap is not None:
            request.overlap.CopyFrom(_duration(overlap))
        answer = await self._call(
            self._stub.RotateWebhookSecret, request, messages.RotateWebhookSecretResponse, repeatable=False
        )
        secret: str = answer.secret
        return secret

    async def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None = None, page_size: int = 0
    ) -> AsyncIterator[DeliveryRecord]:
        """What a webhook was sent, and will be, newest first."""
        token = ""
        while True:
            request = messages.ListWebhookDeliveriesRequest(
                webhook_id=webhook_id,
                state=state.value if state is not None else webhook_pb2.WEBHOOK_DELIVERY_STATE_UNSPECIFIED,
                page_size=page_size,
                page_token=token,
            )
            answer = await self._call(
                self._stub.ListWebhookDeliveries, request, messages.ListWebhookDeliveriesResponse, repeatable=True
            )
            for delivery in answer.deliveries:
                yield DeliveryRecord.from_proto(delivery)
            token = answer.next_page_token
            if not token:
                return

    async def retry(self, webhook_id: str, delivery_id: str) -> DeliveryRecord:
        """Sends a delivery now that has failed, or waits."""
        request = messages.RetryWebhookDeliveryRequest(webhook_id=webhook_id, delivery_id=delivery_id)
        answer = await self._call(
            self._stub.RetryWebhookDelivery, request, messages.RetryWebhookDeliveryResponse, repeatable=True
        )
        return DeliveryRecord.from_proto(answer.delivery)

    async def replay(self, webhook_id: str, *, after: str = "", since: datetime | None = None) -> WebhookRecord:
        """Sends again what happened behind a cursor, or since a time, in the background."""
        request = messages.ReplayWebhookRequest(webhook_id=webhook_id, start_time=timestamp(since))
        if after:
            request.cursor = after
        answer = await self._call(self._stub.ReplayWebhook, request, messages.ReplayWebhookResponse, repeatable=True)
        return WebhookRecord.from_proto(answer.webhook)

    async def test(self, webhook_id: str) -> AttemptRecord:
        """Sends a ping, and says what came of it."""
        request = messages.TestWebhookRequest(webhook_id=webhook_id)
        answer = await self._call(
            self._stub.TestWebhook, request, messages.TestWebhookResponse, repeatable=False, deadline=TEST_DEADLINE
        )
        return AttemptRecord.from_proto(answer.attempt)


def _filter(
    graphs: Collection[str], executions: Collection[str], kinds: Collection[EventKind]
) -> webhook_pb2.WebhookFilter:
    numbers = [event_pb2.EventKind.ValueType(kind.value) for kind in kinds]
    return webhook_pb2.WebhookFilter(graph_ids=graphs, execution_ids=executions, kinds=numbers)


def _duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def _replay(proto: webhook_pb2.WebhookReplay) -> str:
    state = webhook_pb2.WebhookReplayState.Name(proto.state).removeprefix("WEBHOOK_REPLAY_STATE_").lower()
    words = f"{state}, {proto.queued_deliveries} queued"
    return f"{words}. {proto.message}" if proto.message else words
