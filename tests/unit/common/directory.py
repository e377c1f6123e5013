"""A directory of users and API keys in memory: what the account service knows, for tests of those who ask it."""

import asyncio
from dataclasses import dataclass, field

from blockyard.account.v1 import account_pb2
from blockyard.account.v1.identity_service_pb2 import IdentifyRequest, IdentifyResponse

from services.common.errors import Unavailable

VALID_SECONDS = 3.0


class Away(Unavailable):
    """It does not answer."""


@dataclass(eq=False)
class Directory:
    """Answers as the account service does."""

    roles: dict[str, "account_pb2.UserRole.ValueType"] = field(default_factory=dict)
    """Roles that an administrator has set."""
    disabled: set[str] = field(default_factory=set)
    keys: dict[bytes, tuple[str, list["account_pb2.Permission.ValueType"]]] = field(default_factory=dict)
    """Users and permissions by digest."""
    away: bool = False
    asked: int = 0
    gate: asyncio.Event | None = None
    """Answers wait for it."""

    async def identify(self, request: IdentifyRequest) -> IdentifyResponse:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise Away
        answer = IdentifyResponse()
        answer.valid.FromMilliseconds(round(VALID_SECONDS * 1000))
        if request.HasField("api_key"):
            found = self.keys.get(request.api_key.digest)
            if found is None:
                return answer
            answer.user_id, permissions = found
            answer.permissions.extend(permissions)
            answer.role = self.roles.get(answer.user_id, account_pb2.USER_ROLE_USER)
            answer.api_key_id = request.api_key.prefix
        else:
            answer.user_id = request.token.user_id
            answer.role = self.roles.get(answer.user_id, request.token.role)
        answer.known, answer.active = True, answer.user_id not in self.disabled
        return answer
