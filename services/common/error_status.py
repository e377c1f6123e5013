"""What a caller is told of an exception: the one table from exceptions to google.rpc.Status with its details."""

import socket
import uuid
from collections.abc import Iterable
from typing import Any

import asyncpg
import grpc
import structlog
from blockyard.common.v1 import errors_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.common.blobs import BlobStoreAway
from services.common.errors import BlockyardError, Internal, StorageFull, Unavailable, Violation

DOMAIN = "blockyard"

# A status travels in HTTP/2 trailers, which clients bound at 8 KiB by default: twice the message (once percent-encoded)
# and the whole status in base64 must fit there, or the client is told of nothing but oversized metadata.
STATUS_BYTES = 4_200
MESSAGE_BYTES = 600

log = structlog.stdlib.get_logger(__name__)

_AWAY: tuple[type[Exception], ...] = (
    ConnectionError,
    socket.gaierror,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,  # a connection that broke in the middle of an operation
    asyncpg.OperatorInterventionError,  # shutting down, and also the statement timeout
    asyncpg.TooManyConnectionsError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    BlobStoreAway,
)

# What another service says of the request itself is the caller's to know; the rest is between the two services.
_PASSED_ON = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}


def from_exception(error: Exception) -> status_pb2.Status:
    """The status for any exception. One that nobody expected is logged under the reference id that the client gets."""
    if isinstance(error, grpc.aio.AioRpcError) and (status := _passed_on(error)) is not None:
        return status
    return status_of(_expected(error) or _unexpected(error))


def _expected(error: Exception) -> BlockyardError | None:
    if isinstance(error, BlockyardError):
        return error
    if isinstance(error, asyncpg.DiskFullError):
        log.error("the database has no space left")
        return StorageFull()
    if isinstance(error, _AWAY) or _is_closed(error):
        log.warning("a part that is needed is away", reason=str(error) or type(error).__name__)
        return Unavailable()
    if isinstance(error, grpc.aio.AioRpcError) and error.code() in _PASSING:
        log.warning("a service that is needed is away", reason=error.details())
        return Unavailable()
    return None


def _is_closed(error: Exception) -> bool:
    """asyncpg says by the same class that a connection is closed and that it was called wrongly.

    One that breaks between two statements of a transaction goes back to its pool at once: the next one is told that.
    """
    signs = ("closed", "closing", "released back to the pool")
    return isinstance(error, asyncpg.InterfaceError) and any(sign in str(error) for sign in signs)


def _unexpected(error: Exception) -> Internal:
    reference = uuid.uuid4().hex[:16]
    log.error("a call failed unexpectedly", reference=reference, exc_info=error)
    return Internal(
        f"Something unexpected went wrong. The log has more under the reference {reference}.",
        metadata={"reference": reference},
    )


def _passed_on(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    if error.code() not in _PASSED_ON:
        return None
    status: status_pb2.Status | None = rpc_status.from_call(error)
    ours = status is not None and reason_of(status) is not None
    return status if ours else None


def reason_of(status: status_pb2.Status) -> str | None:
    """The reason that a status of Blockyard's carries, such as "GRAPH_NOT_FOUND"."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return str(info.reason)
    return None


def status_of(error: BlockyardError) -> status_pb2.Status:
    """The status of an expected error. Violations that do not fit in are counted instead of listed."""
    code = error.code.value[0]
    status = status_pb2.Status(code=code, message=_shortened(error.message, MESSAGE_BYTES))
    reason = errors_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")
    _add(status, error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=error.metadata))
    if error.retry_after is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromNanoseconds(round(error.retry_after * 1e9))
        _add(status, info)
    if error.violations:
        _add_violations(status, error.violations, reason)
    return status


def _add_violations(status: status_pb2.Status, violations: Iterable[Violation], reason: str) -> None:
    listed = list(violations)
    room = STATUS_BYTES - status.ByteSize()
    kept: list[Violation] = []
    for violation in listed:
        short = Violation(_shortened(violation.field, 200), _shortened(violation.description, 400))
        room -= len(short.field.encode()) + len(short.description.encode()) + len(reason) + 16
        if room < 0:
            break
        kept.append(short)
    if len(kept) < len(listed):
        kept.append(Violation("", f"and {len(listed) - len(kept)} more"))
    _add(status, _violations_detail(status.code, kept, reason))


def _violations_detail(code: int, violations: Iterable[Violation], reason: str) -> Any:  # Any: google.rpc has no types
    if code == code_pb2.FAILED_PRECONDITION:
        precondition = error_details_pb2.PreconditionFailure()
        for one in violations:
            precondition.violations.add(type=reason, subject=one.field, description=one.description)
        return precondition
    if code == code_pb2.RESOURCE_EXHAUSTED:
        quota = error_details_pb2.QuotaFailure()
        for one in violations:
            quota.violations.add(subject=one.field, description=one.description)
        return quota
    request = error_details_pb2.BadRequest()
    for one in violations:
        request.field_violations.add(field=one.field, description=one.description)
    return request


def _add(status: status_pb2.Status, detail: Any) -> None:
    status.details.add().Pack(detail)


def _shortened(text: str, limit: int) -> str:
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"
