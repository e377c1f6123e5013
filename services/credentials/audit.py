"""What is written down of each sensitive action, in the transaction that does it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from services.common import audit
from services.common.identity import current_caller

_SERVICE = "blockyard.credentials.v1.CredentialsService/"
CREATE = _SERVICE + "CreateCredential"
UPDATE = _SERVICE + "UpdateCredential"
DELETE = _SERVICE + "DeleteCredential"
ROTATE = _SERVICE + "RotateKeys"
CONNECT = "credential.connect"
REFRESH = "credential.refresh"

THE_VAULT = "service:credentials"

AuditRow = tuple[UUID, bytes]
"""An entry's id and its message, to be stored with what it tells of."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and for which call."""

    actor: str = THE_VAULT
    api_key_id: str = ""
    call: audit.Origin = audit.Origin()  # noqa: RUF009 - it is frozen


_acting: ContextVar[Actor | None] = ContextVar("acting", default=None)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Whatever is done inside is done by this one, whoever has called."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


def entry(action: str, resource: str, details: Mapping[str, str] | None = None) -> AuditRow:
    """An entry about what is done now; never give it a secret."""
    by = _acting.get() or _caller()
    made = audit.entry_of(by.actor, by.api_key_id, by.call, action, resource, "OK", details)
    return UUID(made.id), made.SerializeToString()


def of_credential(
    action: str, credential_id: UUID, provider: str, details: Mapping[str, str] | None = None
) -> AuditRow:
    """An entry about a credential."""
    return entry(action, f"credentials/{credential_id}", {"provider": provider, **(details or {})})


def _caller() -> Actor:
    try:
        caller = current_caller()
    except LookupError:
        return Actor()
    return Actor(caller.user_id, caller.api_key_id, audit.current_origin())
