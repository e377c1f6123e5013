"""WebhookService: translate, authorise, delegate, answer."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from blockyard.notification.v1 import webhook_pb2
from blockyard.notification.v1 import webhook_service_pb2 as messages
from blockyard.notification.v1.webhook_service_pb2_grpc import WebhookServiceServicer
from google.protobuf.duration_pb2 import Duration
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.common.field_masks import changed_fields
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.notification.webhooks.checking import CHANGEABLE, moment
from services.notification.webhooks.deliveries import Deliveries
from services.notification.webhooks.errors import DeliveryNotFound, WebhookNotFound
from services.notification.webhooks.messages import attempt_message, delivery_message, webhook_message
from services.notification.webhooks.records import DeliveryState, Webhook
from services.notification.webhooks.subscriptions import OVERLAP, Subscriptions

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class WebhookApi(WebhookServiceServicer):
    """Every caller sees their own webhooks only."""

    def __init__(self, subscriptions: Subscriptions, deliveries: Deliveries, token_secret: str) -> None:
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._token_secret = token_secret

    async def CreateWebhook(
        self, request: messages.CreateWebhookRequest, context: Context
    ) -> messages.CreateWebhookResponse:
        """Creates a webhook."""
        webhook, secret = await self._subscriptions.create(current_caller(), request.webhook)
        return messages.CreateWebhookResponse(webhook=self._shown(webhook), secret=secret)

    async def GetWebhook(self, request: messages.GetWebhookRequest, context: Context) -> messages.GetWebhookResponse:
        """Gets a webhook."""
        webhook = await self._subscriptions.get(current_caller(), webhook_id(request.webhook_id))
        return messages.GetWebhookResponse(webhook=self._shown(webhook))

    async def ListWebhooks(
        self, request: messages.ListWebhooksRequest, context: Context
    ) -> messages.ListWebhooksResponse:
        """Lists the caller's webhooks."""
        caller, size = current_caller(), page_size(request.page_size)
        scope = f"ListWebhooks {caller.user_id}"
        found = await self._subscriptions.page(caller, self._before(scope, request.page_token), size + 1)
        answer = messages.ListWebhooksResponse(webhooks=map(self._shown, found[:size]))
        if len(found) > size:
            last = found[size - 1]
            answer.next_page_token = self._token(scope, last.create_time, last.webhook_id)
        return answer

    async def UpdateWebhook(
        self, request: messages.UpdateWebhookRequest, context: Context
    ) -> messages.UpdateWebhookResponse:
        """Changes a webhook."""
        key = webhook_id(request.webhook.id)
        names = changed_fields(request.update_mask, request.webhook, CHANGEABLE)
        changed = await self._subscriptions.update(current_caller(), key, request.webhook, names)
        return messages.UpdateWebhookResponse(webhook=self._shown(changed))

    async def DeleteWebhook(
        self, request: messages.DeleteWebhookRequest, context: Context
    ) -> messages.DeleteWebhookResponse:
        """Deletes a webhook."""
        await self._subscriptions.delete(current_caller(), webhook_id(request.webhook_id))
        return messages.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: messages.RotateWebhookSecretRequest, context: Context
    ) -> messages.RotateWebhookSecretResponse:
        """Gives a new secret."""
        overlap = _duration("overlap", request.overlap) if request.HasField("overlap") else OVERLAP
        webhook, secret = await self._subscriptions.rotate(current_caller(), webhook_id(request.webhook_id), overlap)
        return messages.RotateWebhookSecretResponse(webhook=self._shown(webhook), secret=secret)

    async def ListWebhookDeliveries(
        self, request: messages.ListWebhookDeliveriesRequest, context: Context
    ) -> messages.ListWebhookDeliveriesResponse:
        """Lists what a webhook was sent, and will be."""
        caller, size, key = current_caller(), page_size(request.page_size), webhook_id(request.webhook_id)
        scope = f"ListWebhookDeliveries {caller.user_id} {key} {request.state}"
        before = self._before(scope, request.page_token)
        found = await self._deliveries.page(caller, key, _state(request.state), before, size + 1)
        answer = messages.ListWebhookDeliveriesResponse(deliveries=map(delivery_message, found[:size]))
        if len(found) > size:
            last = found[size - 1]
            answer.next_page_token = self._token(scope, last.create_time, last.delivery_id)
        return answer

    async def RetryWebhookDelivery(
        self, request: messages.RetryWebhookDeliveryRequest, context: Context
    ) -> messages.RetryWebhookDeliveryResponse:
        """Sends a delivery now."""
        key = webhook_id(request.webhook_id)
        delivery = await self._deliveries.retry(current_caller(), key, _delivery_id(request.delivery_id))
        return messages.RetryWebhookDeliveryResponse(delivery=delivery_message(delivery))

    async def ReplayWebhook(
        self, request: messages.ReplayWebhookRequest, context: Context
    ) -> messages.ReplayWebhookResponse:
        """Begins to send again what happened since a place or a time."""
        caller, key = current_caller(), webhook_id(request.webhook_id)
        if request.WhichOneof("from") is None:
            raise InvalidArgument(violations=[Violation("from", "is required: cursor or start_time")])
        start = moment("start_time", request.start_time) if request.HasField("start_time") else None
        await self._deliveries.replay(caller, key, request.cursor, start)
        webhook = await self._subscriptions.get(caller, key)
        return messages.ReplayWebhookResponse(webhook=self._shown(webhook))

    async def TestWebhook(self, request: messages.TestWebhookRequest, context: Context) -> messages.TestWebhookResponse:
        """Sends a ping."""
        attempt = await self._deliveries.ping(current_caller(), webhook_id(request.webhook_id))
        return messages.TestWebhookResponse(attempt=attempt_message(attempt))

    def _shown(self, webhook: Webhook) -> webhook_pb2.Webhook:
        return webhook_message(webhook, self._subscriptions.clock())

    def _before(self, scope: str, token: str) -> tuple[datetime, UUID] | None:
        if not token:
            return None
        microseconds, last = decode_page_token(self._token_secret, scope, token)
        return _EPOCH + int(microseconds) * _MICROSECOND, UUID(str(last))

    def _token(self, scope: str, create_time: datetime, last: UUID) -> str:
        position: list[str | int] = [(create_time - _EPOCH) // _MICROSECOND, str(last)]
        return encode_page_token(self._token_secret, scope, position)


def webhook_id(text: str) -> UUID:
    """The id in a request. What is no id names no webhook."""
    try:
        return UUID(text)
    except ValueError:
        raise WebhookNotFound(f"There is no webhook with the id {text[:100]!r}.") from None


def _delivery_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise DeliveryNotFound(f"There is no delivery with the id {text[:100]!r}.") from None


def _state(state: webhook_pb2.WebhookDeliveryState.ValueType) -> DeliveryState | None:
    if state not in webhook_pb2.WebhookDeliveryState.values():
        raise InvalidArgument(violations=[Violation("state", f"there is no state {state}")])
    return DeliveryState(state) if state else None


def _duration(field: str, duration: Duration) -> timedelta:
    try:
        return duration.ToTimedelta()
    except (ValueError, OverflowError):
        raise InvalidArgument(violations=[Violation(field, "this is no duration")]) from None
