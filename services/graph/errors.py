"""Why the graph service refuses a call, named after the causes."""

from blockyard.common.v1 import errors_pb2

from services.common.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)


class GraphNotFound(NotFound):
    """There is no such graph, or no such version of it, or it belongs to somebody else."""

    reason = errors_pb2.ERROR_REASON_GRAPH_NOT_FOUND


class BlockNotFound(NotFound):
    """No runner has registered such a block."""

    reason = errors_pb2.ERROR_REASON_BLOCK_NOT_FOUND


class GraphInvalid(InvalidArgument):
    """The graph breaks a rule; each violation names its place."""

    reason = errors_pb2.ERROR_REASON_GRAPH_INVALID


class GraphTooLarge(InvalidArgument):
    """The graph is larger than the configured limit of bytes, nodes or links."""

    reason = errors_pb2.ERROR_REASON_GRAPH_TOO_LARGE


class GraphNotRunnable(FailedPrecondition):
    """The graph can no longer run, since a block that it uses is gone or has changed."""

    reason = errors_pb2.ERROR_REASON_GRAPH_NOT_RUNNABLE


class RequestIdReused(AlreadyExists):
    """The request id was used before with another graph. Use the same id only to repeat a request."""

    reason = errors_pb2.ERROR_REASON_REQUEST_ID_REUSED


class VersionConflict(Aborted):
    """The graph was changed since it was read. Read it again and repeat the change."""

    reason = errors_pb2.ERROR_REASON_VERSION_CONFLICT


class BlockInvalid(InvalidArgument):
    """A block breaks a rule of the catalogue; nothing was registered."""

    reason = errors_pb2.ERROR_REASON_BLOCK_INVALID


class PresetNotFound(NotFound):
    """There is no such preset, or it belongs to somebody else."""

    reason = errors_pb2.ERROR_REASON_PRESET_NOT_FOUND


class PresetInvalid(InvalidArgument):
    """The preset does not fit its graph; each violation names its place."""

    reason = errors_pb2.ERROR_REASON_PRESET_INVALID


class PresetRequestIdReused(AlreadyExists):
    """The request id was used before with another preset. Use the same id only to repeat a request."""

    reason = errors_pb2.ERROR_REASON_REQUEST_ID_REUSED


class PresetConflict(Aborted):
    """The preset was changed at the same time. Repeat the change."""

    reason = errors_pb2.ERROR_REASON_VERSION_CONFLICT


class TooManyPresets(ResourceExhausted):
    """As many presets as are allowed: delete some."""

    reason = errors_pb2.ERROR_REASON_LIMIT_REACHED
