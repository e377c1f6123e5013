"""What users do with their credentials, beyond keeping them: checks with providers, and with whoever names them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from blockyard.credentials.v1.credential_pb2 import CredentialUse

from services.common.errors import InvalidArgument, Violation
from services.credentials.audit import UPDATE
from services.credentials.errors import (
    CredentialInUse,
    CredentialUnreadable,
    KeyUnavailable,
    ProviderNotConfigured,
    VersionConflict,
)
from services.credentials.oauth.checking import Finding
from services.credentials.oauth.revoking import Revocations
from services.credentials.oauth.testing import CredentialTests
from services.credentials.providers import Providers
from services.credentials.reading import GivenSecret
from services.credentials.records import CredentialRecord, CredentialType, NewCredential, Opened
from services.credentials.uses import Uses, place_of
from services.credentials.vault import Vault

ATTEMPTS = 5
"""How often a change is tried again when a token was refreshed meanwhile, where the caller named no version."""
REVOKE_SECONDS = 10.0

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """What is changed of a credential; what is None stays."""

    title: str | None
    secret: GivenSecret | None
    changes_expiry: bool
    expire_time: datetime | None
    """Where the expiry is changed: None takes it away."""
    version: int
    """The version that the caller has seen; 0 if it named none."""

    @property
    def names_anything(self) -> bool:
        """Whether something is to be changed."""
        return self.title is not None or self.secret is not None or self.changes_expiry


@dataclass(frozen=True, slots=True, eq=False)
class Credentials:
    """All of it for one user at a time."""

    vault: Vault
    providers: Providers
    uses: Uses
    revocations: Revocations
    tests: CredentialTests

    async def create(self, new: NewCredential) -> CredentialRecord:
        """A credential. Of a provider that the vault does not know, any kind of secret is taken."""
        provider = self.providers.find(new.provider)
        if provider is not None and new.type not in provider.credential_types:
            words = ", ".join(kind.word for kind in provider.credential_types)
            raise ProviderNotConfigured(f"{provider.title} takes {words}, and no {new.type.word}.")
        return await self.vault.create(new)

    async def update(self, user_id: str, credential_id: UUID, change: Change) -> CredentialRecord:
        """The credential, changed as a whole or not at all."""
        for _ in range(ATTEMPTS):
            record = await self.vault.get(user_id, credential_id)
            if change.version and record.version != change.version:
                raise VersionConflict(f"The version is {record.version}, not {change.version}.")
            _check(record, change)
            if not change.names_anything:
                return record
            changed = await self._changed(record, change)
            if changed is not None:
                return changed
        raise VersionConflict

    async def _changed(self, record: CredentialRecord, change: Change) -> CredentialRecord | None:
        """None if it is at another version by now."""
        if change.secret is None:
            return await self.vault.rename(
                record, title=change.title, changes_expiry=change.changes_expiry, expire_time=change.expire_time
            )
        secret = change.secret
        return await self.vault.replace(
            replace(record, host=secret.host, header_names=secret.header_names),
            secret.parts,
            expected_version=record.version,
            expire_time=change.expire_time,
            keeps_expiry=not change.changes_expiry,
            account_name=secret.account_name,
            title=change.title,
            action=UPDATE,
        )

    async def delete(self, user_id: str, credential_id: UUID, force: bool) -> Sequence[CredentialUse]:
        """The credential is gone; answers where it was in use. One that is in use goes by force alone."""
        record = await self.vault.get(user_id, credential_id)
        uses = await self.uses.find(user_id, credential_id, as_far_as_known=force)
        if uses and not force:
            raise CredentialInUse(violations=[place_of(use) for use in uses])
        opened = await self._grant_of(record)
        await self.vault.delete(record, forced=bool(uses))
        if opened is not None:
            await self._revoke(opened)
        return uses

    async def test(self, user_id: str, credential_id: UUID) -> Finding:
        """What its provider says of it."""
        return await self.tests.test(await self.vault.open(user_id, credential_id))

    async def _grant_of(self, record: CredentialRecord) -> Opened | None:
        """What is to be given back; a credential can be deleted though nobody can read it."""
        if record.type is not CredentialType.OAUTH2:
            return None
        try:
            return await self.vault.open(record.user_id, record.credential_id)
        except (CredentialUnreadable, KeyUnavailable):
            log.warning("a grant is not revoked, since it cannot be read", credential_id=str(record.credential_id))
            return None

    async def _revoke(self, opened: Opened) -> None:
        try:
            async with asyncio.timeout(REVOKE_SECONDS):
                await self.revocations.revoke(opened)
        except TimeoutError:
            log.warning("a grant was not revoked in time", credential_id=str(opened.record.credential_id))


def _check(record: CredentialRecord, change: Change) -> None:
    violations = []
    if change.secret is not None and change.secret.type is not record.type:
        expected = (
            "connect the account again" if record.type is CredentialType.OAUTH2 else f"expected {record.type.word}"
        )
        violations.append(Violation("secret", f"is of another kind than the credential: {expected}"))
    if change.changes_expiry and record.type is CredentialType.OAUTH2:
        violations.append(Violation("expire_time", "is the provider's to say, of an account that is connected"))
    if violations:
        raise InvalidArgument(violations=violations)
