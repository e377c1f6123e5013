"""Builds what stands before every call of a service: who calls, how often they may, and what is noted of it."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import structlog
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.account.v1.identity_service_pb2 import RecordActionsRequest
from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.common import audit, grpc_client
from services.common.addresses import Network, parse_networks
from services.common.audit import AuditLog, Recorder
from services.common.callers import Callers, Identities, IdentitiesAway, RemoteIdentities
from services.common.config import ServiceSettings
from services.common.permissions import CallClass, Role
from services.common.rate_limits import Rate, RateLimit, Verdict, parse_rate
from services.common.tokens import ROLES_OF_USERS, Provider, ServiceTokens, UserTokens

if TYPE_CHECKING:
    from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

    from services.common.jwks import KeySet

RECORD_SECONDS = 5.0
REFUSALS_NOTED = Rate(calls=10, seconds=60.0, burst=10)
"""Of one caller and for one reason: whoever is refused a thousand times a second shall not fill the audit log."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteRecorder:
    """The account service, for all others."""

    stub: "IdentityServiceAsyncStub"

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Send entries, with a deadline. One that will never be taken is logged, and takes no other with it."""
        try:
            await self.stub.RecordActions(RecordActionsRequest(entries=entries), timeout=RECORD_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise IdentitiesAway(error.details() or "") from error
            if len(entries) == 1:
                log.error("an audit entry is refused", reason=error.details(), entry=str(entries[0])[:1000])
                return
            middle = len(entries) // 2
            await self.record(entries[:middle])
            await self.record(entries[middle:])


class CallLimits:
    """The limits of calls by their class."""

    def __init__(self, rates: Mapping[CallClass, Rate]) -> None:
        self._limits = {one: RateLimit(rate) for one, rate in rates.items()}

    def take(self, call_class: CallClass | None, user_id: str) -> Verdict | None:
        """Count a call; None if nothing limits it."""
        limit = self._limits.get(call_class) if call_class is not None else None
        return limit.take(user_id, time.monotonic()) if limit is not None else None


@dataclass(frozen=True, slots=True)
class Admission:
    """What stands before every call."""

    callers: Callers
    limits: CallLimits
    audit: AuditLog | None
    """None where there is no account service to keep it."""
    refusals: RateLimit
    trusted_proxies: tuple[Network, ...]


@asynccontextmanager
async def admitting(
    settings: ServiceSettings, identities: Identities | None = None, recorder: Recorder | None = None
) -> AsyncIterator[Admission]:
    """Everything, for as long as the context is open. The account service brings what others ask it for."""
    async with AsyncExitStack() as resources:
        if identities is None and settings.account_address:
            stub = await resources.enter_async_context(_account_service(settings))
            identities, recorder = RemoteIdentities(stub), RemoteRecorder(stub)
        keys = await resources.enter_async_context(_keys(settings)) if settings.jwks_url else None
        secrets = settings.secrets()
        users = UserTokens(secrets.users, _provider(settings, keys) if keys else None)
        callers = Callers(users, ServiceTokens(secrets), identities)
        resources.push_async_callback(callers.close)
        noted = None
        if recorder is not None:
            noted = await resources.enter_async_context(audit.gathering(recorder, settings.audit_queue))
        limits = CallLimits(_rates(settings))
        refusals = RateLimit(REFUSALS_NOTED)
        yield Admission(callers, limits, noted, refusals, parse_networks(settings.trusted_proxies))


@asynccontextmanager
async def _account_service(settings: ServiceSettings) -> AsyncIterator["IdentityServiceAsyncStub"]:
    credentials = grpc_client.ServiceCredentials(settings.secrets().services, settings.service_name(), settings.tls())
    service = "blockyard.account.v1.IdentityService"
    idempotent = [f"{service}/Identify", f"{service}/RecordActions"]
    async with grpc_client.channel(settings.account_address, credentials, idempotent=idempotent) as channel:
        stub: IdentityServiceAsyncStub = IdentityServiceStub(channel)
        yield stub


@asynccontextmanager
async def _keys(settings: ServiceSettings) -> AsyncIterator["KeySet"]:
    # Here, since most have no identity provider and are spared an HTTP client.
    import httpx2

    from services.common.jwks import TIMEOUT_SECONDS, KeySet

    async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client:
        keys = KeySet(settings.jwks_url, client)
        try:
            yield keys
        finally:
            await keys.close()


def _provider(settings: ServiceSettings, keys: "KeySet") -> Provider:
    default = settings.jwt_default_role
    return Provider(
        keys=keys,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        role_claim=settings.jwt_role_claim,
        roles={value: Role(role) for value, role in settings.jwt_roles.items()} or ROLES_OF_USERS,
        default_role=None if default == "none" else Role(default),
    )


def _rates(settings: ServiceSettings) -> dict[CallClass, Rate]:
    texts = {
        CallClass.READ: settings.rate_limit_read,
        CallClass.WRITE: settings.rate_limit_write,
        CallClass.START: settings.rate_limit_start,
        CallClass.ADMIN: settings.rate_limit_admin,
    }
    rates = {one: parse_rate(text) for one, text in texts.items()}
    return {one: rate.shared(settings.rate_limit_replicas) for one, rate in rates.items() if rate is not None}
