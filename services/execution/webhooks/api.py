"""TriggerService: translate, authorise, delegate, answer."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from blockyard.execution.v1 import trigger_service_pb2 as messages
from blockyard.execution.v1.trigger_pb2 import Trigger
from blockyard.execution.v1.trigger_service_pb2_grpc import TriggerServiceServicer
from grpc.aio import ServicerContext

from services.common.errors import InvalidArgument, Violation
from services.common.identity import current_caller
from services.common.interceptors import headers_of
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.execution.translation import graph_id as graph_id_of
from services.execution.webhooks import translation
from services.execution.webhooks.receiving import Receiver, Webhook
from services.execution.webhooks.records import DeliveryPage, Page, TriggerRow
from services.execution.webhooks.triggers import Triggers

KEEP_SECONDS = 24 * 3600.0
LONGEST_KEPT = 30 * 24 * 3600.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class TriggerApi(TriggerServiceServicer):
    """Every caller sees their own triggers only; whoever posts to one is not known by a token."""

    def __init__(self, triggers: Triggers, receiver: Receiver, token_secret: str) -> None:
        self._triggers = triggers
        self._receiver = receiver
        self._token_secret = token_secret

    async def CreateTrigger(
        self, request: messages.CreateTriggerRequest, context: Context
    ) -> messages.CreateTriggerResponse:
        """Creates a trigger."""
        kind, content = translation.kind_of(request.trigger), translation.content_of(request.trigger)
        row, secret = await self._triggers.create(current_caller().user_id, kind, content, request.request_id)
        return messages.CreateTriggerResponse(
            trigger=self._shown(row, translation.format_of(request.trigger)), secret=secret.get_secret_value()
        )

    async def GetTrigger(self, request: messages.GetTriggerRequest, context: Context) -> messages.GetTriggerResponse:
        """Gets a trigger."""
        row = await self._triggers.get(current_caller().user_id, translation.trigger_id(request.trigger_id))
        return messages.GetTriggerResponse(trigger=self._shown(row, request.value_format))

    async def ListTriggers(
        self, request: messages.ListTriggersRequest, context: Context
    ) -> messages.ListTriggersResponse:
        """Lists the caller's triggers."""
        user, size = current_caller().user_id, page_size(request.page_size)
        graph_id = graph_id_of(request.graph_id)
        scope = f"ListTriggers {user} {graph_id}"
        below = None
        if request.page_token:
            moment, last = decode_page_token(self._token_secret, scope, request.page_token)
            below = Page(_EPOCH + int(moment) * _MICROSECOND, str(last))
        rows = await self._triggers.page(user, graph_id, below, size + 1)
        answer = messages.ListTriggersResponse(triggers=[self._shown(row, None) for row in rows[:size]])
        if len(rows) > size:
            answer.next_page_token = encode_page_token(self._token_secret, scope, _position(rows[:size]))
        return answer

    async def UpdateTrigger(
        self, request: messages.UpdateTriggerRequest, context: Context
    ) -> messages.UpdateTriggerResponse:
        """Changes a trigger."""
        changes = translation.changes_of(request.trigger, request.update_mask)
        key = translation.trigger_id(request.trigger.id)
        kind = translation.kind_of(request.trigger) if request.trigger.kind else None
        row = await self._triggers.update(current_caller().user_id, key, kind, changes)
        return messages.UpdateTriggerResponse(trigger=self._shown(row, translation.format_of(request.trigger)))

    async def DeleteTrigger(
        self, request: messages.DeleteTriggerRequest, context: Context
    ) -> messages.DeleteTriggerResponse:
        """Deletes a trigger."""
        await self._triggers.delete(current_caller().user_id, translation.trigger_id(request.trigger_id))
        return messages.DeleteTriggerResponse()

    async def RotateTriggerSecret(
        self, request: messages.RotateTriggerSecretRequest, context: Context
    ) -> messages.RotateTriggerSecretResponse:
        """Makes another secret."""
        seconds = KEEP_SECONDS
        if request.HasField("keep_previous"):
            seconds = request.keep_previous.ToNanoseconds() / 1e9
        if not 0 <= seconds <= LONGEST_KEPT:
            raise InvalidArgument(
                violations=[Violation("keep_previous", f"must lie between 0 and 30 days: {seconds} s")]
            )
        key = translation.trigger_id(request.trigger_id)
        row, secret = await self._triggers.rotate(current_caller().user_id, key, seconds)
        return messages.RotateTriggerSecretResponse(trigger=self._shown(row, None), secret=secret.get_secret_value())

    async def ListTriggerDeliveries(
        self, request: messages.ListTriggerDeliveriesRequest, context: Context
    ) -> messages.ListTriggerDeliveriesResponse:
        """Lists what came to a trigger."""
        user, size = current_caller().user_id, page_size(request.page_size)
        key = translation.trigger_id(request.trigger_id)
        scope = f"ListTriggerDeliveries {user} {key}"
        below = None
        if request.page_token:
            moment, number = decode_page_token(self._token_secret, scope, request.page_token)
            below = DeliveryPage(_EPOCH + int(moment) * _MICROSECOND, int(number))
        rows = await self._triggers.deliveries(user, key, below, size + 1)
        answer = messages.ListTriggerDeliveriesResponse(deliveries=map(translation.delivery_message, rows[:size]))
        if len(rows) > size:
            last = rows[size - 1]
            place: list[str | int] = [(last.receive_time - _EPOCH) // _MICROSECOND, last.number]
            answer.next_page_token = encode_page_token(self._token_secret, scope, place)
        return answer

    async def ReceiveWebhook(
        self, request: messages.ReceiveWebhookRequest, context: Context
    ) -> messages.ReceiveWebhookResponse:
        """Takes a delivery."""
        webhook = Webhook(headers_of(context), request.body.content_type, request.body.data)
        delivery = await self._receiver.receive(translation.trigger_id(request.trigger_id), webhook)
        return messages.ReceiveWebhookResponse(
            outcome=translation.outcome_number(delivery.outcome), execution_id=str(delivery.execution_id or "")
        )

    def _shown(self, row: TriggerRow, value_format: int | None) -> Trigger:
        made_here = not row.content.secret_credential_id
        lost = made_here and self._triggers.keys.present(row.kind, row.trigger_id, row.secret) is None
        return translation.trigger_message(row, lost, value_format)


def _position(rows: Sequence[TriggerRow]) -> list[str | int]:
    return [(rows[-1].create_time - _EPOCH) // _MICROSECOND, rows[-1].trigger_id]
