"""Why the account service refuses a call, named after the causes."""

from blockyard.common.v1 import errors_pb2

from services.common.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)


class UserNotFound(NotFound):
    """There is no such user, or it is not for you to know of them."""

    reason = errors_pb2.ERROR_REASON_USER_NOT_FOUND


class RequestIdReused(AlreadyExists):
    """The request id was used before with another request. Use the same id only to repeat a request."""

    reason = errors_pb2.ERROR_REASON_REQUEST_ID_REUSED


class LedgerChanged(Unavailable):
    """The ledger is not the one that was there a moment ago. Try again."""

    # So it is when a database was restored from a backup under a service that runs.


class BalanceOutOfRange(InvalidArgument):
    """The balance would leave the range from -10^16 to 10^16 credits. Give or take less."""


class UserExists(AlreadyExists):
    """There is such a user already. Change them with UpdateUser or SetUserAccess."""

    reason = errors_pb2.ERROR_REASON_USER_EXISTS


class OwnAccess(PermissionDenied):
    """Administrators cannot take their own role or access away. Ask another one to do it."""


class ApiKeyNotFound(NotFound):
    """There is no such API key, or it belongs to somebody else."""

    reason = errors_pb2.ERROR_REASON_API_KEY_NOT_FOUND


class KeyMayDoMore(PermissionDenied):
    """An API key may do no more than who makes it."""


class TooManyApiKeys(FailedPrecondition):
    """The user has as many API keys as one may have. Revoke some that are not used."""

    reason = errors_pb2.ERROR_REASON_INVALID_REQUEST
