"""What can go wrong for a program that uses Blockyard: one tree of exceptions, with the reasons that services give.

An error of a service arrives as google.rpc.Status; `from_rpc_error` turns it into the class of its status code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from blockyard.tls_trouble import tls_trouble

if TYPE_CHECKING:
    from blockyard.records import AbsentResult, Results  # records needs this module


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong, and where: `nodes[2].inputs.text`."""

    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


class BlockyardError(Exception):
    """Base of all errors of this package.

    `reason` is one of the stable names of `blockyard.common.v1.ErrorReason` ("GRAPH_NOT_FOUND"); empty if the error
    arose on this side. `retry_after` is how many seconds the service asks to wait before trying again.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  - {violation}" for violation in self.violations)])


class NotConfigured(BlockyardError):
    """It is not known where Blockyard is, or who is calling."""


class GraphFileError(BlockyardError):
    """A file does not hold a graph; the message says where."""


class HistoryGap(BlockyardError):
    """Events are missing that can no longer be had."""


class ExecutionEnded(BlockyardError):
    """An execution whose result was asked for did not complete."""

    def __init__(self, execution_id: str, message: str) -> None:
        super().__init__(message)
        self.execution_id = execution_id


class ExecutionFailed(ExecutionEnded):
    """The execution failed."""


class ExecutionCancelled(ExecutionEnded):
    """The execution was stopped."""


class CallError(BlockyardError):
    """A call was answered with an error."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN


class InvalidArgument(CallError):
    """The request is not valid; `violations` names each field."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class Unauthenticated(CallError):
    """The token is missing, expired or not accepted."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(CallError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class NotFound(CallError):
    """There is no such thing, or it belongs to somebody else."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(CallError):
    """There is such a thing already."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(CallError):
    """This is not possible as things stand."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Conflict(CallError):
    """It was changed since it was read: read it again and repeat the change."""

    code = grpc.StatusCode.ABORTED


class OutOfRange(CallError):
    """What was asked for is no longer kept, or is larger than a message."""

    code = grpc.StatusCode.OUT_OF_RANGE


class DataLoss(CallError):
    """A value is gone, or is not the one that was written."""

    code = grpc.StatusCode.DATA_LOSS


class LimitReached(CallError):
    """A limit is reached; nothing was accepted."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class InsufficientCredits(LimitReached):
    """The user has no credits left; an administrator can give some."""


class RateLimited(LimitReached):
    """Too many calls in too short a time; `retry_after` is when the next one is taken."""


class CredentialsMissing(FailedPrecondition):
    """Credentials were not given, or do not fit; `violations` names each field."""


class CredentialInUse(FailedPrecondition):
    """Graphs or executions name the credential; `violations` has the places."""


class Unavailable(CallError):
    """Blockyard, or a part of it, cannot be reached."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(CallError):
    """No answer came in time. A call that changes something may still have had its effect."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class InternalError(CallError):
    """Something unexpected went wrong in a service; the message has the reference id that its log has too."""

    code = grpc.StatusCode.INTERNAL


class Unsupported(CallError):
    """The service does not know this call: it is older than this package, or another server is at that address."""

    code = grpc.StatusCode.UNIMPLEMENTED


class ResultsIncomplete(BlockyardError):
    """Of the results that were asked for, some values cannot be had.

    `results` has all others, and None in the place of each of `absent_values`. It is DataLoss too if one of them is
    gone, else OutOfRange.
    """

    def __init__(self, results: "Results", absent_values: Sequence["AbsentResult"]) -> None:
        first = next((one for one in absent_values if one.absence == "MISSING"), absent_values[0])
        others = len(absent_values) - 1
        more = f" ({others:,} more value{'' if others == 1 else 's'} cannot be had)" if others else ""
        super().__init__(f"Output {first.output!r}: {first.message}{more}", reason=_ABSENCES.get(first.absence, ""))
        self.results = results
        self.absent_values = tuple(absent_values)


class ResultsGone(ResultsIncomplete, DataLoss):
    """A value among the results is gone, or is not the one that was written; see ResultsIncomplete."""


class ResultsTooLarge(ResultsIncomplete, OutOfRange):
    """A value among the results is larger than a message may be; see ResultsIncomplete."""


_ABSENCES = {"MISSING": "VALUE_MISSING", "TOO_LARGE": "VALUE_TOO_LARGE"}


def results_incomplete(results: "Results", absent_values: Sequence["AbsentResult"]) -> ResultsIncomplete:
    """The error for results of which these values are absent."""
    is_gone = any(one.absence == "MISSING" for one in absent_values)
    return (ResultsGone if is_gone else ResultsTooLarge)(results, absent_values)


_BY_CODE: dict[grpc.StatusCode, type[CallError]] = {kind.code: kind for kind in CallError.__subclasses__()}
_BY_REASON: dict[str, type[CallError]] = {
    "INSUFFICIENT_CREDITS": InsufficientCredits,
    "RATE_LIMITED": RateLimited,
    "CREDENTIALS_MISSING": CredentialsMissing,
    "CREDENTIAL_IN_USE": CredentialInUse,
}


def from_rpc_error(error: grpc.aio.AioRpcError) -> CallError:
    """The error of this tree for what a call was answered with."""
    kind = _BY_CODE.get(error.code(), CallError)
    details = _details(error)
    message = error.details() or ""
    if details is None or not message:
        message = _plain_message(error, message)
        details = details or _Details()
    narrower = _BY_REASON.get(details.reason)
    kind = narrower if narrower is not None and issubclass(narrower, kind) else kind
    return kind(message, reason=details.reason, violations=details.violations, retry_after=details.retry_after)


@dataclass(slots=True)
class _Details:
    reason: str = ""
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None


def _details(error: grpc.aio.AioRpcError) -> _Details | None:
    """What stands in the google.rpc.Status of the trailers; None if there is none, as from a proxy in between."""
    try:
        status: Any = rpc_status.from_call(error)  # Any: the package ships no types
    except ValueError:
        return None
    if status is None:
        return None
    details = _Details()
    for packed in status.details:
        for kind, read in _READERS.items():
            message = kind()
            if packed.Unpack(message):
                read(details, message)
    return details


def _read_info(details: _Details, info: error_details_pb2.ErrorInfo) -> None:
    details.reason = info.reason


def _read_retry(details: _Details, retry: error_details_pb2.RetryInfo) -> None:
    details.retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9


def _read_request(details: _Details, request: error_details_pb2.BadRequest) -> None:
    details.violations += tuple(FieldViolation(one.field, one.description) for one in request.field_violations)


def _read_subjects(
    details: _Details, failure: error_details_pb2.PreconditionFailure | error_details_pb2.QuotaFailure
) -> None:
    details.violations += tuple(FieldViolation(one.subject, one.description) for one in failure.violations)


_READERS: dict[type[Any], Callable[[_Details, Any], None]] = {
    error_details_pb2.ErrorInfo: _read_info,
    error_details_pb2.RetryInfo: _read_retry,
    error_details_pb2.BadRequest: _read_request,
    error_details_pb2.PreconditionFailure: _read_subjects,
    error_details_pb2.QuotaFailure: _read_subjects,
}


def _plain_message(error: grpc.aio.AioRpcError, message: str) -> str:
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        trouble = tls_trouble(message)
        return f"Blockyard cannot be reached{': ' if trouble else ''}{trouble} ({message or 'no answer'})"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer came in time"
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "the server does not know this call; its release may be older than this client's"
    return message or f"the call failed with {error.code().name}"
