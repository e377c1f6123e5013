"""What a caller of ExecutionService may be told. services/common/error_status.py makes statuses of them."""

import grpc
from blockyard.common.v1.errors_pb2 import ErrorReason

from services.common.errors import (
    Aborted,
    AlreadyExists,
    BlockyardError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


class GraphNotFound(NotFound):
    """There is no such graph, or no such version of it, or it belongs to somebody else."""

    reason = ErrorReason.ERROR_REASON_GRAPH_NOT_FOUND


class GraphNotRunnable(FailedPrecondition):
    """The graph can no longer run, since a block that it uses is gone or has changed."""

    reason = ErrorReason.ERROR_REASON_GRAPH_NOT_RUNNABLE


class PresetNotFound(NotFound):
    """There is no such preset, or it belongs to somebody else."""

    reason = ErrorReason.ERROR_REASON_PRESET_NOT_FOUND


class BlockNotFound(NotFound):
    """No runner has registered such a block."""

    reason = ErrorReason.ERROR_REASON_BLOCK_NOT_FOUND


class BlockNotRunnable(FailedPrecondition):
    """The block cannot be run on its own, since it is disabled or means nothing outside of a graph."""

    reason = ErrorReason.ERROR_REASON_BLOCK_NOT_RUNNABLE


class BlockUnavailable(Unavailable):
    """No runner can run the block at this moment. Start a runner that has it, and try again."""


class StreamsAway(Unavailable):
    """NATS is away. Try again."""


class StreamNotMade(FailedPrecondition):
    """NATS does not let a stream be as the settings say."""


class InputsInvalid(InvalidArgument):
    """The inputs do not fit the input schema of the graph or the block."""

    reason = ErrorReason.ERROR_REASON_INPUTS_INVALID


class RequestIdReused(AlreadyExists):
    """The same request id was used before with another request. Draw a new one for each new start."""

    reason = ErrorReason.ERROR_REASON_REQUEST_ID_REUSED


class InsufficientCredits(ResourceExhausted):
    """You have no credits left: ask an administrator for more, then start it again."""

    reason = ErrorReason.ERROR_REASON_INSUFFICIENT_CREDITS


class CredentialsMissing(FailedPrecondition):
    """A node needs a credential that was not given, or that does not fit."""

    reason = ErrorReason.ERROR_REASON_CREDENTIALS_MISSING


class TooManyExecutions(ResourceExhausted):
    """As many unfinished executions as are allowed: wait for some to end, or stop some."""

    reason = ErrorReason.ERROR_REASON_TOO_MANY_EXECUTIONS
    retry_after = 5.0


class TriggerNotFound(NotFound):
    """There is no such trigger, or it belongs to somebody else."""

    reason = ErrorReason.ERROR_REASON_TRIGGER_NOT_FOUND


class TriggerDisabled(FailedPrecondition):
    """The trigger takes no webhooks now, since it or its owner is disabled."""

    reason = ErrorReason.ERROR_REASON_TRIGGER_DISABLED


class TriggerStartFailed(FailedPrecondition):
    """The trigger could not start its graph. Its owner sees why in the list of the trigger's deliveries."""

    reason = ErrorReason.ERROR_REASON_TRIGGER_START_FAILED


class TriggerConflict(Aborted):
    """The trigger was changed at the same time. Repeat the change."""


class TooManyTriggers(ResourceExhausted):
    """As many triggers as are allowed: delete some."""

    reason = ErrorReason.ERROR_REASON_LIMIT_REACHED


class WebhookNotAuthentic(Unauthenticated):
    """The delivery is not authentic: its secret or signature is wrong or missing, or its time stamp is not of now."""

    reason = ErrorReason.ERROR_REASON_WEBHOOK_NOT_AUTHENTIC


class WebhookInvalid(InvalidArgument):
    """The payload is no JSON object, or is larger or deeper than it may be."""

    reason = ErrorReason.ERROR_REASON_WEBHOOK_INVALID


class WebhooksTooFast(ResourceExhausted):
    """Deliveries come faster than this trigger takes them. Send it again later."""

    reason = ErrorReason.ERROR_REASON_RATE_LIMITED

    def __init__(self, retry_after: float | None) -> None:
        super().__init__()
        self.retry_after = retry_after


class ExecutionNotFound(NotFound):
    """There is no such execution, or it belongs to somebody else."""

    reason = ErrorReason.ERROR_REASON_EXECUTION_NOT_FOUND


class ExecutionNotReadable(FailedPrecondition):
    """The execution's history cannot be replayed by this release."""

    reason = ErrorReason.ERROR_REASON_EXECUTION_NOT_READABLE


class NodeExecutionNotFound(NotFound):
    """There is no such node execution in this execution."""

    reason = ErrorReason.ERROR_REASON_NODE_EXECUTION_NOT_FOUND


class NodeNotWaiting(FailedPrecondition):
    """The node execution does not wait for a decision."""

    reason = ErrorReason.ERROR_REASON_NODE_NOT_WAITING


class ValueMissing(BlockyardError):
    """A value is no longer in the blob store, or is not the one that was written."""

    code = grpc.StatusCode.DATA_LOSS
    reason = ErrorReason.ERROR_REASON_VALUE_MISSING


class ValueTooLarge(OutOfRange):
    """A value alone is larger than a message may be."""

    reason = ErrorReason.ERROR_REASON_VALUE_TOO_LARGE


class ScheduleNotFound(NotFound):
    """There is no such schedule, or it belongs to somebody else."""

    reason = ErrorReason.ERROR_REASON_SCHEDULE_NOT_FOUND


class TooManySchedules(ResourceExhausted):
    """As many schedules as are allowed: delete some."""

    reason = ErrorReason.ERROR_REASON_LIMIT_REACHED
