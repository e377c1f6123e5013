"""Triggers of a house: made, and posted to as senders do."""

import json
import time
from dataclasses import dataclass
from typing import Any

from blockyard.execution.v1 import trigger_service_pb2 as messages
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.execution.v1.trigger_pb2 import (
    TRIGGER_KIND_GENERIC,
    TRIGGER_KIND_GITHUB,
    Trigger,
    TriggerDeliveryOutcome,
)
from blockyard.execution.v1.trigger_service_pb2_grpc import TriggerServiceStub
from google.api.httpbody_pb2 import HttpBody
from pydantic import SecretStr

from services.common import identity
from tests.integration.execution.house import SECRET, House
from tests.webhook_signing import github_signature, standard_signature


@dataclass(eq=False)
class Hooks:
    """The triggers of one user at one replica."""

    stub: Any  # the generated stub: its type depends on the kind of channel
    user_id: str = "anna"

    @staticmethod
    def of(built: House, replica: int = 0, user_id: str = "anna") -> "Hooks":
        return Hooks(TriggerServiceStub(built.replicas[replica].channel), user_id)

    async def call(self, method: str, request: Any) -> Any:
        token = identity.user_token(SECRET, self.user_id, "user", 300)
        return await getattr(self.stub, method)(request, metadata=[("authorization", f"Bearer {token}")], timeout=20)

    async def create(self, kind: str = "generic", request_id: str = "", /, **fields: Any) -> "Hook":
        request = messages.CreateTriggerRequest(trigger=trigger(kind, **fields), request_id=request_id)
        answer = await self.call("CreateTrigger", request)
        return Hook(self, answer.trigger, SecretStr(answer.secret))


@dataclass(eq=False)
class Hook:
    """A trigger with its secret."""

    hooks: Hooks
    trigger: Trigger
    secret: SecretStr

    async def post(self, body: bytes, headers: dict[str, str], content_type: str = "application/json") -> Any:
        request = messages.ReceiveWebhookRequest(
            trigger_id=self.trigger.id, body=HttpBody(data=body, content_type=content_type)
        )
        return await self.hooks.stub.ReceiveWebhook(request, metadata=[*headers.items()], timeout=20)

    async def deliver(self, payload: Any, message_id: str = "msg", timestamp: int | None = None) -> Any:
        """Posts as the Standard Webhooks specification says."""
        body, moment = json.dumps(payload).encode(), timestamp or int(time.time())
        return await self.post(body, self.signed(body, message_id, moment))

    def signed(self, body: bytes, message_id: str, timestamp: int) -> dict[str, str]:
        signature = standard_signature(self.secret, message_id, timestamp, body)
        return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}

    async def deliver_as_github(self, event: str, payload: Any, delivery_id: str = "guid") -> Any:
        body = json.dumps(payload).encode()
        return await self.post(body, self.of_github(event, body, delivery_id))

    def of_github(self, event: str, body: bytes, delivery_id: str = "guid") -> dict[str, str]:
        return {
            "x-github-event": event,
            "x-github-delivery": delivery_id,
            "x-hub-signature-256": github_signature(self.secret, body),
        }

    async def listed(self) -> list[Any]:
        request = messages.ListTriggerDeliveriesRequest(trigger_id=self.trigger.id, page_size=1000)
        return list((await self.hooks.call("ListTriggerDeliveries", request)).deliveries)


def trigger(kind: str = "generic", **fields: Any) -> Trigger:
    """A trigger of the graph "graph" unless it is said otherwise."""
    start = fields.pop("start", None) or StartTemplate(graph_id="graph")
    return Trigger(kind=TRIGGER_KIND_GITHUB if kind == "github" else TRIGGER_KIND_GENERIC, start=start, **fields)


def outcome(answer: Any) -> str:
    """The name of an outcome without its prefix."""
    name: str = TriggerDeliveryOutcome.Name(answer.outcome)
    return name.removeprefix("TRIGGER_DELIVERY_OUTCOME_")
