"""What a run of one block without a graph comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from blockyard.execution.v1 import block_run_pb2
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.records import Execution, ExecutionStatus, Json, NodeExecution, Results, struct_object


@dataclass(frozen=True, slots=True)
class MissingCredentials:
    """Credentials that an input pin takes: of any of these providers and types, with all of these scopes."""

    providers: tuple[str, ...]
    types: tuple[str, ...]
    scopes: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class SetupRequirements:
    """What a block needs before it can run on its own."""

    block_id: str
    block_name: str
    message: str
    has_all_credentials: bool
    missing_inputs: tuple[str, ...]
    """Other pins than those for credentials that are required and were not given."""
    ready_to_run: bool
    missing_credentials: Mapping[str, MissingCredentials]
    """By input pin."""
    input_schema: Mapping[str, Json]
    """JSON schema of the inputs without the pins that take credentials."""
    execution_modes: tuple[str, ...]

    @classmethod
    def from_proto(cls, proto: block_run_pb2.SetupRequirements) -> "SetupRequirements":
        """The value of a message."""
        return cls(
            block_id=proto.block_id,
            block_name=proto.block_name,
            message=proto.message,
            has_all_credentials=proto.readiness.has_all_credentials,
            missing_inputs=tuple(proto.readiness.missing_inputs),
            ready_to_run=proto.readiness.ready_to_run,
            missing_credentials={
                pin: MissingCredentials(tuple(one.providers), tuple(one.types), tuple(one.scopes), one.description)
                for pin, one in proto.missing_credentials.items()
            },
            input_schema=struct_object(proto.input_schema),
            execution_modes=tuple(_mode(mode) for mode in proto.execution_modes),
        )


@dataclass(frozen=True, slots=True)
class BlockRun:
    """The run of a block: an execution that belongs to no graph. `setup` says instead what the block needs first."""

    execution: Execution | None
    """None if nothing was started."""
    node: NodeExecution | None
    """What the block did, without its inputs. None if the run has not ended."""
    setup: SetupRequirements | None = None
    stats: Mapping[str, Json] = field(default_factory=dict)
    """What the block reported of its run, such as tokens and their cost."""

    @property
    def outputs(self) -> Results:
        """The values that the block gave, as a list for each pin."""
        return self.node.outputs if self.node is not None else {}

    @property
    def error(self) -> str:
        """Why the block failed; empty if it did not."""
        return self.node.error if self.node is not None else ""

    @property
    def completed(self) -> bool:
        """True if the block has run, and well."""
        return self.execution is not None and self.execution.status is ExecutionStatus.COMPLETED

    @classmethod
    def from_proto(cls, proto: messages.RunBlockResponse) -> "BlockRun":
        """The value of an answer."""
        if proto.HasField("setup_requirements"):
            return cls(None, None, SetupRequirements.from_proto(proto.setup_requirements))
        has_ended = proto.HasField("node_execution")
        return cls(
            execution=Execution.from_proto(proto.execution),
            node=NodeExecution.from_proto(proto.node_execution) if has_ended else None,
            stats=struct_object(proto.node_execution.stats),
        )


def _mode(mode: block_run_pb2.ExecutionMode.ValueType) -> str:
    """Name of a mode without its prefix; UNKNOWN for one that is newer than this package."""
    if mode not in block_run_pb2.ExecutionMode.values():
        return "UNKNOWN"
    return block_run_pb2.ExecutionMode.Name(mode).removeprefix("EXECUTION_MODE_")
