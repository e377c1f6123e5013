"""Between protobuf messages and values: the one place that knows both. Values of users are JSON bytes in between."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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

from services.common.errors import FailedPrecondition, InvalidArgument, NotFound, Violation
from services.common.structs import from_struct, to_struct
from services.execution.engine.effects import ExecutionStatus as Status
from services.execution.loading import CannotLoad
from services.execution.records import ExecutionRow, NodeExecutionRow
from services.execution.telling import timestamp


class ExecutionNotFound(NotFound):
    """There is no such execution, or it belongs to somebody else."""

    reason = ErrorReason.ERROR_REASON_EXECUTION_NOT_FOUND


class ExecutionNotReadable(FailedPrecondition):
    """The execution's history cannot be replayed by this release."""


class InputsInvalid(InvalidArgument):
    """The inputs do not fit the graph's input schema."""

    reason = ErrorReason.ERROR_REASON_INPUTS_INVALID


@contextmanager
def replaying() -> Iterator[None]:
    """What replays an execution for a reader: the reader is told why it cannot be done."""
    try:
        yield
    except CannotLoad as error:
        raise ExecutionNotReadable(f"The execution cannot be replayed by this release: {error}.") from error


def execution_id(text: str) -> UUID:
    """The id in a request. What is no id names no execution."""
    try:
        return UUID(text)
    except ValueError:
        raise ExecutionNotFound(f"There is no execution with the id {text[:100]!r}.") from None


def check_text(fields: Mapping[str, str]) -> None:
    """Raises InvalidArgument for text, by the path of its field, that PostgreSQL cannot hold."""
    violations = [Violation(path, "holds a NUL character") for path, text in fields.items() if "\x00" in text]
    if violations:
        raise InvalidArgument(violations=violations)


def statuses(numbers: Iterable[int]) -> tuple[int, ...]:
    """Different statuses to filter by, in order. Enums of proto3 are open: any number can come in."""
    given = list(numbers)
    violations = [
        Violation(f"statuses[{at}]", f"there is no status {number} to list")
        for at, number in enumerate(given)
        if number not in list(Status)
    ]
    if violations:
        raise InvalidArgument(violations=violations)
    return tuple(sorted(set(given)))


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
