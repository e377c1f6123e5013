"""The errors that a caller may be told, by category. A service declares its own beside its domain, as subclasses.

How each becomes a gRPC status stands in error_status.py; nothing else knows status codes.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import grpc
from blockyard.common.v1 import errors_pb2

ErrorReason = errors_pb2.ErrorReason


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong and where: `Violation("nodes[2].inputs.text", "expected a string, got 7")`."""

    field: str
    description: str


class BlockyardError(Exception):
    """The call failed."""

    # A subclass's docstring is the message that a client reads when the raiser gives none.
    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    reason: ClassVar[errors_pb2.ErrorReason.ValueType] = errors_pb2.ERROR_REASON_UNSPECIFIED
    retry_after: float | None = None
    """Seconds; of the class, or of this one error."""

    def __init__(
        self, message: str = "", *, violations: Sequence[Violation] = (), metadata: Mapping[str, str] | None = None
    ) -> None:
        self.message = message or " ".join(inspect.cleandoc(type(self).__doc__ or "The call failed.").split())
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        super().__init__(self.message)


class InvalidArgument(BlockyardError):
    """The request is not valid."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_INVALID_REQUEST


class NotFound(BlockyardError):
    """There is no such thing."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(BlockyardError):
    """There is such a thing already."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(BlockyardError):
    """This is not possible in the present state."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(BlockyardError):
    """The object was changed since it was read. Read it again and repeat the change."""

    code = grpc.StatusCode.ABORTED
    reason = errors_pb2.ERROR_REASON_VERSION_CONFLICT


class OutOfRange(BlockyardError):
    """What was asked for lies outside of what is kept."""

    code = grpc.StatusCode.OUT_OF_RANGE


class ResourceExhausted(BlockyardError):
    """A limit is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class StorageFull(ResourceExhausted):
    """The database has no space left, so nothing was accepted. What had been accepted is safe."""

    reason = errors_pb2.ERROR_REASON_STORAGE_FULL
    retry_after = 30.0


class Unavailable(BlockyardError):
    """A part that is needed for this call is away. Try again."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = errors_pb2.ERROR_REASON_UNAVAILABLE
    retry_after = 1.0


class Unauthenticated(BlockyardError):
    """The caller is not known."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = errors_pb2.ERROR_REASON_TOKEN_INVALID


class PermissionDenied(BlockyardError):
    """The caller's role lacks the permission that this method needs."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = errors_pb2.ERROR_REASON_PERMISSION_DENIED


class Internal(BlockyardError):
    """Something unexpected went wrong."""

    code = grpc.StatusCode.INTERNAL
    reason = errors_pb2.ERROR_REASON_INTERNAL


class StartRefused(Exception):
    """A service does not start under these conditions; the message is all that the operator needs to know."""
