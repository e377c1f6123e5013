"""Events and notices as CloudEvents 1.0 in JSON (structured mode): what WebSocket, SSE and webhooks carry.

    {"specversion": "1.0", "id": "<execution>:<sequence>", "source": "/graphs/<graph>/executions/<execution>",
     "type": "blockyard.node.output", "subject": "<node>", "time": "...", "datacontenttype": "application/json",
     "sequence": "7", "sequencetype": "Integer", "data": {"executionId": ..., "kind": ..., "value": ...}}

`data` is the message Event of event.proto as proto3 JSON has it, made easier to read: it names the execution, its graph
and its user too; whole numbers are numbers (none of them grows beyond 2^53); the value is the JSON value itself, exact
to the last digit, and stands in every output event that has one, null included. An event is one line.
"""

from collections.abc import Iterator
from typing import Any

import orjson
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind, ValueAbsence
from blockyard.event.v1.notice_pb2 import Notice, NoticeKind
from blockyard.values import NO_JSON

CONTENT_TYPE = "application/cloudevents+json"
NOTICE_TYPE = "blockyard.notice"
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")

_TYPES = {
    kind: "blockyard." + name.removeprefix("EVENT_KIND_").lower().replace("_", ".", 1)
    for name, kind in EventKind.items()
}
"""blockyard.execution.completed for EVENT_KIND_EXECUTION_COMPLETED."""
_NUMBERS = ("node_execution", "attempt", "index")
_TEXTS = ("node_id", "pin", "output_name", "message")


def event_id(execution_id: str, sequence: int) -> str:
    """The same for an event however often and wherever it is told."""
    return f"{execution_id}:{sequence}"


def event_type(kind: EventKind.ValueType) -> str:
    """For example blockyard.execution.completed. A kind that is newer than this service has one all the same."""
    return _TYPES.get(kind) or f"blockyard.event.kind{kind}"


def cloud_events(batch: EventBatch) -> Iterator[bytes]:
    """Each event of a batch as JSON text, in order."""
    for event in batch.events:
        yield cloud_event(batch, event)


def cloud_event(batch: EventBatch, event: Event) -> bytes:
    """An event of this batch as JSON text."""
    graph = f"/graphs/{batch.graph_id}" if batch.graph_id else ""
    told: dict[str, Any] = {  # Any: JSON
        "specversion": "1.0",
        "id": event_id(batch.execution_id, event.sequence),
        "source": f"{graph}/executions/{batch.execution_id}",
        "type": event_type(event.kind),
    }
    if event.node_id:
        told["subject"] = event.node_id
    told |= {
        "time": event.time.ToJsonString(),
        "datacontenttype": "application/json",
        "sequence": str(event.sequence),
        "sequencetype": "Integer",
        "data": _data(batch, event),
    }
    return orjson.dumps(told)


def cloud_notice(notice: Notice) -> bytes:
    """A notice as JSON text: its type is for example blockyard.notice.low_balance."""
    kind = NoticeKind.Name(notice.kind) if notice.kind in NoticeKind.values() else f"NOTICE_KIND_{notice.kind}"
    told = {
        "specversion": "1.0",
        "id": notice.id,
        "source": f"/users/{notice.user_id}",
        "type": f"{NOTICE_TYPE}.{kind.removeprefix('NOTICE_KIND_').lower()}",
        "time": notice.time.ToJsonString(),
        "datacontenttype": "application/json",
        "data": {"userId": notice.user_id, "kind": kind, "details": dict(notice.details)},
    }
    return orjson.dumps(told)


def _data(batch: EventBatch, event: Event) -> dict[str, Any]:
    data: dict[str, Any] = {"executionId": batch.execution_id}
    if batch.graph_id:
        data |= {"graphId": batch.graph_id, "graphVersion": batch.graph_version}
    if batch.parent_execution_id:
        data["parentExecutionId"] = batch.parent_execution_id
    kind = EventKind.Name(event.kind) if event.kind in _TYPES else event.kind
    data |= {"userId": batch.user_id, "sequence": event.sequence, "kind": kind}
    for name in (*_NUMBERS, *_TEXTS):
        if (value := getattr(event, name)) or (name == "index" and event.pin and event.value):
            data[_camel(name)] = value
    if event.value:
        data |= _value(event.value)
    for name in ("provisional", "waits_for_person"):
        if getattr(event, name):
            data[_camel(name)] = True
    if event.reason:
        data["reason"] = _name(NodeErrorReason, event.reason)
    if event.value_absence:
        data["valueAbsence"] = _name(ValueAbsence, event.value_absence)
    if event.HasField("wake_time"):
        data["wakeTime"] = event.wake_time.ToJsonString()
    return data


def _value(value: bytes) -> dict[str, Any]:
    """A value as it stands in `data`. Runners are not all ours, and nobody before has read what they gave."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return {"valueAbsence": ValueAbsence.Name(ValueAbsence.VALUE_ABSENCE_MISSING), "message": NO_JSON}
    if b"\n" in value or b"\r" in value:
        # They end fields of server-sent events. In JSON they stand between tokens alone, as blanks may.
        value = value.translate(_ONE_LINE)
    return {"value": orjson.Fragment(value)}


def _name(kinds: Any, number: int) -> str | int:  # Any: the enum wrappers of protobuf have no common type
    return kinds.Name(number) if number in kinds.values() else number


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
