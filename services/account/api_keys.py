"""API keys: how they are made, what they may do, and how a call that brings one is checked.

A key is `by_<prefix>_<secret>`: 8 letters and digits by which it is found, and 43 of them (256 bits) that nobody can
guess. What is kept is a salted hash of a hash, so neither the table nor what services ask each other holds a key.
"""

import hashlib
import hmac
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from services.account.errors import ApiKeyNotFound, KeyMayDoMore, TooManyApiKeys, UserNotFound
from services.account.records import ApiKey, KeyHolder, NewApiKey
from services.account.repository.api_keys import ApiKeyRepository
from services.account.users import cleaned_name, whose
from services.common import audit
from services.common.callers import KEY_PREFIX
from services.common.errors import InvalidArgument, Violation
from services.common.identity import ApiKeyInvalid, Caller
from services.common.ids import new_id
from services.common.permissions import Permission

PREFIX_LENGTH = 8
SECRET_LENGTH = 43
SALT_BYTES = 16
LONGEST_NAME = 100
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ACTION = "blockyard.account.v1.AccountService/"


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys of users."""

    repository: ApiKeyRepository
    most: int
    """Usable keys of a user."""

    async def create(
        self, caller: Caller, name: str, permissions: frozenset[Permission], expire_time: datetime | None
    ) -> tuple[ApiKey, str]:
        """Makes a key for the caller; the key itself is in the answer and nowhere else."""
        name = _checked_name(name)
        if expire_time is not None and expire_time <= datetime.now(UTC):
            raise InvalidArgument(violations=[Violation("expire_time", "expected a time in the future")])
        if surplus := permissions - caller.permissions:
            names = ", ".join(sorted(one.name for one in surplus))
            raise KeyMayDoMore(f"An API key may do no more than who makes it. You have not: {names}.")
        # A key that was made by a key ends with it at the latest.
        maker = await self.repository.get(UUID(caller.api_key_id)) if caller.api_key_id else None
        ends = [expire_time, maker.expire_time if maker is not None else None]
        prefix, key = _new_key()
        salt = secrets.token_bytes(SALT_BYTES)
        new = NewApiKey(
            api_key_id=new_id(),
            user_id=caller.user_id,
            name=name,
            prefix=prefix,
            salt=salt,
            hash=hash_of(salt, digest_of(key)),
            permissions=permissions or caller.permissions,
            expire_time=min((end for end in ends if end is not None), default=None),
            made_by=maker.api_key_id if maker is not None else None,
        )
        details = {"prefix": prefix, "permissions": ", ".join(sorted(one.name for one in new.permissions))}
        entry = audit.entry(_ACTION + "CreateApiKey", f"api_keys/{new.api_key_id}", details)
        made = await self.repository.insert(new, self.most, entry)
        if made is None:
            if maker is not None and not await self.repository.is_usable(maker.api_key_id):
                raise ApiKeyInvalid
            raise TooManyApiKeys(f"The user has {self.most} API keys, which is the most. Revoke some.")
        return made, key

    async def page(self, caller: Caller, user_id: str, before: UUID | None, limit: int) -> Sequence[ApiKey]:
        """A user's keys, newest first."""
        return await self.repository.page(whose(caller, user_id), before, limit)

    async def revoke(self, caller: Caller, api_key_id: UUID) -> ApiKey:
        """Revokes a key, and those that it made. Safe to repeat: one that is revoked stays as it is."""
        key = await self.repository.get(api_key_id)
        if key is None:
            raise ApiKeyNotFound
        try:
            whose(caller, key.user_id)
        except UserNotFound:
            raise ApiKeyNotFound from None
        details = {"prefix": key.prefix, "user": key.user_id}
        entry = audit.entry(_ACTION + "RevokeApiKey", f"api_keys/{api_key_id}", details)
        revoked = await self.repository.revoke(key, entry)
        return revoked or await self.repository.get(api_key_id) or key


def digest_of(key: str) -> bytes:
    """What services send of a key instead of the key."""
    return hashlib.sha256(key.encode()).digest()


def hash_of(salt: bytes, digest: bytes) -> bytes:
    """What is kept of it. The key has 256 random bits: a slow hash would guard nothing more."""
    return hmac.digest(salt, digest, "sha256")


def fits(holder: KeyHolder | None, digest: bytes) -> bool:
    """Whether this is the digest of the key, in a time that tells nothing about it."""
    salt, expected = (holder.salt, holder.hash) if holder else (bytes(SALT_BYTES), bytes(32))
    return hmac.compare_digest(hash_of(salt, digest), expected) and holder is not None


def _new_key() -> tuple[str, str]:
    prefix = _letters(PREFIX_LENGTH)
    return prefix, f"{KEY_PREFIX}{prefix}_{_letters(SECRET_LENGTH)}"


def _letters(number: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(number))


def _checked_name(name: str) -> str:
    cleaned = cleaned_name(name)
    if not 1 <= len(cleaned) <= LONGEST_NAME or not cleaned.isprintable():
        problem = f"expected 1 to {LONGEST_NAME} characters that can be printed"
        raise InvalidArgument(violations=[Violation("name", problem)])
    return cleaned
