"""Between protobuf messages and values: the one place that knows both. Values of users are JSON bytes in between."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from blockyard.common.v1.errors_pb2 import ErrorReason
from blockyard.execution.v1.execution_pb2 import Execution, LineageEntry, NodeExecution
from blockyard.execution.v1.execution_service_pb2 import ValueFormat
from blockyard.values import parse
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import InvalidArgument, NotFound, Violation
from services.common.structs import from_struct, to_struct
from services.execution.records import ExecutionRow, NodeExecutionRow
from services.execution.telling import timestamp


class ExecutionNotFound(NotFound):
    """There is no such execution, or it belongs to somebody else."""

    reason = ErrorReason.ERROR_REASON_EXECUTION_NOT_FOUND


class InputsInvalid(InvalidArgument):
    """The inputs do not fit the graph's input schema."""

    reason = ErrorReason.ERROR_REASON_INPUTS_INVALID


def execution_id(text: str) -> UUID:
    """The id in a request. What is no id names no execution."""
    try:
        return UUID(text)
    except ValueError:
        raise ExecutionNotFound(f"There is no execution with the id {text[:100]!r}.") from None


def json_object(struct: Struct, data: bytes, path: str) -> dict[str, Any]:
    """The object of twin fields (`inputs`, `inputs_json`): the JSON form wins where it is set."""
    if not data:
        return from_struct(struct)
    try:
        value = parse(data)
    except ValueError as error:
        raise InputsInvalid(violations=[Violation(path, f"not valid JSON: {error}")]) from None
    if not isinstance(value, dict):
        raise InputsInvalid(violations=[Violation(path, f"expected a JSON object, got {type(value).__name__}")])
    return value


def depth(value: Any) -> int:  # Any: a JSON value
    """How deep lists and objects are nested: 0 for a plain value. Not recursive, so that depth is no danger."""
    deepest = 0
    level = [value]
    while level:
        inside: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inside.extend(item.values())
                inside.append(None)
            elif isinstance(item, list):
                inside.extend(item)
                inside.append(None)
        if inside:
            deepest += 1
        level = inside
    return deepest


def execution_message(row: ExecutionRow, last_event: int, value_format: int, with_inputs: bool = True) -> Execution:
    """An execution as clients see it."""
    message = Execution(
        id=str(row.execution_id),
        graph_id=row.graph_id,
        graph_version=row.graph_version,
        user_id=row.user_id,
        status=int(row.status),  # type: ignore[arg-type]  # the engine's enum has the numbers of the proto's
        status_message=row.parked or row.status_message,
        labels=row.labels,
        priority=row.priority,
        create_time=time_of(row.create_time),
        start_time=time_of(row.start_time),
        end_time=time_of(row.end_time),
        node_executions=row.node_executions,
        last_event_sequence=max(last_event, row.last_event),
    )
    if with_inputs:
        if value_format == ValueFormat.VALUE_FORMAT_JSON:
            message.inputs_json = row.inputs
        else:
            message.inputs.CopyFrom(to_struct(orjson.loads(row.inputs)))
    return message


def node_message(
    key: UUID, row: NodeExecutionRow, outputs: Mapping[str, list[bytes]], truncated: bool, value_format: int
) -> NodeExecution:
    """A node execution as clients see it. `outputs` holds JSON values by pin."""
    message = NodeExecution(
        execution_id=str(key),
        number=0 if row.status == 1 else row.number,
        node_id=row.node_id,
        block_id=row.block_id,
        status=int(row.status),  # type: ignore[arg-type]  # the engine's enum has the numbers of the proto's
        attempts=row.attempts,
        outputs_truncated=truncated,
        error=row.error,
        error_reason=int(row.reason),  # type: ignore[arg-type]  # as above
        lineage=[LineageEntry(node_execution=number, index=index) for number, index in row.lineage],
        missing_pins=row.missing,
        task_id=f"{key}-{row.number}" if row.status != 1 else "",
    )
    for field, value_ms in (
        ("queue_time", row.queued_ms),
        ("start_time", row.started_ms),
        ("end_time", row.ended_ms),
    ):
        if value_ms:
            getattr(message, field).CopyFrom(timestamp(value_ms))
    joined = lists_json(outputs)
    if value_format == ValueFormat.VALUE_FORMAT_JSON:
        message.inputs_json = row.inputs
        message.outputs_json = joined
    else:
        message.inputs.CopyFrom(to_struct(orjson.loads(row.inputs)))
        message.outputs.CopyFrom(to_struct(orjson.loads(joined)))
    return message


def lists_json(values: Mapping[str, Iterable[bytes]]) -> bytes:
    """The JSON object of lists of JSON values by name."""
    return b"{" + b",".join(orjson.dumps(name) + b":[" + b",".join(of) + b"]" for name, of in values.items()) + b"}"


def time_of(value: datetime | None) -> Timestamp | None:
    """The protobuf time."""
    if value is None:
        return None
    return Timestamp(seconds=int(value.timestamp()), nanos=value.microsecond * 1000)
