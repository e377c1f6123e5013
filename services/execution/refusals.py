"""Starts that nobody watches and that failed: whether another try may do better, and what their owner reads.

Schedules and triggers ask both here. What passes by itself is tried again, by the scheduler or by the sender of a
webhook; what will last is recorded with its reason. Children (children.py) ask here only which answers of other
services will last. What this service itself refuses fails their node, whether or not it would pass: room among the
executions of a user may be taken by the very parents that would wait for it.
"""

import asyncpg
import grpc
from blockyard.errors import from_rpc_error

from services.common.blobs import BlobStoreAway
from services.common.database import TROUBLE
from services.common.errors import BlockyardError

LASTING = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Answers of other services that would be the same another time, unless they say when to come again: RESOURCE_EXHAUSTED
is that of a graph too large for a message."""

PASSING = (BlobStoreAway, TimeoutError, *TROUBLE)

LONGEST_REASON = 2_000
"""Characters."""


def is_lasting(error: Exception) -> bool:
    """Whether the same start would be refused another time."""
    if isinstance(error, BlockyardError):
        return error.retry_after is None
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in LASTING and from_rpc_error(error).retry_after is None
    return isinstance(error, asyncpg.DataError) or not isinstance(error, PASSING)


def reason_text(error: Exception) -> str:
    """What the owner of what was to be started is told."""
    return printable(_told(error))[:LONGEST_REASON]


def printable(text: str) -> str:
    """One line that PostgreSQL stores and a terminal shows: inputs and names that it quotes may hold anything."""
    return "".join(character if character.isprintable() else " " for character in text)


def _told(error: Exception) -> str:
    if isinstance(error, BlockyardError):
        violations = "; ".join(f"{each.field}: {each.description}" for each in error.violations)
        return f"{error.message} {violations}".strip()
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or error.code().name
    if isinstance(error, PASSING):
        return "A part of Blockyard that is needed is away."
    return "Something unexpected went wrong; the operator finds it in the log."
