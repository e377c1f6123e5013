"""What calls answer, as plain values: executions, node executions, graphs, blocks. Times are aware datetimes in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeAlias

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from blockyard import values
from blockyard.common.v1 import errors_pb2
from blockyard.errors import FieldViolation
from blockyard.event.v1 import event_pb2
from blockyard.execution.v1 import execution_pb2, execution_service_pb2
from blockyard.graph.v1 import block_pb2, block_service_pb2, graph_pb2

Json: TypeAlias = Any  # Any: a JSON value is what the graph's author made it
Results: TypeAlias = dict[str, list[Json]]
"""Lists of values by name: of an output of a graph, or of a pin of a node."""


class ExecutionStatus(Enum):
    """Where an execution stands."""

    UNSPECIFIED = 0
    QUEUED = 1
    RUNNING = 2
    WAITING = 3
    COMPLETED = 4
    FAILED = 5
    CANCELLED = 6

    @property
    def ended(self) -> bool:
        """True if it will not change any more."""
        return self in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)


class NodeStatus(Enum):
    """Where a node execution stands."""

    UNSPECIFIED = 0
    INCOMPLETE = 1
    QUEUED = 2
    RUNNING = 3
    COMPLETED = 4
    FAILED = 5
    CANCELLED = 6
    SKIPPED = 7
    AMBIGUOUS = 8
    WAITING = 9


@dataclass(frozen=True, slots=True)
class Execution:
    """A run of a graph. `inputs` is empty in lists."""

    id: str
    graph_id: str
    graph_version: int
    status: ExecutionStatus
    status_message: str
    inputs: Mapping[str, Json]
    labels: Mapping[str, str]
    priority: int
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    node_executions: int
    last_event_sequence: int
    parent_execution_id: str = ""
    """Execution that this one is a part of: its node execution `parent_node_execution` waits for this one."""
    parent_node_execution: int = 0

    @classmethod
    def from_proto(cls, proto: execution_pb2.Execution) -> "Execution":
        """The value of a message."""
        return cls(
            id=proto.id,
            graph_id=proto.graph_id,
            graph_version=proto.graph_version,
            status=ExecutionStatus(proto.status),
            status_message=proto.status_message,
            inputs=json_object(proto.inputs_json),
            labels=dict(proto.labels),
            priority=proto.priority,
            created=moment(proto, "create_time"),
            started=moment(proto, "start_time"),
            ended=moment(proto, "end_time"),
            node_executions=proto.node_executions,
            last_event_sequence=proto.last_event_sequence,
            parent_execution_id=proto.parent_execution_id,
            parent_node_execution=proto.parent_node_execution,
        )


@dataclass(frozen=True, slots=True)
class AbsentValue:
    """A value of a node execution that an answer cannot hold; None stands in the place of an output."""

    pin: str
    index: int
    is_input: bool
    absence: str
    """MISSING or TOO_LARGE."""
    message: str


@dataclass(frozen=True, slots=True)
class AbsentResult:
    """A value of a graph's output that no answer can hold; None stands in its place."""

    output: str
    index: int
    """Which value of the output's list, from 0."""
    absence: str
    """MISSING or TOO_LARGE."""
    message: str


@dataclass(frozen=True, slots=True)
class NodeExecution:
    """A run of one node. `outputs` holds for each pin the list of its values; events have those that were cut off."""

    execution_id: str
    number: int
    node_id: str
    block_id: str
    status: NodeStatus
    attempts: int
    inputs: Mapping[str, Json]
    outputs: Results
    outputs_truncated: bool
    error: str
    error_reason: str
    queued: datetime | None
    started: datetime | None
    ended: datetime | None
    lineage: tuple[tuple[int, int], ...]
    missing_pins: tuple[str, ...]
    task_id: str
    absent_values: tuple[AbsentValue, ...] = ()
    child_execution_id: str = ""
    """Execution of another graph that it is the run of; empty if it is none."""
    stats: Mapping[str, Json] = field(default_factory=dict)
    """What was reported of the run: `cost` in credits where its block has costs, and what the block says, as tokens."""

    @classmethod
    def from_proto(cls, proto: execution_pb2.NodeExecution) -> "NodeExecution":
        """The value of a message."""
        return cls(
            execution_id=proto.execution_id,
            number=proto.number,
            node_id=proto.node_id,
            block_id=proto.block_id,
            status=NodeStatus(proto.status),
            attempts=proto.attempts,
            inputs=json_object(proto.inputs_json),
            outputs=json_object(proto.outputs_json),
            outputs_truncated=proto.outputs_truncated,
            error=proto.error,
            error_reason=node_error_reason(proto.error_reason),
            queued=moment(proto, "queue_time"),
            started=moment(proto, "start_time"),
            ended=moment(proto, "end_time"),
            lineage=tuple((entry.node_execution, entry.index) for entry in proto.lineage),
            missing_pins=tuple(proto.missing_pins),
            task_id=proto.task_id,
            absent_values=tuple(
                AbsentValue(one.pin, one.index, one.input, absence_name(one.absence), one.message)
                for one in proto.absent_values
            ),
            child_execution_id=proto.child_execution_id,
            stats=struct_object(proto.stats),
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that an execution waits for."""

    node_execution: int
    node_id: str
    reason: str
    runner: str
    wakes: datetime | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an execution that has not ended waits for, who holds it, and when it is looked at next."""

    execution: Execution
    summary: str
    owner: str
    next_look: datetime | None
    waiting: tuple[Waiting, ...]

    @classmethod
    def from_proto(cls, proto: execution_service_pb2.ExplainExecutionResponse) -> "Explanation":
        """The value of a message."""
        return cls(
            execution=Execution.from_proto(proto.execution),
            summary=proto.summary,
            owner=proto.owner,
            next_look=moment(proto, "next_look_time"),
            waiting=tuple(
                Waiting(one.node_execution, one.node_id, one.reason, one.runner, moment(one, "wake_time"))
                for one in proto.waiting
            ),
        )


@dataclass(frozen=True, slots=True)
class RepairedStream:
    """A stream of NATS after a repair."""

    name: str
    repair: str
    """found, changed or made."""
    messages: int
    created: datetime | None
    """One that was lost may have been made anew before anybody asked for it."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair of the streams did, and what is missing yet."""

    streams: tuple[RepairedStream, ...]
    partitions: int
    unheld_partitions: int
    """Those that no living replica holds."""
    deaf_partitions: int
    """Those whose results nobody takes."""
    unpublished_turns: int
    whole: bool

    @classmethod
    def from_proto(cls, proto: execution_service_pb2.RepairStreamsResponse) -> "Repair":
        """The value of a message."""
        streams = tuple(
            RepairedStream(one.name, _repair_name(one.repair), one.messages, moment(one, "create_time"))
            for one in proto.streams
        )
        return cls(
            streams,
            proto.partitions,
            proto.unheld_partitions,
            proto.deaf_partitions,
            proto.unpublished_turns,
            proto.whole,
        )


def _repair_name(number: int) -> str:
    names = {value.number: value.name for value in execution_service_pb2.StreamRepair.DESCRIPTOR.values}
    return names.get(number, "unknown").removeprefix("STREAM_REPAIR_").lower()


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """A graph as it is stored, at one version. `content` has its nodes and links; in lists it has none."""

    id: str
    version: int
    active_version: int
    latest_version: int
    name: str
    description: str
    input_schema: Mapping[str, Json]
    output_schema: Mapping[str, Json]
    created: datetime | None
    updated: datetime | None
    content: graph_pb2.Graph
    warnings: tuple[FieldViolation, ...] = ()

    @classmethod
    def from_proto(cls, proto: graph_pb2.Graph, warnings: tuple[FieldViolation, ...] = ()) -> "GraphRecord":
        """The value of a message."""
        return cls(
            id=proto.id,
            version=proto.version,
            active_version=proto.active_version,
            latest_version=proto.latest_version,
            name=proto.name,
            description=proto.description,
            input_schema=struct_object(proto.input_schema),
            output_schema=struct_object(proto.output_schema),
            created=moment(proto, "create_time"),
            updated=moment(proto, "update_time"),
            content=proto,
            warnings=warnings,
        )


@dataclass(frozen=True, slots=True)
class Validation:
    """What validation says of a graph. Without errors it can be stored and run."""

    errors: tuple[FieldViolation, ...]
    warnings: tuple[FieldViolation, ...]


@dataclass(frozen=True, slots=True)
class BlockCostRecord:
    """What a run costs: credits for each unit (RUN, BYTE, SECOND), where the inputs have the values of the filter."""

    amount: int
    type: str
    filter: Mapping[str, Json]

    @classmethod
    def from_proto(cls, proto: block_pb2.BlockCost) -> "BlockCostRecord":
        """The value of a message."""
        kind = _word(block_pb2.BlockCostType, proto.type, "BLOCK_COST_TYPE_")
        return cls(proto.amount, kind, struct_object(proto.filter))


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A block of the catalogue."""

    id: str
    name: str
    description: str
    categories: tuple[str, ...]
    contributors: tuple[str, ...]
    type: str
    effect: str
    pool: str
    input_schema: Mapping[str, Json]
    output_schema: Mapping[str, Json]
    many_pins: tuple[str, ...]
    static_output: bool
    disabled: bool
    unavailable_reason: str
    availability: str
    """AVAILABLE, DISABLED, NOT_CONFIGURED or NO_RUNNER; empty if the server is older than this."""
    costs: tuple[BlockCostRecord, ...]
    """The first one whose filter the inputs meet applies."""
    timeout: float
    """Longest run in seconds where a node names none; 0 if the block names none either."""
    schema_hash: str
    """The current version: over all that an execution depends on."""
    register_time: datetime | None
    """When that was first registered."""

    @classmethod
    def from_proto(cls, proto: block_pb2.Block) -> "BlockRecord":
        """The value of a message."""
        return cls(
            id=proto.id,
            name=proto.name,
            description=proto.description,
            categories=tuple(proto.categories),
            contributors=tuple(proto.contributors),
            type=_word(block_pb2.BlockType, proto.type, "BLOCK_TYPE_"),
            effect=_word(block_pb2.Effect, proto.effect, "EFFECT_"),
            pool=proto.pool,
            input_schema=struct_object(proto.input_schema),
            output_schema=struct_object(proto.output_schema),
            many_pins=tuple(proto.many_pins),
            static_output=proto.static_output,
            disabled=proto.disabled,
            unavailable_reason=proto.unavailable_reason,
            availability=_word(block_pb2.BlockAvailability, proto.availability, "BLOCK_AVAILABILITY_"),
            costs=tuple(BlockCostRecord.from_proto(cost) for cost in proto.costs),
            timeout=proto.timeout.ToTimedelta().total_seconds(),
            schema_hash=proto.schema_hash,
            register_time=moment(proto, "register_time"),
        )


def _word(enum: Any, number: int, prefix: str) -> str:  # Any: enums of protobuf have no common type
    """Name of a number without its prefix; empty if it is not set, UNKNOWN for one that is newer than this package."""
    if not number:
        return ""
    return enum.Name(number).removeprefix(prefix) if number in enum.values() else "UNKNOWN"


@dataclass(frozen=True, slots=True)
class BlockCategoryRecord:
    """What blocks are about, and how many there are."""

    name: str
    description: str
    blocks: int
    available_blocks: int

    @classmethod
    def from_proto(cls, proto: block_service_pb2.BlockCategory) -> "BlockCategoryRecord":
        """The value of a message."""
        return cls(proto.name, proto.description, proto.blocks, proto.available_blocks)


@dataclass(frozen=True, slots=True)
class BlockRunnerRecord:
    """A runner that has a version of a block, and why it cannot run it (empty if it can)."""

    runner_id: str
    pool: str
    seen_time: datetime | None
    present: bool
    unavailable_reason: str


@dataclass(frozen=True, slots=True)
class BlockVersionRecord:
    """A block as some runners have it. New executions use the current one."""

    schema_hash: str
    register_time: datetime | None
    current: bool
    pool: str
    runners: tuple[BlockRunnerRecord, ...]

    @classmethod
    def from_proto(cls, proto: block_service_pb2.BlockVersion) -> "BlockVersionRecord":
        """The value of a message."""
        runners = tuple(
            BlockRunnerRecord(one.runner_id, one.pool, moment(one, "seen_time"), one.present, one.unavailable_reason)
            for one in proto.runners
        )
        return cls(proto.schema_hash, moment(proto, "register_time"), proto.current, proto.pool, runners)


def moment(message: Message, field: str) -> datetime | None:
    """The time in a field; None if the field is not set."""
    if not message.HasField(field):
        return None
    stamp = getattr(message, field)
    assert isinstance(stamp, Timestamp)
    return stamp.ToDatetime(tzinfo=UTC)


def timestamp(time: datetime | None) -> Timestamp | None:
    """The message of a time; None if there is none. A time without a zone is one of this machine's."""
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time.astimezone(UTC))
    return stamp


def json_object(data: bytes) -> dict[str, Json]:
    """The object in a *_json field; empty if the field is."""
    decoded = values.decode(data) if data else {}
    if not isinstance(decoded, dict):
        raise TypeError(f"expected a JSON object, got {type(decoded).__name__}")
    return decoded


def struct_object(struct: Struct) -> dict[str, Json]:
    """The object in a Struct, which knows doubles alone: whole ones are integers."""
    whole: dict[str, Json] = _whole_numbers(MessageToDict(struct))
    return whole


def _whole_numbers(value: Json) -> Json:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value


def absence_name(absence: event_pb2.ValueAbsence.ValueType) -> str:
    """Name of a reason to leave out a value without its prefix; empty if there is none, UNKNOWN for one that is newer
    than this package."""
    if absence == event_pb2.VALUE_ABSENCE_UNSPECIFIED:
        return ""
    if absence not in event_pb2.ValueAbsence.values():
        return "UNKNOWN"
    return event_pb2.ValueAbsence.Name(absence).removeprefix("VALUE_ABSENCE_")


def node_error_reason(reason: errors_pb2.NodeErrorReason.ValueType) -> str:
    """Name of a reason without its prefix; empty if there is none."""
    if reason == errors_pb2.NODE_ERROR_REASON_UNSPECIFIED:
        return ""
    return errors_pb2.NodeErrorReason.Name(reason).removeprefix("NODE_ERROR_REASON_")
