"""What is stored of executions, as values: what repository/ takes and returns."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.execution.engine.effects import ExecutionStatus, NodeStatus
from services.execution.engine.lineage import Lineage
from services.execution.engine.plan import Reason


@dataclass(frozen=True, slots=True)
class Watched:
    """An execution as far as watching it needs to know."""

    execution_id: UUID
    user_id: str
    graph_id: str
    partition: int


@dataclass(frozen=True, slots=True)
class Parent:
    """The node execution that an execution is the run of."""

    execution_id: UUID
    number: int
    attempt: int
    root: UUID
    """The topmost execution above; files and large values of all below it are kept with it, and removed with it."""


@dataclass(frozen=True, slots=True)
class NewExecution:
    """An accepted start: the row that is the durable command."""

    execution_id: UUID
    user_id: str
    graph_id: str
    graph_version: int
    partition: int
    plan_hash: bytes
    rules: int
    inputs: bytes
    """JSON object."""
    labels: dict[str, str]
    priority: int
    traceparent: str
    request_id: str | None
    request_hash: bytes | None
    parent: Parent | None = None
    depth: int = 0
    """Executions above this one."""
    credentials: str | None = None
    """As credentials.encode_references() has them."""
    credits_policy: int = 0
    """A CreditsPolicy."""

    @property
    def watched(self) -> Watched:
        """What watching it needs to know."""
        return Watched(self.execution_id, self.user_id, self.graph_id, self.partition)


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """An execution as its row has it."""

    execution_id: UUID
    user_id: str
    graph_id: str
    graph_version: int
    partition: int
    plan_hash: bytes
    rules: int
    inputs: bytes
    labels: dict[str, str]
    priority: int
    traceparent: str
    request_hash: bytes | None
    status: ExecutionStatus
    status_message: str
    wake_at: datetime
    wake_reason: str
    loads: int
    parked: str | None
    commands: int
    node_executions: int
    last_event: int
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    parent: Parent | None = None
    depth: int = 0
    """Executions above this one."""
    credentials: str | None = None
    """As credentials.encode_references() has them."""
    credits_policy: int = 0
    """A CreditsPolicy."""

    @property
    def watched(self) -> Watched:
        """What watching it needs to know."""
        return Watched(self.execution_id, self.user_id, self.graph_id, self.partition)

    @staticmethod
    def accepted(new: NewExecution, create_time: datetime) -> "ExecutionRow":
        """The row of an execution that was stored a moment ago."""
        return ExecutionRow(
            execution_id=new.execution_id,
            user_id=new.user_id,
            graph_id=new.graph_id,
            graph_version=new.graph_version,
            partition=new.partition,
            plan_hash=new.plan_hash,
            rules=new.rules,
            inputs=new.inputs,
            labels=new.labels,
            priority=new.priority,
            traceparent=new.traceparent,
            request_hash=new.request_hash,
            status=ExecutionStatus.QUEUED,
            status_message="",
            wake_at=create_time,
            wake_reason="to be started",
            loads=0,
            parked=None,
            commands=0,
            node_executions=0,
            last_event=0,
            create_time=create_time,
            start_time=None,
            end_time=None,
            parent=new.parent,
            depth=new.depth,
            credentials=new.credentials,
            credits_policy=new.credits_policy,
        )


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Which executions of a user to list."""

    user_id: str
    graph_id: str = ""
    statuses: tuple[int, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    parent_execution_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command to an execution that runs; `number` counts its commands from 1 in order of commit."""

    execution_id: UUID
    number: int
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A committed turn as replay needs it."""

    turn: int
    now_ms: int
    commands_through: int
    facts: bytes
    checksum: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An execution's state after a turn."""

    execution_id: UUID
    turn: int
    rules: int
    commands_through: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """What the load of an execution begins with: its newest snapshot, and the first turns after it."""

    snapshot: Snapshot | None
    turns: list[StoredTurn]
    is_whole: bool
    """No turn follows."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A committed turn's events as they are published."""

    feed_sequence: int
    execution_id: UUID
    events: bytes
    first_event: int
    last_event: int


@dataclass(frozen=True, slots=True)
class NodeExecutionRow:
    """A node execution with an outcome, or (status INCOMPLETE) an input set that was never full."""

    number: int
    node_id: str
    block_id: str
    status: NodeStatus
    attempts: int
    first_turn: int
    last_turn: int
    queued_ms: int
    started_ms: int
    ended_ms: int
    inputs: bytes
    lineage: Lineage
    error: str
    reason: Reason
    missing: tuple[str, ...] = ()
    stats: bytes = b""
    """What the block reported of its run: a JSON object, or nothing."""

    @staticmethod
    def incomplete(
        number: int, node_id: str, block_id: str, inputs: bytes, lineage: Lineage, missing: tuple[str, ...]
    ) -> "NodeExecutionRow":
        """An input set that was never full: nothing of it ran."""
        return NodeExecutionRow(
            number=number,
            node_id=node_id,
            block_id=block_id,
            status=NodeStatus.INCOMPLETE,
            attempts=0,
            first_turn=0,
            last_turn=0,
            queued_ms=0,
            started_ms=0,
            ended_ms=0,
            inputs=inputs,
            lineage=lineage,
            error="",
            reason=Reason.NONE,
            missing=missing,
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an execution had come after a turn."""

    last_event: int = 0
    node_executions: int = 0
    """Numbered so far."""


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """Where a result stands among those of its execution. Without arguments: before the first."""

    name: str = ""
    position: tuple[int, ...] = ()
    """Its indices in the fan-outs that it stems from."""
    number: int = 0


@dataclass(frozen=True, slots=True)
class OutputRow:
    """A result: a JSON value."""

    place: OutputPlace
    value: bytes


@dataclass(frozen=True, slots=True)
class PartitionLease:
    """A partition that this replica holds. `epoch` rises with each owner."""

    partition: int
    epoch: int
    published_through: int
    feed_sequence: int
    """Of the last committed turn."""
    unsent: bytes | None = None
    """What the owner before has said of tasks that it has not sent, if it did."""
