"""Wraps secrets with another key, while they are read and replaced.

Any number of callers may do it at once, and each may break off anywhere: a secret is wrapped by one key or by the
other, and what is left is what other keys wrap still. The secrets themselves are not touched, only their data keys.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from services.credentials import audit, envelope
from services.credentials.envelope import NotOpened
from services.credentials.errors import KeyUnavailable
from services.credentials.keyring import Finding, Keyring
from services.credentials.repository.keys import KeyRow, Rewrapped, WrappedSecret
from services.credentials.vault import Vault

AT_ONCE = 8
"""Data keys that are under way to a provider at a time: a rotation leaves room for those who read."""
CHUNK = 100
"""Secrets that are stored together."""
MOST_NAMED = 100

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rotated:
    """How far a rotation is."""

    key_id: str
    rewrapped: int
    remaining: int
    unreadable: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class KeyInUse:
    """A key with how many secrets it wraps, and whether this replica can use it."""

    row: KeyRow
    secrets: int
    available: bool


@dataclass(slots=True)
class _Progress:
    rewrapped: int = 0
    unavailable: dict[str, KeyUnavailable] = field(default_factory=dict)
    """Keys that this replica cannot use, which others may."""


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """For administrators."""

    vault: Vault

    @property
    def _keyring(self) -> Keyring:
        return self.vault.keyring

    async def keys(self) -> Sequence[KeyInUse]:
        """All keys that were ever used, the newest first."""
        return [
            KeyInUse(row, secrets, (await self._keyring.examine(row)).finding is Finding.RIGHT)
            for row, secrets in await self._keyring.repository.counted()
        ]

    async def rotate(self, key_id: str, create: bool, batch_size: int) -> Rotated:
        """Makes a key active, if it is not, and wraps some of the secrets with it that others wrap."""
        active = await self._activated(key_id, create)
        progress = _Progress()
        while progress.rewrapped < batch_size:
            limit = min(CHUNK, batch_size - progress.rewrapped)
            found = await self._keyring.repository.to_rewrap(active.key_id, list(progress.unavailable), limit)
            if not found:
                break
            if not await self._rewrap(active, found, progress):
                break
        remaining = await self._keyring.repository.remaining(active.key_id)
        if remaining and not progress.rewrapped and progress.unavailable:
            # A caller who goes on until nothing remains would do so for ever.
            raise next(iter(progress.unavailable.values()))
        unreadable = await self._keyring.repository.unreadable(active.key_id, MOST_NAMED)
        return Rotated(active.key_id, progress.rewrapped, remaining, unreadable)

    async def _activated(self, key_id: str, create: bool) -> KeyRow:
        repository = self._keyring.repository
        active = await repository.active()
        if key_id and (active is None or key_id != active.key_id):
            wanted = await self._keyring.introduce(key_id)
        elif not key_id and create and (active is None or not await repository.remaining(active.key_id)):
            # Else a rotation is under way, and goes on.
            if active is not None:
                # What a replica with the wrong keys makes, the others may not have.
                await self._keyring.prove(active)
            wanted = await self._keyring.make()
        elif active is None:
            raise KeyUnavailable("The vault has no key yet. Name one by key_id, or make one.")
        else:
            await self._keyring.prove(active)
            return active
        before = active.key_id if active else None
        entry = audit.entry(audit.ROTATE, f"vault-keys/{wanted.key_id}", {"before": before or ""})
        if await repository.activate(wanted.key_id, before, entry):
            log.info("another key of the vault is active", key_id=wanted.key_id, before=before)
            return wanted
        # Somebody else made another one active at the same time.
        return await self._activated(key_id, False)

    async def _rewrap(self, active: KeyRow, found: Sequence[WrappedSecret], progress: _Progress) -> bool:
        """False if another key has become active meanwhile, which ends this call."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(secret: WrappedSecret) -> Rewrapped | None:
            async with gate:
                return await self._rewrapped(active, secret, progress)

        made = await asyncio.gather(*map(one, found), return_exceptions=True)
        done = await self._keyring.repository.rewrap(active.key_id, [it for it in made if isinstance(it, Rewrapped)])
        progress.rewrapped += done or 0
        for it in made:
            if isinstance(it, BaseException):
                raise it
        return done is not None

    async def _rewrapped(self, active: KeyRow, secret: WrappedSecret, progress: _Progress) -> Rewrapped | None:
        context = envelope.secret_context(secret.user_id, secret.credential_id, secret.version)
        try:
            data_key = await self._keyring.unwrap(secret.sealed, context)
        except NotOpened:
            await self.vault.mark_unreadable(secret.user_id, secret.credential_id, secret.version)
            return None
        except KeyUnavailable as error:
            progress.unavailable[secret.sealed.key_id] = error
            return None
        return Rewrapped(secret, await self._keyring.wrap(active, data_key, context))
