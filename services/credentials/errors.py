"""Why the credentials service refuses a call, named after the causes."""

from blockyard.common.v1 import errors_pb2

from services.common.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)


class CredentialNotFound(NotFound):
    """There is no such credential, or it belongs to somebody else."""

    reason = errors_pb2.ERROR_REASON_CREDENTIAL_NOT_FOUND


class TooManyCredentials(ResourceExhausted):
    """The user has as many credentials as one may have. Delete some that are not used."""


class CredentialInUse(FailedPrecondition):
    """Graphs or executions name the credential; each violation names a place. Delete it with force if it may go."""

    reason = errors_pb2.ERROR_REASON_CREDENTIAL_IN_USE


class CredentialUnusable(FailedPrecondition):
    """The credential cannot be used: connect it again, or replace its secret."""

    reason = errors_pb2.ERROR_REASON_CREDENTIAL_UNUSABLE


class CredentialUnreadable(CredentialUnusable):
    """The secret of this credential cannot be decrypted. Replace it, or connect the account again."""


class KeyUnavailable(Unavailable):
    """The key that wraps the secret cannot be used here. Try again."""

    reason = errors_pb2.ERROR_REASON_VAULT_KEY_UNAVAILABLE
    retry_after = 5.0


class KeyNotMade(FailedPrecondition):
    """The provider of keys makes none. Add a key there, wait until every replica has it, and name it by key_id."""

    reason = errors_pb2.ERROR_REASON_VAULT_KEY_UNAVAILABLE


class KeyUnknown(FailedPrecondition):
    """The provider of keys has no key of this id. Add it there first, and wait until every replica has it."""

    reason = errors_pb2.ERROR_REASON_VAULT_KEY_UNAVAILABLE


class RequestIdReused(AlreadyExists):
    """The request id was used before with another credential. Use the same id only to repeat a request."""

    reason = errors_pb2.ERROR_REASON_REQUEST_ID_REUSED


class VersionConflict(Aborted):
    """The credential was changed since it was read. Read it again and repeat the change."""

    reason = errors_pb2.ERROR_REASON_VERSION_CONFLICT


class ProviderNotConfigured(FailedPrecondition):
    """The vault is not configured for this provider, or not for this kind of credential. ListProviders has them."""

    reason = errors_pb2.ERROR_REASON_PROVIDER_NOT_CONFIGURED


class ProviderRefused(FailedPrecondition):
    """The provider refused, or answered with something else than a provider should. Begin again."""

    reason = errors_pb2.ERROR_REASON_PROVIDER_REFUSED


class StateInvalid(InvalidArgument):
    """The state was used before, has expired, or is not yours. Begin again with StartAuthorization."""

    reason = errors_pb2.ERROR_REASON_STATE_INVALID


class LeaseRefused(PermissionDenied):
    """No run that is alive names this: nothing is given to it."""

    reason = errors_pb2.ERROR_REASON_LEASE_REFUSED
