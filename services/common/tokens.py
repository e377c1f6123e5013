"""Checks the signed tokens of users and services: signature, issuer, audience, and that they are valid now.

Tokens of users are signed with the installation's secret (HS256), or by an identity provider whose public keys stand
at a URL (RS256, ES256, EdDSA). Which key checks a token is decided by its algorithm alone: a secret never checks what
claims to be signed with a private key, and the other way about. Headers that name keys elsewhere mean nothing here.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from services.common.errors import PermissionDenied
from services.common.identity import (
    ALGORITHM,
    ISSUER,
    RUNNER,
    SERVICE_AUDIENCE,
    USER_AUDIENCE,
    USER_ID_RULE,
    Caller,
    Secrets,
    TokenExpired,
    TokenInvalid,
    is_user_id,
)
from services.common.permissions import Role

if TYPE_CHECKING:  # It brings an HTTP client, which only those need who have an identity provider.
    from services.common.jwks import KeySet

PUBLIC_KEY_ALGORITHMS = ("RS256", "ES256", "EdDSA")
LEEWAY_SECONDS = 30
LONGEST_TOKEN = 8_192
KEPT_SERVICE_TOKENS = 1_024
_REQUIRED = ["exp", "iss", "aud", "sub"]
_SERVICE_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
ROLES_OF_USERS = {role.value: role for role in (Role.ADMIN, Role.USER, Role.VIEWER)}


@dataclass(frozen=True, slots=True)
class UserClaims:
    """What a token of a user says, once its signature was checked."""

    user_id: str
    role: Role
    name: str
    email: str
    expires: float
    """Seconds since 1970 from which on it is refused."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider: its keys, what its tokens must say, and where they name the role."""

    keys: "KeySet"
    issuer: str
    audience: str
    role_claim: str
    """Names parted by dots, for example "realm_access.roles"."""
    roles: Mapping[str, Role]
    """Role by value of that claim; the highest of several counts."""
    default_role: Role | None
    """Of tokens without a role that is known; None refuses them."""


class UserTokens:
    """Checks tokens of users."""

    def __init__(self, secret: str, provider: Provider | None) -> None:
        self._secret = secret
        self._provider = provider

    async def check(self, token: str) -> UserClaims:
        """What a token says; raises TokenInvalid or TokenExpired."""
        algorithm, key_id = _header(token)
        if algorithm == ALGORITHM and self._secret:
            claims = _decode(token, self._secret, ALGORITHM, USER_AUDIENCE, ISSUER)
            role = claims.get("role")
            if not isinstance(role, str) or role not in ROLES_OF_USERS:
                raise TokenInvalid('The token\'s "role" is none of admin, user, viewer.')
            return _claims_of_user(claims, ROLES_OF_USERS[role])
        provider = self._provider
        if provider is None or algorithm not in PUBLIC_KEY_ALGORITHMS:
            raise TokenInvalid
        key = await provider.keys.key(key_id, algorithm)
        if key is None:
            raise TokenInvalid
        claims = _decode(token, key, algorithm, provider.audience, provider.issuer)
        return _claims_of_user(claims, _role(provider, claims))


class ServiceTokens:
    """Checks tokens of services and of runners, and remembers those that hold: checking one costs as much as a call."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._known: dict[str, tuple[float, Caller]] = {}

    def check(self, token: str) -> Caller:
        """The service or runner; raises TokenInvalid or TokenExpired."""
        known = self._known.get(token)
        if known is not None and known[0] > time.time():
            return known[1]
        try:
            claims, of_runner = _decode(token, self._secrets.services, ALGORITHM, SERVICE_AUDIENCE, ISSUER), False
        except TokenInvalid:
            claims, of_runner = _decode(token, self._secrets.runners, ALGORITHM, SERVICE_AUDIENCE, ISSUER), True
        subject = claims["sub"]
        if not _is_service(subject):
            raise TokenInvalid('The token\'s "sub" is no service.')
        if of_runner is not (subject == RUNNER):
            raise TokenInvalid(f'Only "{RUNNER}" is signed with the secret of runners, and with it nothing else.')
        caller = Caller(subject, Role.RUNNER if of_runner else Role.SERVICE)
        if len(self._known) >= KEPT_SERVICE_TOKENS:
            self._known.pop(next(iter(self._known)))
        self._known[token] = (float(claims["exp"]) + LEEWAY_SECONDS, caller)
        return caller


def _header(token: str) -> tuple[str, str]:
    """Algorithm and key id that the token's header names; both are only a claim."""
    if len(token) > LONGEST_TOKEN:
        raise TokenInvalid(f"The token is longer than {LONGEST_TOKEN} characters.")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, RecursionError, ValueError):
        raise TokenInvalid from None
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(key_id, str):
        raise TokenInvalid
    return algorithm, key_id


def _decode(token: str, key: "str | jwt.PyJWK", algorithm: str, audience: str, issuer: str) -> Mapping[str, Any]:
    if len(token) > LONGEST_TOKEN:
        raise TokenInvalid(f"The token is longer than {LONGEST_TOKEN} characters.")
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )
        if not math.isfinite(float(claims["exp"])):
            raise TokenInvalid
    except jwt.ExpiredSignatureError:
        raise TokenExpired from None
    except (jwt.PyJWTError, RecursionError, ValueError, OverflowError):
        # Which check failed would help a forger more than a client.
        raise TokenInvalid from None
    return claims


def _claims_of_user(claims: Mapping[str, Any], role: Role) -> UserClaims:
    subject = claims["sub"]
    if not is_user_id(subject):
        raise TokenInvalid(f'The token\'s "sub" is no user id: {USER_ID_RULE}.')
    name, email = claims.get("name"), claims.get("email")
    return UserClaims(
        user_id=subject,
        role=role,
        name=name if isinstance(name, str) else "",
        email=email if isinstance(email, str) else "",
        expires=float(claims["exp"]) + LEEWAY_SECONDS,
    )


def _role(provider: Provider, claims: Mapping[str, Any]) -> Role:
    value: Any = claims
    for part in [provider.role_claim] if provider.role_claim in claims else provider.role_claim.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    named = {provider.roles[one] for one in _texts(value) if one in provider.roles}
    for role in (Role.ADMIN, Role.USER, Role.VIEWER):
        if role in named:
            return role
    if provider.default_role is None:
        raise PermissionDenied("The token names no role that is known here. Ask an administrator for one.")
    return provider.default_role


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _is_service(subject: object) -> bool:
    if not isinstance(subject, str):
        return False
    prefix, _, name = subject.partition(":")
    return prefix == "service" and 0 < len(name) <= 50 and name[0].isalpha() and set(name) <= _SERVICE_NAME
