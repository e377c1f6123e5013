"""Who calls: the caller of the present request, and the tokens by which services and users of this installation call.

What a caller may do stands in permissions.py; which token or key stands for whom is found out by callers.py.
"""

import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

import jwt
from blockyard.common.v1 import errors_pb2

from services.common.errors import PermissionDenied, Unauthenticated
from services.common.permissions import PERMISSIONS, ROLES, Permission, Role

ALGORITHM = "HS256"
ISSUER = "blockyard"
USER_AUDIENCE = "blockyard"
SERVICE_AUDIENCE = "blockyard-internal"
SERVICE_TOKEN_SECONDS = 60
RUNNER = "service:runner"

_USER_ID = re.compile(r"(?!service:)[A-Za-z0-9!#$&()+,.:;=?@\[\]^_{|}~-]{1,100}")
"""Printable ASCII without space, quotes, slashes, "%", "<" and the wildcards of NATS: ids stand in subjects and paths.

Identity providers part ids by dots, pipes and colons. "service:" is how services are named.
"""
USER_ID_RULE = "1 to 100 letters, digits and ! # $ & ( ) + , . : ; = ? @ [ ] ^ _ { | } ~ - are allowed"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes the present request. `user_id` is `service:<name>` when it is a service."""

    user_id: str
    role: Role
    api_key_id: str = ""
    """The key that they call with; empty for a token."""
    key_permissions: frozenset[Permission] | None = None
    """What the key may do, of what the role may."""

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the caller may do."""
        of_role = ROLES[self.role]
        return of_role if self.key_permissions is None else of_role & self.key_permissions


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What signs the tokens of each kind of caller: who holds one of these can make that kind and no other."""

    users: str
    services: str
    runners: str


class TokenMissing(Unauthenticated):
    """The call carries no token. Send the metadata "authorization: Bearer <token or API key>"."""

    reason = errors_pb2.ERROR_REASON_TOKEN_MISSING


class TokenInvalid(Unauthenticated):
    """The token is malformed, or its signature, issuer or audience does not fit."""

    reason = errors_pb2.ERROR_REASON_TOKEN_INVALID


class TokenExpired(Unauthenticated):
    """The token has expired. Get a new one."""

    reason = errors_pb2.ERROR_REASON_TOKEN_EXPIRED


class ApiKeyInvalid(Unauthenticated):
    """The API key is not known, was revoked or has expired. Make a new one."""

    reason = errors_pb2.ERROR_REASON_API_KEY_INVALID


class UserDisabled(PermissionDenied):
    """The user is disabled. An administrator can enable them again."""

    reason = errors_pb2.ERROR_REASON_USER_DISABLED


_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """The caller of the request that runs in this context; outside of a request there is none (LookupError)."""
    return _caller.get()


def set_caller(caller: Caller) -> None:
    """Make somebody the caller for the rest of this context: for the server's interceptor."""
    _caller.set(caller)


def is_user_id(text: object) -> bool:
    """Whether this can be the id of a user."""
    return isinstance(text, str) and _USER_ID.fullmatch(text) is not None


def user_token(secret: str, user_id: str, role: str, life: float) -> str:
    """A token for a user, valid for `life` seconds."""
    if not is_user_id(user_id):
        raise ValueError(f"{user_id!r} is no user id: {USER_ID_RULE}")
    return _token(secret, USER_AUDIENCE, user_id, life, {"role": Role(role).value})


def service_token(secret: str, name: str) -> str:
    """A token with which a service, `name`, calls another one, valid for a minute."""
    return _token(secret, SERVICE_AUDIENCE, f"service:{name}", SERVICE_TOKEN_SECONDS, {})


def _token(secret: str, audience: str, subject: str, life: float, claims: Mapping[str, str]) -> str:
    now = int(time.time())
    standard = {"iss": ISSUER, "aud": audience, "sub": subject, "iat": now, "exp": now + int(life)}
    return jwt.encode({**standard, **claims}, secret, algorithm=ALGORITHM)


def authorise(caller: Caller, method: str) -> None:
    """Refuse a caller who may not call this method. A method that nobody listed is refused to all."""
    permission = PERMISSIONS.get(method)
    if permission is not None and permission in caller.permissions:
        return
    name = method.rpartition("/")[2]
    if permission is not None and permission in ROLES[caller.role]:
        raise PermissionDenied(f"This API key may not call {name}: it was made without {permission.name}.")
    raise PermissionDenied(f'The role "{caller.role}" may not call {name}.')
