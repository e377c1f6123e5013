"""Commands to executions, as rows: what is asked, as it is stored and as a fact."""

from enum import IntEnum
from uuid import UUID

import msgspec

from services.execution.engine import ChildEnded, Decided, Decision, Fact, Output, StopRequested
from services.execution.records import CommandRow


class CommandKind(IntEnum):
    """What is asked."""

    STOP = 1
    DECIDE = 2
    END_CHILD = 3


class Stop(msgspec.Struct, frozen=True, array_like=True):
    """End the execution."""

    message: str
    failed: bool = False
    """As FAILED, not as CANCELLED."""


class Decide(msgspec.Struct, frozen=True, array_like=True):
    """What becomes of a node execution that is AMBIGUOUS, or that waits for a person."""

    number: int
    decision: int
    outputs: list[tuple[str, int, bytes]]
    message: str


class EndChild(msgspec.Struct, frozen=True, array_like=True):
    """The execution that a node execution waits for has ended, or could not begin."""

    number: int
    attempt: int
    outputs: list[tuple[str, int, bytes]]
    failed: bool
    message: str
    stats: bytes


KINDS = {Stop: CommandKind.STOP, Decide: CommandKind.DECIDE, EndChild: CommandKind.END_CHILD}


def encode_command(command: Stop | Decide | EndChild) -> tuple[CommandKind, bytes]:
    """Kind and body as stored."""
    return KINDS[type(command)], msgspec.msgpack.encode(command)


class CommandUnreadable(Exception):
    """A stored command means nothing to this release."""


def command_fact(row: CommandRow) -> Fact:
    """The fact of a stored command."""
    try:
        return _fact(row)
    except (ValueError, msgspec.MsgspecError) as error:
        raise CommandUnreadable(f"its command {row.number} cannot be read: {error}") from error


def _fact(row: CommandRow) -> Fact:
    if row.kind == CommandKind.STOP:
        stop = msgspec.msgpack.decode(row.body, type=Stop)
        return StopRequested(row.number, stop.message, stop.failed)
    if row.kind == CommandKind.END_CHILD:
        end = msgspec.msgpack.decode(row.body, type=EndChild)
        return ChildEnded(
            row.number, end.number, end.attempt, _outputs(end.outputs), end.failed, end.message, end.stats
        )
    decide = msgspec.msgpack.decode(row.body, type=Decide)
    return Decided(row.number, decide.number, Decision(decide.decision), _outputs(decide.outputs), decide.message)


def _outputs(told: list[tuple[str, int, bytes]]) -> tuple[Output, ...]:
    return tuple(Output(pin, index, value) for pin, index, value in told)


def hint_subject(partition: int) -> str:
    """Core subject on which an owner is told of new commands and executions: the payload is the id's 16 bytes."""
    return f"blockyard.command.{partition}"


def hint_payload(execution_id: UUID) -> bytes:
    """See hint_subject."""
    return execution_id.bytes
