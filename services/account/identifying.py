"""Who calls, for all services: what became of a token's user, and whose an API key is.

When users called and keys were used last is gathered in memory and written every few seconds, to the minute.
"""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from blockyard.account.v1.identity_service_pb2 import ApiKeyProof, IdentifyRequest, IdentifyResponse, TokenClaims

from services.account.api_keys import fits
from services.account.records import NewUser
from services.account.repository.api_keys import ApiKeyRepository
from services.account.repository.numbers import numbers_of
from services.account.repository.users import UserRepository
from services.account.users import LONGEST_EMAIL, LONGEST_NAME, cleaned_name
from services.common import database
from services.common.callers import ROLE_NUMBERS, ROLES, IdentitiesAway
from services.common.permissions import Role

NOTE_SECONDS = 5.0
MOST_NOTED = 10_000
"""Users and keys that wait to be noted; further ones are noted when they call again."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Identifier:
    """Answers hold for `valid_seconds`: for so long a service may go on without asking."""

    users: UserRepository
    api_keys: ApiKeyRepository
    valid_seconds: float
    _seen: set[str] = field(default_factory=set)
    _used: set[UUID] = field(default_factory=set)

    async def identify(self, request: IdentifyRequest) -> IdentifyResponse:
        """As IdentityService says; for the calls to this service itself as well."""
        try:
            if request.HasField("api_key"):
                return await self._by_key(request.api_key)
            if request.HasField("user_id"):
                return await self._of_user(request.user_id)
            return await self._by_token(request.token)
        except database.AWAY as error:
            raise IdentitiesAway from error

    async def keep_noting(self) -> None:
        """Write down for ever who called last when."""
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            await self.note()

    async def note(self) -> None:
        """Write down who called since the last time."""
        seen, used = self._seen, self._used
        self._seen, self._used = set(), set()
        try:
            if seen:
                await self.users.note_seen(seen)
            if used:
                await self.api_keys.note_used(used)
        except database.AWAY as error:
            log.warning("when users called last cannot be noted", reason=str(error))

    async def _by_key(self, proof: ApiKeyProof) -> IdentifyResponse:
        holder = await self.api_keys.by_prefix(proof.prefix)
        answer = IdentifyResponse()
        answer.valid.FromMilliseconds(round(self.valid_seconds * 1000))
        if not fits(holder, proof.digest) or holder is None or not holder.valid:
            return answer
        if holder.active:
            self._note(holder.user_id, holder.api_key_id)
        if holder.seconds_left is not None:
            answer.valid.FromMilliseconds(round(min(self.valid_seconds, max(holder.seconds_left, 0)) * 1000))
        answer.known = True
        answer.user_id, answer.role, answer.active = holder.user_id, ROLE_NUMBERS[holder.role], holder.active
        answer.permissions.extend(numbers_of(holder.permissions))  # type: ignore[arg-type]  # plain numbers are taken
        answer.api_key_id = str(holder.api_key_id)
        return answer

    async def _by_token(self, claims: TokenClaims) -> IdentifyResponse:
        role = ROLES.get(claims.role)
        if role is None:
            # The token names none: that of a user who is known stays.
            known = await self.users.get(claims.user_id)
            role = known.role if known is not None else Role.USER
        name, email = cleaned_name(claims.name)[:LONGEST_NAME], claims.email[:LONGEST_EMAIL]
        name, email = (text if text.isprintable() else "" for text in (name, email))
        user = await self.users.meet(NewUser(claims.user_id, role, role_set=False, name=name, email=email))
        if user.active:
            self._note(user.user_id)
        answer = IdentifyResponse(known=True, user_id=user.user_id, role=ROLE_NUMBERS[user.role], active=user.active)
        answer.valid.FromMilliseconds(round(self.valid_seconds * 1000))
        return answer

    async def _of_user(self, user_id: str) -> IdentifyResponse:
        """Of a user who does not call: nothing is noted."""
        user = await self.users.get(user_id)
        answer = IdentifyResponse(known=user is not None)
        answer.valid.FromMilliseconds(round(self.valid_seconds * 1000))
        if user is not None:
            answer.user_id, answer.role, answer.active = user.user_id, ROLE_NUMBERS[user.role], user.active
        return answer

    def _note(self, user_id: str, api_key_id: UUID | None = None) -> None:
        if len(self._seen) < MOST_NOTED:
            self._seen.add(user_id)
        if api_key_id is not None and len(self._used) < MOST_NOTED:
            self._used.add(api_key_id)
