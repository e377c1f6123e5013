"""Between messages of TriggerService and values."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from blockyard.execution.v1.execution_service_pb2 import ValueFormat
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.execution.v1.trigger_pb2 import Trigger, TriggerDelivery, TriggerDeliveryOutcome
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value

from services.common.errors import InvalidArgument, Violation
from services.common.field_masks import changed_fields
from services.common.structs import from_value, to_value
from services.execution import templates
from services.execution.errors import TriggerNotFound
from services.execution.translation import time_of
from services.execution.webhooks.records import Condition, DeliveryRow, Kind, Outcome, TriggerContent, TriggerRow

PATH = "/api/hooks/"
"""Below which the edge takes webhooks."""
LONGEST_NAME = 200
LONGEST_EVENT = 200
MOST_EVENTS = 100
MOST_CONDITIONS = 10
LONGEST_CONDITION = 1_000
MOST_STEPS = 20

FIELDS: Mapping[str, str] = {
    "name": "name",
    "start": "template",
    "events": "events",
    "conditions": "conditions",
    "disabled": "disabled",
    "secret_credential_id": "secret_credential_id",
}
"""Fields of a trigger that may be changed, and those of its content."""
_ID = re.compile(r"[0-9a-f]{32}")


def trigger_id(text: str) -> str:
    """The id in a request. What is no id names no trigger."""
    if _ID.fullmatch(text) is None:
        raise TriggerNotFound
    return text


def kind_of(message: Trigger) -> Kind:
    """The kind that a request names."""
    if message.kind not in [int(kind) for kind in Kind]:
        raise InvalidArgument(
            violations=[Violation("trigger.kind", "expected TRIGGER_KIND_GENERIC or TRIGGER_KIND_GITHUB")]
        )
    return Kind(message.kind)


def content_of(message: Trigger) -> TriggerContent:
    """What a request says of a trigger; InvalidArgument names everything that is malformed."""
    violations = [*_violations(message)]
    if not message.HasField("start"):
        violations.append(Violation("trigger.start", "is required: what is to be started"))
    if violations:
        raise InvalidArgument(violations=violations)
    return TriggerContent(
        name=message.name,
        template=templates.stored(message.start, "trigger.start"),
        events=tuple(dict.fromkeys(message.events)),
        conditions=tuple(Condition(tuple(one.path.split(".")), from_value(one.equals)) for one in message.conditions),
        disabled=message.disabled,
        secret_credential_id=_canonical(message.secret_credential_id),
    )


def changes_of(message: Trigger, mask: FieldMask) -> dict[str, Any]:
    """The fields of the content that are changed, with their values."""
    paths = changed_fields(mask, message, list(FIELDS))
    given = Trigger()
    FieldMask(paths=paths).MergeMessage(message, given)
    if "start" not in paths:
        given.start.graph_id = "unchanged"
    content = content_of(given)
    return {FIELDS[path]: getattr(content, FIELDS[path]) for path in paths}


def format_of(message: Trigger) -> int:
    """The form of values in the answer: that of the request."""
    return ValueFormat.VALUE_FORMAT_JSON if message.start.inputs_json else ValueFormat.VALUE_FORMAT_STRUCT


def trigger_message(row: TriggerRow, secret_lost: bool, value_format: int | None) -> Trigger:
    """A trigger as its owner sees it; without inputs where no form of them is asked for."""
    content = row.content
    until = row.secret.previous_until
    message = Trigger(
        id=row.trigger_id,
        user_id=row.user_id,
        name=content.name,
        kind=int(row.kind),  # type: ignore[arg-type]  # the enum has the numbers of the proto's
        start=_start(content.template, value_format),
        events=content.events,
        disabled=content.disabled,
        secret_credential_id=content.secret_credential_id,
        path=f"{PATH}{row.trigger_id}",
        secret_generation=row.secret.generation,
        secret_lost=secret_lost,
        previous_secret_expire_time=time_of(until if until is not None and until > datetime.now(UTC) else None),
        create_time=time_of(row.create_time),
        update_time=time_of(row.update_time),
    )
    for one in content.conditions:
        message.conditions.add(path=".".join(one.path), equals=to_value(one.equals))
    return message


def delivery_message(row: DeliveryRow) -> TriggerDelivery:
    """A delivery as the owner of its trigger sees it."""
    one = row.delivery
    return TriggerDelivery(
        receive_time=time_of(row.receive_time),
        delivery_id=one.delivery_id,
        event=one.event,
        outcome=outcome_number(one.outcome),
        reason=one.reason,
        execution_id=str(one.execution_id or ""),
        receipts=row.receipts,
        payload_bytes=one.payload_bytes,
    )


def outcome_number(outcome: Outcome) -> TriggerDeliveryOutcome.ValueType:
    """As messages have it."""
    return int(outcome)  # type: ignore[return-value]  # the enum has the numbers of the proto's


def _start(template: bytes, value_format: int | None) -> StartTemplate:
    if value_format is not None:
        return templates.shown(template, value_format)
    message = StartTemplate.FromString(template)
    message.ClearField("inputs_json")
    return message


def _canonical(text: str) -> str:
    """The id as the vault writes it. What is none names no credential there."""
    try:
        return str(UUID(text))
    except ValueError:
        return text[:LONGEST_NAME]


def _violations(message: Trigger) -> Iterator[Violation]:
    if len(message.name) > LONGEST_NAME:
        yield Violation("trigger.name", f"is longer than {LONGEST_NAME} characters")
    yield from _event_violations(message.events)
    if len(message.conditions) > MOST_CONDITIONS:
        yield Violation("trigger.conditions", f"more than {MOST_CONDITIONS}")
    for at, one in enumerate(message.conditions[:MOST_CONDITIONS]):
        steps = one.path.split(".")
        if "" in steps or len(steps) > MOST_STEPS:
            problem = f'expected 1 to {MOST_STEPS} names parted by dots, such as "data.state"'
            yield Violation(f"trigger.conditions[{at}].path", problem)
        if one.equals.WhichOneof("kind") is None:
            yield Violation(f"trigger.conditions[{at}].equals", "is required: the value that must stand there")
        elif not _is_json(one.equals):
            yield Violation(f"trigger.conditions[{at}].equals", "holds a number that JSON does not have")
        if one.ByteSize() > LONGEST_CONDITION:
            yield Violation(f"trigger.conditions[{at}]", f"is larger than {LONGEST_CONDITION} bytes")


def _is_json(value: Value) -> bool:
    try:
        json.dumps(from_value(value), allow_nan=False)
    except ValueError:
        return False
    return True


def _event_violations(events: Sequence[str]) -> Iterator[Violation]:
    if len(events) > MOST_EVENTS:
        yield Violation("trigger.events", f"more than {MOST_EVENTS}")
    for at, event in enumerate(events[:MOST_EVENTS]):
        if not event or len(event) > LONGEST_EVENT:
            yield Violation(f"trigger.events[{at}]", f"1 to {LONGEST_EVENT} characters")
