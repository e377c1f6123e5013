"""Commands to executions, as rows: what is asked, as it is stored and as a fact."""

from enum import IntEnum
from uuid import UUID

import msgspec

from services.execution.engine import Decided, Decision, Fact, Output, StopRequested
from services.execution.records import CommandRow


class CommandKind(IntEnum):
    """What is asked."""

    STOP = 1
    DECIDE = 2


class Stop(msgspec.Struct, frozen=True, array_like=True):
    """End the execution."""

    message: str


class Decide(msgspec.Struct, frozen=True, array_like=True):
    """What becomes of an AMBIGUOUS node execution."""

    number: int
    decision: int
    outputs: list[tuple[str, int, bytes]]
    message: str


def encode_command(command: Stop | Decide) -> tuple[CommandKind, bytes]:
    """Kind and body as stored."""
    kind = CommandKind.STOP if isinstance(command, Stop) else CommandKind.DECIDE
    return kind, msgspec.msgpack.encode(command)


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
        return StopRequested(row.number, stop.message)
    decide = msgspec.msgpack.decode(row.body, type=Decide)
    outputs = tuple(Output(pin, index, value) for pin, index, value in decide.outputs)
    return Decided(row.number, decide.number, Decision(decide.decision), outputs, decide.message)


def hint_subject(partition: int) -> str:
    """Core subject on which an owner is told of new commands and executions: the payload is the id's 16 bytes."""
    return f"blockyard.command.{partition}"


def hint_payload(execution_id: UUID) -> bytes:
    """See hint_subject."""
    return execution_id.bytes
