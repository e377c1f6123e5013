"""The vault: credentials are kept, read, replaced and deleted here, and their secrets sealed and opened.

Who may do it, and whether a secret is fresh, is for others to say.
"""

import dataclasses
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import orjson
import structlog

from services.common.ids import new_id
from services.credentials import audit, envelope
from services.credentials.envelope import NotOpened
from services.credentials.errors import (
    CredentialNotFound,
    CredentialUnreadable,
    KeyUnavailable,
    RequestIdReused,
    TooManyCredentials,
    VersionConflict,
)
from services.credentials.keyring import Keyring
from services.credentials.records import (
    CredentialRecord,
    CredentialState,
    CredentialType,
    NewCredential,
    Opened,
    Parts,
    Sealed,
    StoredSecret,
)
from services.credentials.repository.credentials import CredentialRepository, Storing

ATTEMPTS = 5
"""How often something is sealed again because another key became active meanwhile."""

UNREADABLE = "The secret cannot be decrypted. Replace it, or connect the account again."
_SMALL = b"blockyard small 1\0"

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Vault:
    """All of it for one user at a time: whoever asks is named in every question."""

    repository: CredentialRepository
    keyring: Keyring
    request_key: bytes = dataclasses.field(repr=False)
    """Makes hashes of requests, in which secrets are, so that a guess at a secret cannot be checked by them."""
    most: int
    """Credentials that a user may have."""

    async def create(self, new: NewCredential) -> CredentialRecord:
        """A credential at version 1; the one that the same request kept before, if it did."""
        request_hash = self._request_hash(new) if new.request_id else None
        for _ in range(ATTEMPTS):
            credential_id = new_id()
            sealed = await self._seal(new.user_id, credential_id, 1, new.parts)
            action = audit.CONNECT if new.type is CredentialType.OAUTH2 else audit.CREATE
            entry = audit.of_credential(action, credential_id, new.provider)
            match await self.repository.insert(credential_id, new, request_hash, sealed, entry, self.most):
                case Storing.DONE:
                    return await self.get(new.user_id, credential_id)
                case Storing.KEY_CHANGED:
                    continue
                case storing:
                    if (made := await self._made_before(new, request_hash)) is not None:
                        return made
                    if storing is Storing.FULL:
                        raise self._full()
                    raise VersionConflict(
                        "The credential that this request kept was deleted just now. Use another request id."
                    )
        raise KeyUnavailable("The vault's keys change just now. Try again.")

    async def check_room(self, user_id: str) -> None:
        """Raises TooManyCredentials if the user has as many as one may have."""
        if await self.repository.count(user_id) >= self.most:
            raise self._full()

    async def get(self, user_id: str, credential_id: UUID) -> CredentialRecord:
        """A credential without its secret."""
        record = await self.repository.get(user_id, credential_id)
        if record is None:
            raise CredentialNotFound
        return record

    async def page(
        self, user_id: str, provider: str, kind: int, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[CredentialRecord]:
        """A user's credentials, newest first."""
        return await self.repository.page(user_id, provider, kind, before, limit)

    async def open(self, user_id: str, credential_id: UUID) -> Opened:
        """A credential with its secret; raises CredentialNotFound, CredentialUnreadable or KeyUnavailable."""
        stored = await self.repository.stored(user_id, [credential_id])
        if not stored:
            raise CredentialNotFound
        return await self._open(stored[0])

    async def open_many(
        self, user_id: str, credential_ids: Iterable[UUID]
    ) -> dict[UUID, Opened | CredentialUnreadable | KeyUnavailable]:
        """Those of these credentials that the user has: each with its secret, or with what is wrong with it alone."""
        found: dict[UUID, Opened | CredentialUnreadable | KeyUnavailable] = {}
        for stored in await self.repository.stored(user_id, list(set(credential_ids))):
            try:
                found[stored.record.credential_id] = await self._open(stored)
            except (CredentialUnreadable, KeyUnavailable) as error:
                found[stored.record.credential_id] = error
        return found

    async def replace(
        self,
        record: CredentialRecord,
        parts: Parts,
        *,
        expected_version: int,
        scopes: Sequence[str] | None = None,
        expire_time: datetime | None = None,
        account_name: str | None = None,
        title: str | None = None,
        keeps_expiry: bool = False,
        action: str = audit.REFRESH,
    ) -> CredentialRecord | None:
        """The next version with another secret; None if the credential is gone or no longer at the version expected.

        It is ACTIVE then, expires at `expire_time` (None: never), has the record's host and names of headers, and has
        the record's scopes and account where no others are given. The title stays where none is given, and the expiry
        with `keeps_expiry`, whatever another call has made of them. A lease of who refreshes it ends.
        """
        after = replace(
            record,
            version=expected_version,
            scopes=record.scopes if scopes is None else scopes,
            account_name=record.account_name if account_name is None else account_name,
            expire_time=expire_time,
        )
        entry = audit.of_credential(
            action, record.credential_id, record.provider, {"version": str(expected_version + 1)}
        )
        for _ in range(ATTEMPTS):
            sealed = await self._seal(record.user_id, record.credential_id, expected_version + 1, parts)
            storing, replaced = await self.repository.replace(after, title, keeps_expiry, sealed, entry)
            if storing is not Storing.KEY_CHANGED:
                return replaced
        raise KeyUnavailable("The vault's keys change just now. Try again.")

    async def rename(
        self,
        record: CredentialRecord,
        *,
        title: str | None = None,
        changes_expiry: bool = False,
        expire_time: datetime | None = None,
    ) -> CredentialRecord | None:
        """The credential with another title or expiry; its version stays. What is not given stays as it is.

        None if the credential is gone or no longer at the record's version.
        """
        entry = audit.of_credential(audit.UPDATE, record.credential_id, record.provider)
        return await self.repository.rename(record, title, changes_expiry, expire_time, entry)

    async def set_state(
        self,
        credential_id: UUID,
        state: CredentialState,
        reason: str,
        *,
        expected_version: int,
        notice: tuple[UUID, bytes] | None = None,
    ) -> bool:
        """Notes whether a version can be used; False if that is no longer the version.

        A notice to its owner (id and message) is stored with it, unless the state was that one already.
        """
        return await self.repository.set_state(credential_id, state, reason, expected_version, notice)

    async def mark_unreadable(self, user_id: str, credential_id: UUID, version: int) -> None:
        """Notes that the secret of a version cannot be decrypted; its owner sees it, and no other is concerned."""
        record = await self.repository.get(user_id, credential_id)
        if record is None or record.version != version or record.state is CredentialState.UNREADABLE:
            return
        log.error("a secret cannot be decrypted", credential_id=str(credential_id), version=version)
        await self.set_state(credential_id, CredentialState.UNREADABLE, UNREADABLE, expected_version=version)

    async def delete(self, record: CredentialRecord, *, forced: bool = False) -> None:
        """The credential is gone, with its secret."""
        details = {"forced": "true"} if forced else None
        entry = audit.of_credential(audit.DELETE, record.credential_id, record.provider, details)
        if not await self.repository.delete(record.user_id, record.credential_id, entry):
            raise CredentialNotFound

    async def seal_small(self, context: bytes, data: bytes) -> Sealed:
        """Something small and short-lived, sealed as secrets are; `context` says what it belongs to."""
        return await self.keyring.seal(data, _SMALL + context)

    async def open_small(self, context: bytes, sealed: Sealed) -> bytes:
        """What was sealed with that context; raises CredentialUnreadable or KeyUnavailable."""
        try:
            return await self.keyring.open(sealed, _SMALL + context)
        except NotOpened:
            raise CredentialUnreadable("What was kept for this cannot be decrypted. Begin again.") from None

    async def _seal(self, user_id: str, credential_id: UUID, version: int, parts: Parts) -> Sealed:
        return await self.keyring.seal(orjson.dumps(parts), envelope.secret_context(user_id, credential_id, version))

    async def _open(self, stored: StoredSecret) -> Opened:
        record = stored.record
        context = envelope.secret_context(record.user_id, record.credential_id, record.version)
        try:
            if stored.sealed is None:
                raise NotOpened
            parts = orjson.loads(await self.keyring.open(stored.sealed, context))
        except NotOpened:
            await self.mark_unreadable(record.user_id, record.credential_id, record.version)
            raise CredentialUnreadable(metadata={"credential_id": str(record.credential_id)}) from None
        if record.state is CredentialState.UNREADABLE:
            # It was restored since.
            await self.set_state(record.credential_id, CredentialState.ACTIVE, "", expected_version=record.version)
            record = replace(record, state=CredentialState.ACTIVE, state_reason="")
        return Opened(record, parts)

    async def _made_before(self, new: NewCredential, request_hash: bytes | None) -> CredentialRecord | None:
        """The credential that this request has kept."""
        found = await self.repository.made_by_request(new.user_id, new.request_id) if new.request_id else None
        if found is None:
            return None
        credential_id, hash_then = found
        if request_hash is None or not hmac.compare_digest(hash_then, request_hash):
            raise RequestIdReused
        return await self.get(new.user_id, credential_id)

    def _full(self) -> TooManyCredentials:
        return TooManyCredentials(
            f"{self.most:,} credentials are kept for a user, which is the limit: delete some that are not used, or ask "
            "the operator to raise BLOCKYARD_CREDENTIALS_OF_USER."
        )

    def _request_hash(self, new: NewCredential) -> bytes:
        said = [new.provider, new.type, new.title, new.host, new.expire_time, new.parts]
        return hmac.digest(self.request_key, orjson.dumps(said, option=orjson.OPT_SORT_KEYS), hashlib.sha256)
