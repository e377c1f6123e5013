"""Who is there over HTTP: the same tokens, permissions, limits and refusals as over gRPC."""

import time
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from services.common import identity
from services.common.addresses import caller_address
from services.common.admission import Admission
from services.common.audit import Origin, cleaned, set_origin
from services.common.identity import Caller
from services.common.interceptors import RateLimited
from services.common.permissions import call_class

METHOD = "/blockyard.notification.v1.NotificationService/Subscribe"
"""Whoever may call this may subscribe in any way."""
CHECK_SECONDS = 2.0
"""A stream that is open for longer looks again, before it tells something, whether its visitor may still be told."""


@dataclass(slots=True, eq=False)
class Visitor:
    """Somebody with an open stream."""

    caller: Caller
    """As it was known at the last look: an administrator may become none."""
    authorization: str
    checked_at: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets visitors in."""

    admission: Admission

    async def admit(self, authorization: str, connection: HTTPConnection) -> Visitor:
        """Who this is. Makes them the caller of this context. Raises what a call over gRPC would be refused with."""
        set_origin(self._origin(connection))
        caller = await self._caller(authorization)
        self.count(caller)
        return Visitor(caller, authorization, time.monotonic())

    def count(self, caller: Caller) -> None:
        """Counts a call against the caller's limit; raises RateLimited."""
        verdict = self.admission.limits.take(call_class(METHOD), caller.user_id)
        if verdict is not None and not verdict.allowed:
            raise RateLimited(verdict.retry_after)

    async def check(self, visitor: Visitor) -> None:
        """Raises once a visitor may be told nothing more: a token that is over, a key that was revoked."""
        now = time.monotonic()
        if now - visitor.checked_at > CHECK_SECONDS:
            visitor.caller = await self._caller(visitor.authorization)
            visitor.checked_at = now

    async def _caller(self, authorization: str) -> Caller:
        caller = await self.admission.callers.caller(METHOD, authorization)
        identity.set_caller(caller)
        identity.authorise(caller, METHOD)
        return caller

    def _origin(self, connection: HTTPConnection) -> Origin:
        peer = connection.client
        named = "" if peer is None else f"ipv{6 if ':' in peer.host else 4}:{peer.host}:{peer.port}"
        forwarded = ", ".join(connection.headers.getlist("x-forwarded-for"))
        return Origin(
            address=caller_address(named, forwarded, self.admission.trusted_proxies),
            user_agent=cleaned(connection.headers.get("user-agent", "")),
            request_id=connection.headers.get("x-request-id", "")[:100],
        )
