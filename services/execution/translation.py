"""Between protobuf messages and values: the one place that knows both. Values of users are JSON bytes in between."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from blockyard.event.v1.event_pb2 import ValueAbsence
from blockyard.execution.v1.block_run_pb2 import (
    EXECUTION_MODE_IMMEDIATE,
    MissingCredentials,
    SetupReadiness,
    SetupRequirements,
)
from blockyard.execution.v1.execution_pb2 import AbsentValue, Execution, LineageEntry, NodeExecution
from blockyard.execution.v1.execution_service_pb2 import (
    STREAM_REPAIR_CHANGED,
    STREAM_REPAIR_FOUND,
    STREAM_REPAIR_MADE,
    AbsentResult,
    GetExecutionResultsResponse,
    RepairedStream,
    RepairStreamsResponse,
    ValueFormat,
)
from blockyard.values import parse
from google.protobuf.struct_pb2 import NullValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import InvalidArgument, Violation
from services.common.structs import LEVELS, TooDeep, from_struct, to_struct, to_value
from services.execution.block_setup import Setup
from services.execution.engine.effects import ExecutionStatus as Status
from services.execution.errors import ExecutionNotFound, InputsInvalid
from services.execution.history import Absence, Found, Result
from services.execution.large_values import LARGEST
from services.execution.records import ExecutionRow, Progress
from services.execution.repairing import Repaired, StreamState
from services.execution.telling import timestamp

_REPAIRS = {
    StreamState.FOUND: STREAM_REPAIR_FOUND,
    StreamState.CHANGED: STREAM_REPAIR_CHANGED,
    StreamState.MADE: STREAM_REPAIR_MADE,
}

LONGEST_STATS = 256 << 10
"""Bytes of stats that an answer has; more are left out."""


def execution_id(text: str) -> UUID:
    """The id in a request. What is no id names no execution."""
    try:
        return UUID(text)
    except ValueError:
        raise ExecutionNotFound(f"There is no execution with the id {text[:100]!r}.") from None


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


def graph_id(text: str) -> str:
    """A graph's id as it is stored: UUIDs may be written in other ways."""
    try:
        return str(UUID(text))
    except ValueError:
        return text


def preset_id(text: str) -> str:
    """A preset's id as the graph service writes it. What is no id names no preset, as it will say."""
    return graph_id(text)


def execution_message(
    row: ExecutionRow, progress: Progress | None, value_format: int, with_inputs: bool = True
) -> Execution:
    """An execution as clients see it. `progress` is that of its last turn, where the row may be older."""
    progress = progress or Progress()
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
        node_executions=max(progress.node_executions, row.node_executions),
        last_event_sequence=max(progress.last_event, row.last_event),
        parent_execution_id=str(row.parent.execution_id) if row.parent else "",
        parent_node_execution=row.parent.number if row.parent else 0,
    )
    if with_inputs:
        if value_format == ValueFormat.VALUE_FORMAT_JSON:
            message.inputs_json = row.inputs
        else:
            message.inputs.CopyFrom(to_struct(orjson.loads(row.inputs)))
    return message


def node_message(key: UUID, found: Found, value_format: int) -> NodeExecution:
    """A node execution as clients see it."""
    row = found.row
    message = NodeExecution(
        execution_id=str(key),
        number=0 if row.status == 1 else row.number,
        node_id=row.node_id,
        block_id=row.block_id,
        status=int(row.status),  # type: ignore[arg-type]  # the engine's enum has the numbers of the proto's
        attempts=row.attempts,
        outputs_truncated=found.truncated,
        error=row.error,
        error_reason=int(row.reason),  # type: ignore[arg-type]  # as above
        lineage=[LineageEntry(node_execution=number, index=index) for number, index in row.lineage],
        missing_pins=row.missing,
        task_id=f"{key}-{row.number}" if row.status != 1 else "",
        absent_values=[_absent_value(one.pin, one.index, one.is_input, one.absence) for one in found.absent],
    )
    for field, value_ms in (
        ("queue_time", row.queued_ms),
        ("start_time", row.started_ms),
        ("end_time", row.ended_ms),
    ):
        if value_ms:
            getattr(message, field).CopyFrom(timestamp(value_ms))
    _add_values(message, row.inputs, found.outputs, value_format)
    if row.stats:
        _add_stats(message, row.stats)
    return message


def _add_stats(message: NodeExecution, data: bytes) -> None:
    """Adds what a block reported of its run. Runners of any make may have sent it: what is of no use is left out."""
    try:
        stats = orjson.loads(data)
        if isinstance(stats, dict) and len(data) <= LONGEST_STATS:
            message.stats.CopyFrom(to_struct(stats))
    except (ValueError, TooDeep):
        return


def _add_values(message: NodeExecution, inputs: bytes, outputs: Mapping[str, list[bytes]], value_format: int) -> None:
    if value_format == ValueFormat.VALUE_FORMAT_JSON:
        message.inputs_json = inputs
        message.outputs_json = lists_json(outputs)
    else:
        room = _add_outputs(message, outputs, LARGEST)
        _add_inputs(message, orjson.loads(inputs), room)


def _add_outputs(message: NodeExecution, outputs: Mapping[str, list[bytes]], room: int) -> int:
    """Adds outputs as a Struct, null in the place of those that it cannot hold; gives the room that is left."""
    message.outputs.SetInParent()
    for pin, values in outputs.items():
        given = message.outputs.fields[pin].list_value.values
        for index, value in enumerate(values):
            fitting = _fitting(orjson.loads(value), LEVELS - 2, room)
            if isinstance(fitting, Absence):
                message.absent_values.append(_absent_value(pin, index, False, fitting))
                fitting = NULL
            given.append(fitting)
            room -= fitting.ByteSize()
    return room


def _add_inputs(message: NodeExecution, inputs: Mapping[str, Any], room: int) -> None:
    """Adds inputs as a Struct, but those that it cannot hold."""
    message.inputs.SetInParent()
    for pin, value in inputs.items():
        fitting = _fitting(value, LEVELS - 1, room)
        if isinstance(fitting, Absence):
            message.absent_values.append(_absent_value(pin, 0, True, fitting))
        else:
            message.inputs.fields[pin].CopyFrom(fitting)
            room -= fitting.ByteSize()


def _absent_value(pin: str, index: int, is_input: bool, absence: Absence) -> AbsentValue:
    return AbsentValue(pin=pin, index=index, input=is_input, absence=absence.kind, message=absence.message)


NULL = Value(null_value=NullValue.NULL_VALUE)

# A Struct takes up to six times as many bytes as JSON.
TOO_LARGE = Absence(
    ValueAbsence.VALUE_ABSENCE_TOO_LARGE,
    "The value is too large for a message in the form google.protobuf.Struct: ask for VALUE_FORMAT_JSON.",
)
TOO_DEEP = Absence(
    ValueAbsence.VALUE_ABSENCE_TOO_DEEP,
    "The value is nested too deeply for the form google.protobuf.Struct: ask for VALUE_FORMAT_JSON.",
)


def _fitting(value: Any, levels: int, room: int) -> Value | Absence:
    """The Value of a JSON value, or why there can be none: at most so many levels, at most so many bytes."""
    try:
        message = to_value(value, levels)
    except TooDeep:
        return TOO_DEEP
    return message if message.ByteSize() <= room else TOO_LARGE


def setup_message(setup: Setup) -> SetupRequirements:
    """What a block needs before it can run, as clients see it."""
    message = SetupRequirements(
        block_id=setup.block_id,
        block_name=setup.block_name,
        message=setup.message,
        readiness=SetupReadiness(missing_inputs=setup.missing_inputs),
        missing_credentials={
            pin: MissingCredentials(
                providers=one.providers, types=one.types, scopes=one.scopes, description=one.description
            )
            for pin, one in setup.missing.items()
        },
        execution_modes=[EXECUTION_MODE_IMMEDIATE],
    )
    message.input_schema.CopyFrom(to_struct(setup.input_schema))
    return message


class ResultPage:
    """Results of one answer, in the form that was asked for."""

    def __init__(self, value_format: int) -> None:
        self._json: dict[str, list[bytes]] | None = {} if value_format == ValueFormat.VALUE_FORMAT_JSON else None
        self._struct = Struct()
        self._absent: list[AbsentResult] = []
        self._lengths: Counter[str] = Counter()
        self._size = 0
        self.count = 0

    def add(self, result: Result, room: int) -> bool:
        """Takes a result in; False if the answer would have more bytes than `room`, unless it is the first."""
        name, message, absence = result.place.name, NULL, result.absence
        if self._json is None:
            fitting = _fitting(orjson.loads(result.value), LEVELS - 2, LARGEST)
            if isinstance(fitting, Absence):
                absence = fitting
            else:
                message = fitting
        size = len(name.encode()) + (len(result.value) if self._json is not None else message.ByteSize()) + 8
        if absence:
            size += len(name.encode()) + len(absence.message.encode()) + 24
        if self.count and self._size + size > room:
            return False
        if absence:
            self._absent.append(
                AbsentResult(output=name, index=self._lengths[name], absence=absence.kind, message=absence.message)
            )
        if self._json is not None:
            self._json.setdefault(name, []).append(result.value)
        else:
            self._struct.fields[name].list_value.values.append(message)
        self._lengths[name] += 1
        self._size += size
        self.count += 1
        return True

    def write(self, answer: GetExecutionResultsResponse) -> None:
        """Puts them into the answer."""
        answer.absent_values.extend(self._absent)
        if self._json is not None:
            answer.results_json = lists_json(self._json)
        else:
            answer.results.CopyFrom(self._struct)


def repair_message(repaired: Repaired) -> RepairStreamsResponse:
    """What a repair did, as clients see it."""
    return RepairStreamsResponse(
        streams=[
            RepairedStream(
                name=one.name, repair=_REPAIRS[one.state], messages=one.messages, create_time=time_of(one.created)
            )
            for one in repaired.streams
        ],
        partitions=repaired.partitions,
        unheld_partitions=repaired.unheld,
        deaf_partitions=repaired.deaf,
        unpublished_turns=repaired.unpublished,
        whole=repaired.whole,
    )


def lists_json(values: Mapping[str, Iterable[bytes]]) -> bytes:
    """The JSON object of lists of JSON values by name."""
    return b"{" + b",".join(orjson.dumps(name) + b":[" + b",".join(of) + b"]" for name, of in values.items()) + b"}"


def time_of(value: datetime | None) -> Timestamp | None:
    """The protobuf time."""
    if value is None:
        return None
    return Timestamp(seconds=int(value.timestamp()), nanos=value.microsecond * 1000)
