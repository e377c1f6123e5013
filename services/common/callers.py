"""Finds out who calls: by an API key or a token, and by what the account service knows of its user.

Answers of the account service hold for seconds and are asked for anew, in the background, while they are used: a key
that is revoked and a user that is disabled are refused within 5 seconds, and no call of a busy caller waits. While the
account service is away, a token goes on with what was known last of its user, or with what it says itself; an API key
goes on for as long as its last answer holds.
"""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc
import structlog
from blockyard.account.v1 import account_pb2
from blockyard.account.v1.identity_service_pb2 import ApiKeyProof, IdentifyRequest, IdentifyResponse, TokenClaims

from services.common import tasks
from services.common.errors import BlockyardError, Unavailable
from services.common.identity import ApiKeyInvalid, Caller, TokenInvalid, TokenMissing, UserDisabled
from services.common.permissions import INTERNAL, PERMISSIONS, Permission, Role
from services.common.tokens import ServiceTokens, UserTokens

if TYPE_CHECKING:
    from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

KEY_PREFIX = "by_"
_KEY = re.compile(r"by_([0-9A-Za-z]{8})_[0-9A-Za-z]{43}")

KEPT_CALLERS = 20_000
KEPT_REFUSALS = 2_000
IDENTIFY_SECONDS = 1.5
"""Deadline of a question to the account service."""
AWAY_SECONDS = 1.0
"""After one that failed, it is not asked for so long: each question may wait for its deadline."""
TOKEN_SECONDS = 60.0
"""A token is checked anew after so long where no account service is asked, or where that is away."""

log = structlog.stdlib.get_logger(__name__)

ROLES = {
    account_pb2.USER_ROLE_ADMIN: Role.ADMIN,
    account_pb2.USER_ROLE_USER: Role.USER,
    account_pb2.USER_ROLE_VIEWER: Role.VIEWER,
}
ROLE_NUMBERS = {role: number for number, role in ROLES.items()}
PERMISSIONS_BY_NUMBER = {
    number: Permission[name.removeprefix("PERMISSION_")]
    for name, number in account_pb2.Permission.items()
    if number != account_pb2.PERMISSION_UNSPECIFIED
}
PERMISSION_NUMBERS = {permission: number for number, permission in PERMISSIONS_BY_NUMBER.items()}


class IdentitiesAway(Unavailable):
    """The account service, which checks API keys, is away. Try again."""


class Identities(Protocol):
    """Knows users and API keys: the account service by its database, the others by a call to it."""

    async def identify(self, request: IdentifyRequest) -> IdentifyResponse:
        """As IdentityService says; raises Unavailable."""


@dataclass(frozen=True, slots=True)
class RemoteIdentities:
    """The account service, for all others."""

    stub: "IdentityServiceAsyncStub"

    async def identify(self, request: IdentifyRequest) -> IdentifyResponse:
        """Ask, with a deadline."""
        try:
            return await self.stub.Identify(request, timeout=IDENTIFY_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise IdentitiesAway(
                f"The account service, which knows users and API keys, is away ({error.code().name}). Try again."
            ) from error


@dataclass(frozen=True, slots=True)
class Known:
    """What was found out about a caller, and until when that holds, in seconds of the clock."""

    caller: Caller | None
    refusal: type[BlockyardError] | None
    refresh_at: float
    valid_until: float


class Callers:
    """Everybody who calls this process, as far as they are known."""

    def __init__(
        self,
        users: UserTokens,
        services: ServiceTokens,
        identities: Identities | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users = users
        self._services = services
        self._identities = identities
        self._clock = clock
        self._known: OrderedDict[str, Known] = OrderedDict()
        # Apart from the others: whoever tries keys must not push out those who have one.
        self._refused: OrderedDict[str, Known] = OrderedDict()
        # What was known last of users, whichever token they came with: a new one says no more than that while away.
        self._of_users: OrderedDict[str, Known] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Known]] = {}
        self._away_until = float("-inf")

    async def caller(self, method: str, authorization: str) -> Caller:
        """Who calls this method with this header; raises Unauthenticated, UserDisabled or Unavailable."""
        if PERMISSIONS.get(method) in INTERNAL:
            return self._services.check(_bearer(authorization))
        now = self._clock()
        known = self._last(authorization)
        if known is None or now >= known.valid_until:
            # Shielded: who waits may be cancelled, and others wait for the same answer.
            known = await asyncio.shield(self._ask(authorization))
        else:
            if known.refusal is None:
                self._known.move_to_end(authorization)
            if now >= known.refresh_at:
                self._ask(authorization)
        if known.refusal is not None:
            raise known.refusal
        assert known.caller is not None, "who is not refused is known"
        return known.caller

    async def close(self) -> None:
        """Give up the questions that are under way."""
        await tasks.end(self._asking.values())

    def _ask(self, authorization: str) -> "asyncio.Task[Known]":
        """The question about a caller that is under way, or that begins now."""
        task = self._asking.get(authorization)
        if task is None:
            task = asyncio.create_task(self._find_out(authorization), name="who calls")
            self._asking[authorization] = task
            task.add_done_callback(lambda done: self._answered(authorization, done))
        return task

    def _answered(self, authorization: str, task: "asyncio.Task[Known]") -> None:
        del self._asking[authorization]
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, BlockyardError) and not isinstance(error, Unavailable):
            # Its key is gone, or its time is over: whoever waits is told so, and so is the next one.
            self._known.pop(authorization, None)
        elif error is not None and not isinstance(error, Unavailable):
            log.error("who calls cannot be found out", exc_info=error)

    def _last(self, authorization: str) -> Known | None:
        return self._known.get(authorization) or self._refused.get(authorization)

    async def _find_out(self, authorization: str) -> Known:
        asked_at = self._clock()
        token = _bearer(authorization)
        if token.startswith(KEY_PREFIX):
            known = await self._by_key(token, asked_at)
        else:
            known = await self._by_token(token, asked_at)
        keep, drop, most = self._known, self._refused, KEPT_CALLERS
        if known.refusal is not None:
            keep, drop, most = self._refused, self._known, KEPT_REFUSALS
        drop.pop(authorization, None)
        keep[authorization] = known
        if len(keep) > most:
            keep.popitem(last=False)
        return known

    async def _by_key(self, key: str, asked_at: float) -> Known:
        found = _KEY.fullmatch(key)
        if found is None:
            raise ApiKeyInvalid('This is no API key: "by_", 8 letters or digits, "_" and 43 of them are expected.')
        if self._identities is None:
            raise ApiKeyInvalid("API keys are not taken here, as there is no account service. Use a token instead.")
        proof = ApiKeyProof(prefix=found[1], digest=hashlib.sha256(key.encode()).digest())
        answer = await self._identify(self._identities, IdentifyRequest(api_key=proof))
        permissions = frozenset(
            PERMISSIONS_BY_NUMBER[one] for one in answer.permissions if one in PERMISSIONS_BY_NUMBER
        )
        return _known(answer, asked_at, float("inf"), permissions)

    async def _by_token(self, token: str, asked_at: float) -> Known:
        claims = await self._users.check(token)
        ends = asked_at + claims.expires - time.time()
        itself = Caller(claims.user_id, claims.role)
        if self._identities is None:
            valid_until = min(ends, asked_at + TOKEN_SECONDS)
            return Known(itself, None, valid_until, valid_until)
        request = TokenClaims(
            user_id=claims.user_id, role=ROLE_NUMBERS[claims.role], name=claims.name, email=claims.email
        )
        try:
            answer = await self._identify(self._identities, IdentifyRequest(token=request))
        except Unavailable:
            last = self._of_users.get(claims.user_id)
            caller, refusal = (last.caller, last.refusal) if last is not None else (itself, None)
            return Known(caller, refusal, asked_at + AWAY_SECONDS, min(ends, asked_at + TOKEN_SECONDS))
        known = self._of_users[claims.user_id] = _known(answer, asked_at, ends, None)
        self._of_users.move_to_end(claims.user_id)
        if len(self._of_users) > KEPT_CALLERS:
            self._of_users.popitem(last=False)
        return known

    async def _identify(self, identities: Identities, request: IdentifyRequest) -> IdentifyResponse:
        if self._clock() < self._away_until:
            raise IdentitiesAway
        try:
            return await identities.identify(request)
        except Unavailable as error:
            self._away_until = self._clock() + AWAY_SECONDS
            log.warning("the account service is away", reason=str(error))
            raise


def _known(
    answer: IdentifyResponse, asked_at: float, ends: float, key_permissions: frozenset[Permission] | None
) -> Known:
    seconds = answer.valid.ToNanoseconds() / 1e9
    valid_until = min(ends, asked_at + seconds)
    refresh_at = asked_at + seconds / 2
    role = ROLES.get(answer.role)
    if not answer.known or role is None:
        return Known(None, ApiKeyInvalid, refresh_at, valid_until)
    if not answer.active:
        return Known(None, UserDisabled, refresh_at, valid_until)
    return Known(Caller(answer.user_id, role, answer.api_key_id, key_permissions), None, refresh_at, valid_until)


def _bearer(authorization: str) -> str:
    if not authorization:
        raise TokenMissing
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise TokenInvalid('The metadata "authorization" must read "Bearer <token or API key>".')
    return token
