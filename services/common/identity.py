"""Who calls: tokens of users and of services, and the caller of the present request.

What a caller may do stands in permissions.py.
"""

import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt
from blockyard.common.v1 import errors_pb2

from services.common.errors import Unauthenticated

ALGORITHM = "HS256"
ISSUER = "blockyard"
USER_AUDIENCE = "blockyard"
SERVICE_AUDIENCE = "blockyard-internal"
SERVICE_TOKEN_SECONDS = 60
LEEWAY_SECONDS = 30
KEPT_TOKENS = 4_096
"""Tokens whose signature has been checked and that have not expired: checking one again costs as much as a call."""

_USER_ID = re.compile(r"[A-Za-z0-9_.@-]{1,100}")
_SERVICE_ID = re.compile(r"service:[a-z][a-z0-9-]{0,49}")


class Role(StrEnum):
    """What a token says its holder is."""

    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes the present request. `user_id` is `service:<name>` when it is a service."""

    user_id: str
    role: Role


class TokenMissing(Unauthenticated):
    """The call carries no token. Send the metadata "authorization: Bearer <token>"."""

    reason = errors_pb2.ERROR_REASON_TOKEN_MISSING


class TokenInvalid(Unauthenticated):
    """The token is malformed, or its signature, issuer or audience does not fit."""

    reason = errors_pb2.ERROR_REASON_TOKEN_INVALID


class TokenExpired(Unauthenticated):
    """The token has expired. Get a new one."""

    reason = errors_pb2.ERROR_REASON_TOKEN_EXPIRED


_verified: dict[tuple[str, str, str], tuple[float, Mapping[str, Any]]] = {}
"""(expiry, claims) by secret, audience and token."""

_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """The caller of the request that runs in this context; outside of a request there is none (LookupError)."""
    return _caller.get()


def set_caller(caller: Caller) -> None:
    """Make somebody the caller for the rest of this context: for the server's interceptor."""
    _caller.set(caller)


def user_token(secret: str, user_id: str, role: str, life: float) -> str:
    """A token for a user, valid for `life` seconds."""
    if not _USER_ID.fullmatch(user_id):
        raise ValueError(f"{user_id!r} is no user id: 1 to 100 characters of A-Z a-z 0-9 _ . @ - are allowed")
    return _token(secret, USER_AUDIENCE, user_id, life, {"role": Role(role).value})


def service_token(secret: str, name: str) -> str:
    """A token with which a service, `name`, calls another one, valid for a minute."""
    return _token(secret, SERVICE_AUDIENCE, f"service:{name}", SERVICE_TOKEN_SECONDS, {})


def _token(secret: str, audience: str, subject: str, life: float, claims: Mapping[str, str]) -> str:
    now = int(time.time())
    standard = {"iss": ISSUER, "aud": audience, "sub": subject, "iat": now, "exp": now + int(life)}
    return jwt.encode({**standard, **claims}, secret, algorithm=ALGORITHM)


def verify_user(secret: str, authorization: str | None) -> Caller:
    """The user whose token an `authorization` header carries."""
    claims = _claims(secret, authorization, USER_AUDIENCE)
    subject, role = claims["sub"], claims.get("role")
    if not isinstance(subject, str) or not _USER_ID.fullmatch(subject):
        raise TokenInvalid('The token\'s "sub" is no user id: 1 to 100 characters of A-Z a-z 0-9 _ . @ - are allowed.')
    if not isinstance(role, str) or role not in (Role.ADMIN, Role.USER, Role.VIEWER):
        raise TokenInvalid('The token\'s "role" is none of admin, user, viewer.')
    return Caller(subject, Role(role))


def verify_service(secret: str, authorization: str | None) -> Caller:
    """The service whose token an `authorization` header carries."""
    subject = _claims(secret, authorization, SERVICE_AUDIENCE)["sub"]
    if not isinstance(subject, str) or not _SERVICE_ID.fullmatch(subject):
        raise TokenInvalid('The token\'s "sub" is no service.')
    return Caller(subject, Role.SERVICE)


def _claims(secret: str, authorization: str | None, audience: str) -> Mapping[str, object]:
    if not authorization:
        raise TokenMissing
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenInvalid('The metadata "authorization" must read "Bearer <token>".')
    known = _verified.get((secret, audience, token))
    if known is not None and known[0] > time.time():
        return known[1]
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token.strip(),
            secret,
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except jwt.ExpiredSignatureError:
        raise TokenExpired from None
    except jwt.InvalidTokenError:
        # Which check failed would help a forger more than a client.
        raise TokenInvalid from None
    if len(_verified) >= KEPT_TOKENS:
        _verified.pop(next(iter(_verified)))
    _verified[(secret, audience, token)] = (float(claims["exp"]), claims)
    return claims
