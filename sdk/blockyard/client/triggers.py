"""Triggers, through TriggerService: addresses at which webhooks of others start graphs."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from blockyard import values
from blockyard.calls import Caller
from blockyard.client.executions import CreditsPolicy, credits_policy_number
from blockyard.execution.v1 import trigger_pb2
from blockyard.execution.v1 import trigger_service_pb2 as messages
from blockyard.execution.v1.execution_service_pb2 import VALUE_FORMAT_JSON
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.records import Json, json_object, moment

if TYPE_CHECKING:
    from pydantic import SecretStr

    from blockyard.execution.v1.trigger_service_pb2_grpc import TriggerServiceAsyncStub  # there for type checkers alone

TriggerKind = Literal["generic", "github"]

_KINDS: dict[str, trigger_pb2.TriggerKind.ValueType] = {
    "generic": trigger_pb2.TRIGGER_KIND_GENERIC,
    "github": trigger_pb2.TRIGGER_KIND_GITHUB,
}


@dataclass(frozen=True, slots=True)
class TriggerRecord:
    """A trigger, without its secret. `path` is where senders post, below the edge. `inputs` is empty in lists."""

    id: str
    name: str
    kind: str
    path: str
    graph_id: str
    graph_version: int
    preset_id: str
    inputs: Mapping[str, Json]
    labels: Mapping[str, str]
    events: tuple[str, ...]
    conditions: Mapping[str, Json]
    """Values that must stand in a payload, by their places in it."""
    disabled: bool
    secret_credential_id: str
    secret_generation: int
    previous_secret_expires: datetime | None
    secret_lost: bool
    created: datetime | None
    updated: datetime | None

    @classmethod
    def from_proto(cls, proto: trigger_pb2.Trigger) -> "TriggerRecord":
        """The value of a message."""
        kinds = {number: kind for kind, number in _KINDS.items()}
        return cls(
            id=proto.id,
            name=proto.name,
            kind=kinds.get(proto.kind, "unknown"),
            path=proto.path,
            graph_id=proto.start.graph_id,
            graph_version=proto.start.graph_version,
            preset_id=proto.start.preset_id,
            inputs=json_object(proto.start.inputs_json),
            labels=dict(proto.start.labels),
            events=tuple(proto.events),
            conditions={one.path: MessageToDict(one.equals) for one in proto.conditions},
            disabled=proto.disabled,
            secret_credential_id=proto.secret_credential_id,
            secret_generation=proto.secret_generation,
            previous_secret_expires=moment(proto, "previous_secret_expire_time"),
            secret_lost=proto.secret_lost,
            created=moment(proto, "create_time"),
            updated=moment(proto, "update_time"),
        )


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """A trigger with its secret, which nobody is told again."""

    record: TriggerRecord
    secret: "SecretStr"

    @classmethod
    def from_proto(cls, proto: messages.CreateTriggerResponse | messages.RotateTriggerSecretResponse) -> "NewTrigger":
        """Reads the message."""
        from pydantic import SecretStr  # here, since it is a quarter of what a client would import

        return cls(TriggerRecord.from_proto(proto.trigger), SecretStr(proto.secret))


@dataclass(frozen=True, slots=True)
class TriggerDelivery:
    """What came to a trigger. `outcome` is STARTED, FILTERED, PING, REFUSED, DISABLED or FAILED."""

    received: datetime | None
    delivery_id: str
    event: str
    outcome: str
    reason: str
    execution_id: str
    receipts: int
    payload_bytes: int

    @classmethod
    def from_proto(cls, proto: trigger_pb2.TriggerDelivery) -> "TriggerDelivery":
        """The value of a message."""
        known = proto.outcome in trigger_pb2.TriggerDeliveryOutcome.values()
        name = trigger_pb2.TriggerDeliveryOutcome.Name(proto.outcome) if known else "UNKNOWN"
        return cls(
            received=moment(proto, "receive_time"),
            delivery_id=proto.delivery_id,
            event=proto.event,
            outcome=name.removeprefix("TRIGGER_DELIVERY_OUTCOME_"),
            reason=proto.reason,
            execution_id=proto.execution_id,
            receipts=proto.receipts,
            payload_bytes=proto.payload_bytes,
        )


@dataclass(frozen=True, slots=True)
class TriggerStart:
    """What a trigger starts, in the words of ExecutionsClient.start. Of graph and preset one may be left out."""

    graph_id: str = ""
    inputs: Mapping[str, Json] = field(default_factory=dict)
    preset: str = ""
    version: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    credentials: Mapping[str, str] = field(default_factory=dict)
    credits_policy: CreditsPolicy = "wait"

    def to_proto(self) -> StartTemplate:
        """The message."""
        return StartTemplate(
            graph_id=self.graph_id,
            graph_version=self.version,
            inputs_json=values.encode(dict(self.inputs)),
            labels=self.labels,
            priority=self.priority,
            credentials=self.credentials,
            credits_policy=credits_policy_number(self.credits_policy),
            preset_id=self.preset,
        )


class TriggersClient:
    """The caller's triggers."""

    def __init__(self, stub: "TriggerServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def create(
        self,
        start: TriggerStart | str,
        *,
        kind: TriggerKind = "generic",
        name: str = "",
        events: Sequence[str] = (),
        conditions: Mapping[str, Json] | None = None,
        disabled: bool = False,
        secret_credential: str = "",
        request_id: str | None = None,
    ) -> NewTrigger:
        """Makes a trigger of a graph (by its id, or with all that a start takes), which has an input `payload`.

        `events` and `conditions` (values by their places in the payload, such as "data.state") say what it wants;
        without any it wants everything. The secret is in the answer, and nowhere else; for a sender that draws it
        itself, `secret_credential` is the id of a credential that holds it.
        """
        trigger = _message(name, start, events, conditions, disabled)
        trigger.kind = _KINDS[kind]
        trigger.secret_credential_id = secret_credential
        request = messages.CreateTriggerRequest(trigger=trigger, request_id=request_id or str(uuid.uuid4()))
        answer = await self._call(self._stub.CreateTrigger, request, messages.CreateTriggerResponse, repeatable=True)
        return NewTrigger.from_proto(answer)

    async def get(self, trigger_id: str) -> TriggerRecord:
        """A trigger."""
        request = messages.GetTriggerRequest(trigger_id=trigger_id, value_format=VALUE_FORMAT_JSON)
        answer = await self._call(self._stub.GetTrigger, request, messages.GetTriggerResponse, repeatable=True)
        return TriggerRecord.from_proto(answer.trigger)

    async def list(self, page_size: int = 0, *, graph_id: str = "") -> AsyncIterator[TriggerRecord]:
        """The caller's triggers, or those of one graph, newest first, without inputs."""
        token = ""
        while True:
            request = messages.ListTriggersRequest(page_size=page_size, page_token=token, graph_id=graph_id)
            answer = await self._call(self._stub.ListTriggers, request, messages.ListTriggersResponse, repeatable=True)
            for trigger in answer.triggers:
                yield TriggerRecord.from_proto(trigger)
            token = answer.next_page_token
            if not token:
                return

    async def update(
        self,
        trigger_id: str,
        *,
        name: str | None = None,
        start: TriggerStart | None = None,
        events: Sequence[str] | None = None,
        conditions: Mapping[str, Json] | None = None,
        disabled: bool | None = None,
        secret_credential: str | None = None,
    ) -> TriggerRecord:
        """Changes what is given; each is replaced as a whole, so that empty events or conditions want everything.

        Without a `secret_credential` ("") it has a secret of its own again, which `rotate` tells.
        """
        given = {
            "name": name,
            "start": start,
            "events": events,
            "conditions": conditions,
            "disabled": disabled,
            "secret_credential_id": secret_credential,
        }
        paths = [path for path, value in given.items() if value is not None]
        if not paths:
            # No mask would mean all that is set.
            return await self.get(trigger_id)
        trigger = _message(name or "", start or TriggerStart(), events or (), conditions, bool(disabled))
        trigger.id = trigger_id
        trigger.secret_credential_id = secret_credential or ""
        request = messages.UpdateTriggerRequest(trigger=trigger, update_mask=FieldMask(paths=paths))
        answer = await self._call(self._stub.UpdateTrigger, request, messages.UpdateTriggerResponse, repeatable=True)
        return TriggerRecord.from_proto(answer.trigger)

    async def rotate(self, trigger_id: str, keep: timedelta | None = None) -> NewTrigger:
        """Makes another secret. The one before stays valid for `keep`, by default for a day."""
        request = messages.RotateTriggerSecretRequest(trigger_id=trigger_id)
        if keep is not None:
            request.keep_previous.FromTimedelta(keep)
        answer = await self._call(
            self._stub.RotateTriggerSecret, request, messages.RotateTriggerSecretResponse, repeatable=False
        )
        return NewTrigger.from_proto(answer)

    async def delete(self, trigger_id: str) -> None:
        """Deletes a trigger. Executions that it has started go on."""
        request = messages.DeleteTriggerRequest(trigger_id=trigger_id)
        await self._call(self._stub.DeleteTrigger, request, messages.DeleteTriggerResponse, repeatable=False)

    async def deliveries(self, trigger_id: str, *, page_size: int = 0) -> AsyncIterator[TriggerDelivery]:
        """What came to a trigger of late, the latest first."""
        token = ""
        while True:
            request = messages.ListTriggerDeliveriesRequest(
                trigger_id=trigger_id, page_size=page_size, page_token=token
            )
            answer = await self._call(
                self._stub.ListTriggerDeliveries, request, messages.ListTriggerDeliveriesResponse, repeatable=True
            )
            for delivery in answer.deliveries:
                yield TriggerDelivery.from_proto(delivery)
            token = answer.next_page_token
            if not token:
                return


def _message(
    name: str,
    start: TriggerStart | str,
    events: Sequence[str],
    conditions: Mapping[str, Json] | None,
    disabled: bool,
) -> trigger_pb2.Trigger:
    wanted = TriggerStart(start) if isinstance(start, str) else start
    trigger = trigger_pb2.Trigger(name=name, start=wanted.to_proto(), events=events, disabled=disabled)
    for path, value in (conditions or {}).items():
        trigger.conditions.add(path=path, equals=_value(value))
    return trigger


def _value(value: Json) -> Value:
    message = Value()
    ParseDict(value, message)
    return message
