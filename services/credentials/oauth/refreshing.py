"""Keeps access tokens fresh. However many ask at once, in one process or in many, a provider is asked once.

A refresh token that a provider rotates works once, and used twice it ends the whole grant. So in a process those who
ask share one task, and among processes one has a lease in the credential's row; the others wait, and read again. What
the provider gave is stored by compare-and-set on the version. The task goes on when those who asked have left: an
answer that is not kept would be a grant lost.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import structlog
from blockyard.event.v1.notice_pb2 import Notice, NoticeKind
from prometheus_client import Counter

from services.common.backoff import delays
from services.common.database import PASSING
from services.common.errors import BlockyardError, Unavailable
from services.common.ids import new_id
from services.credentials import audit
from services.credentials.errors import CredentialNotFound, CredentialUnusable, KeyUnavailable, ProviderNotConfigured
from services.credentials.oauth.outgoing import ProviderAway, ProviderMisbehaved
from services.credentials.oauth.protocol import TokenEndpoint, TokenRefused, Tokens
from services.credentials.oauth.revoking import Revocations
from services.credentials.providers import Providers
from services.credentials.records import CredentialRecord, CredentialState, CredentialType, Opened
from services.credentials.repository.refreshes import RefreshLease, RefreshRepository, RefreshTurn
from services.credentials.vault import Vault

_MAY_PASS: tuple[type[Exception], ...] = (
    *PASSING,
    KeyUnavailable,
    asyncpg.SerializationError,
)
"""What may keep a token from being refreshed, or stored, for now."""

_OVER = (CredentialState.REVOKED, CredentialState.EXPIRED)
"""It has to be connected again."""

REFRESHES = Counter(
    "blockyard_token_refreshes", "Requests to providers for fresh access tokens", ["provider", "outcome"]
)

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RefreshLimits:
    """Times in seconds."""

    ahead: float = 300.0
    """A token that expires sooner than this is refreshed first."""
    lease: float = 60.0
    """How long one process may take for a refresh, and may try to store what came of it."""
    wait: float = 30.0
    """How long somebody waits for a refresh."""
    pause: float = 5.0
    """How long a provider that failed is left in peace."""
    ending: float = 15.0
    """How long a process that ends waits for its refreshes."""
    at_once: int = 1_000
    """Refreshes under way in a process."""


@dataclass(slots=True, eq=False)
class AccessTokens:
    """An async context manager: at its end it waits for refreshes under way."""

    vault: Vault
    repository: RefreshRepository
    providers: Providers
    endpoint: TokenEndpoint
    revocations: Revocations
    limits: RefreshLimits = field(default_factory=RefreshLimits)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _flights: dict[UUID, asyncio.Task[Opened]] = field(default_factory=dict)

    async def __aenter__(self) -> "AccessTokens":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._flights:
            await asyncio.wait(set(self._flights.values()), timeout=self.limits.ending)
        for flight in list(self._flights.values()):
            flight.cancel()

    @property
    def refreshing(self) -> int:
        """How many refreshes are under way in this process."""
        return len(self._flights)

    async def fresh(self, opened: Opened) -> Opened:
        """The credential with an access token that lives on for a while; it is returned as it is if it has one.

        If the provider fails, the token that is there serves while it lives. Raises CredentialUnusable if its owner has
        to connect it again, Unavailable if it may work later.
        """
        record = opened.record
        if record.type is not CredentialType.OAUTH2:
            return opened
        if record.state in _OVER:
            raise _over(record)
        return await self._joined(opened) if self._is_due(opened) else opened

    async def renewed(self, opened: Opened) -> Opened:
        """The same, of a token that the provider does not take though it should live: its clock may be another."""
        if "refresh_token" not in opened.parts:
            return opened
        return await self._joined(opened)

    async def _joined(self, opened: Opened) -> Opened:
        """What the flight of this credential brings; one is begun if there is none."""
        credential_id = opened.record.credential_id
        flight = self._flights.get(credential_id)
        if flight is None:
            if len(self._flights) >= self.limits.at_once:
                return self._as_it_is(opened, "too many tokens are refreshed just now")
            flight = asyncio.create_task(self._fly(opened), name=f"refresh of {credential_id}")
            self._flights[credential_id] = flight
            flight.add_done_callback(lambda done: self._landed(credential_id, done))
        # Not awaited itself: who leaves must not end it for the others.
        await asyncio.wait({flight}, timeout=self.limits.wait)
        if not flight.done():
            return self._as_it_is(opened, "its refresh takes too long")
        try:
            return flight.result()
        except _MAY_PASS as error:
            return self._as_it_is(opened, f"it cannot be refreshed now ({type(error).__name__})")

    def _landed(self, credential_id: UUID, flight: asyncio.Task[Opened]) -> None:
        del self._flights[credential_id]
        error = None if flight.cancelled() else flight.exception()
        if error is not None and not isinstance(error, BlockyardError):
            log.warning("a refresh failed", credential_id=str(credential_id), reason=type(error).__name__)

    async def _fly(self, seen: Opened) -> Opened:
        """Refreshes, or waits for who does. `seen` is what was too old: any later version is what is wanted."""
        deadline = asyncio.get_running_loop().time() + self.limits.wait
        # Whoever asked first, it is the vault that does this.
        with audit.acting(audit.Actor()):
            for pause in delays(0.02, 0.5):
                opened = await self.vault.open(seen.record.user_id, seen.record.credential_id)
                if opened.record.state in _OVER:
                    raise _over(opened.record)
                if opened.record.version > seen.record.version and self._lives(opened):
                    return opened
                await self._check_refreshable(opened)
                holder = new_id().hex
                lease = await self.repository.take(
                    opened.record.credential_id, opened.record.version, holder, self.limits.lease
                )
                if lease.turn is RefreshTurn.OURS:
                    return await self._refresh(opened, holder, lease)
                if lease.turn is RefreshTurn.PAUSED:
                    return self._as_it_is(opened, "its provider failed a moment ago")
                if asyncio.get_running_loop().time() >= deadline:
                    break
                await asyncio.sleep(pause)
        return self._as_it_is(opened, "its refresh takes too long")

    async def _refresh(self, opened: Opened, holder: str, lease: RefreshLease) -> Opened:
        """One refresh, under the lease; it ends with the lease given back."""
        record = opened.record
        try:
            connection = self.providers.connection(record.provider)
            # Nothing is asked for that could not be kept.
            await self.vault.seal_small(b"refresh", b"")
            tokens = await self.endpoint.refresh(connection, str(opened.parts["refresh_token"]))
        except TokenRefused as error:
            if error.grant_is_void:
                return await self._void(opened, holder, error)
            return await self._paused(opened, holder, error)
        except (ProviderAway, ProviderMisbehaved) as error:
            return await self._paused(opened, holder, error)
        except KeyUnavailable as error:
            await self.repository.give_back(record.credential_id, holder)
            return self._as_it_is(opened, error.message)
        REFRESHES.labels(record.provider, "refreshed").inc()
        parts = tokens.parts(str(opened.parts["refresh_token"]))
        replaced = await self._store(record, parts, tokens, lease.now)
        if replaced is not None:
            log.info("an access token was refreshed", credential_id=str(record.credential_id), version=replaced.version)
            return Opened(replaced, parts)
        # It was replaced by its owner meanwhile, or is stored though that was not heard, or is gone.
        await self.repository.give_back(record.credential_id, holder)
        try:
            return await self.vault.open(record.user_id, record.credential_id)
        except CredentialNotFound:
            # Who deleted it gave back what there was then.
            await self.revocations.revoke(Opened(record, parts))
            raise

    async def _store(
        self, record: CredentialRecord, parts: dict[str, str], tokens: Tokens, now: datetime
    ) -> CredentialRecord | None:
        """The next version. It is tried for as long as nobody else may refresh: the provider gives this once."""
        deadline = asyncio.get_running_loop().time() + self.limits.lease
        for pause in delays(0.05, 2.0):
            try:
                return await self.vault.replace(
                    record,
                    parts,
                    expected_version=record.version,
                    scopes=tokens.scopes,
                    expire_time=None if tokens.expires_in is None else now + timedelta(seconds=tokens.expires_in),
                )
            except _MAY_PASS as error:
                reason = type(error).__name__
                if asyncio.get_running_loop().time() + pause >= deadline:
                    log.error("a refreshed token is lost", credential_id=str(record.credential_id), reason=reason)
                    raise Unavailable("The refreshed token could not be stored. Try again.") from error
                log.warning("a refreshed token waits", credential_id=str(record.credential_id), reason=reason)
            await asyncio.sleep(pause)
        raise AssertionError("delays are endless")

    async def _paused(self, opened: Opened, holder: str, error: Exception) -> Opened:
        """Nothing is lost: the provider is asked again after a pause."""
        REFRESHES.labels(opened.record.provider, "failed").inc()
        log.warning("a refresh failed", credential_id=str(opened.record.credential_id), reason=str(error))
        await self.repository.pause(opened.record.credential_id, holder, self.limits.pause)
        return self._as_it_is(opened, str(error))

    async def _void(self, opened: Opened, holder: str, error: TokenRefused) -> Opened:
        """The provider says that the grant is over, which is believed of the version that was tried alone."""
        record = opened.record
        REFRESHES.labels(record.provider, "refused").inc()
        reason = f"{_capital(error)}. Connect the account again."
        notice = Notice(
            id=str(notice_id := new_id()),
            user_id=record.user_id,
            kind=NoticeKind.NOTICE_KIND_CREDENTIAL_REVOKED,
            details={"credential_id": str(record.credential_id), "provider": record.provider},
        )
        notice.time.GetCurrentTime()
        marked = await self.vault.set_state(
            record.credential_id,
            CredentialState.REVOKED,
            reason,
            expected_version=record.version,
            notice=(notice_id, notice.SerializeToString()),
        )
        await self.repository.give_back(record.credential_id, holder)
        if not marked:
            return await self.vault.open(record.user_id, record.credential_id)
        log.warning("a provider refuses a credential", credential_id=str(record.credential_id), code=error.code)
        raise CredentialUnusable(reason, metadata={"credential_id": str(record.credential_id)})

    async def _check_refreshable(self, opened: Opened) -> None:
        record = opened.record
        if "refresh_token" not in opened.parts:
            reason = "The access token has expired, and there is no refresh token. Connect the account again."
            await self.vault.set_state(
                record.credential_id, CredentialState.EXPIRED, reason, expected_version=record.version
            )
            raise CredentialUnusable(reason, metadata={"credential_id": str(record.credential_id)})
        try:
            self.providers.connection(record.provider)
        except ProviderNotConfigured as error:
            raise CredentialUnusable(f"The access token cannot be refreshed. {_capital(error)}") from error

    def _is_due(self, opened: Opened) -> bool:
        ahead = self.limits.ahead
        if "refresh_token" not in opened.parts or not self.providers.is_connectable(opened.record.provider):
            # There is nothing to be done ahead.
            ahead = 0.0
        return not self._lives(opened, ahead)

    def _lives(self, opened: Opened, seconds: float = 0.0) -> bool:
        expire_time = opened.record.expire_time
        return expire_time is None or expire_time > self.clock() + timedelta(seconds=seconds)

    def _as_it_is(self, opened: Opened, why: str) -> Opened:
        """What is there while it lives."""
        if self._lives(opened):
            return opened
        raise Unavailable(f"The access token of this credential has expired, and {why}. Try again.")


def _over(record: CredentialRecord) -> CredentialUnusable:
    return CredentialUnusable(record.state_reason, metadata={"credential_id": str(record.credential_id)})


def _capital(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
