"""All SQL of authorizations under way: states that wait for their codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.credentials.records import Sealed

_CLEANED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class PendingAuthorization:
    """What was asked for; the verifier of PKCE is sealed. The state itself is not kept."""

    state_hash: bytes
    user_id: str
    provider: str
    scopes: Sequence[str]
    redirect_uri: str
    title: str
    credential_id: UUID | None
    verifier: Sealed


@dataclass(frozen=True, slots=True)
class TakenAuthorization:
    """An authorization that was taken out, so that nobody takes it again."""

    pending: PendingAuthorization
    is_live: bool
    """False if its time was over."""
    now: datetime
    """PostgreSQL's clock, which all replicas share."""


@dataclass(frozen=True, slots=True, eq=False)
class AuthorizationRepository:
    """A state is taken by deleting its row: of two that come with the same state, one gets it."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def insert(self, pending: PendingAuthorization, seconds: float, most: int) -> datetime:
        """Stores an authorization, and gives when it expires.

        Of a user's own, the oldest go that are more than `most`; of all, some of those whose time is over.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                """
                DELETE FROM authorizations WHERE state_hash IN (
                    SELECT state_hash FROM authorizations WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)
                """,
                _CLEANED_AT_ONCE,
            )
            await connection.execute(
                """
                DELETE FROM authorizations WHERE state_hash IN (
                    SELECT state_hash FROM authorizations WHERE user_id = $1
                    ORDER BY expires_at DESC OFFSET $2 FOR UPDATE SKIP LOCKED)
                """,
                pending.user_id,
                most - 1,
            )
            expires_at: datetime = await connection.fetchval(
                """
                INSERT INTO authorizations (state_hash, user_id, provider, scopes, redirect_uri, title, credential_id,
                                            key_id, wrapped_key, nonce, ciphertext, expires_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now() + make_interval(secs => $12))
                RETURNING expires_at
                """,
                pending.state_hash,
                pending.user_id,
                pending.provider,
                list(pending.scopes),
                pending.redirect_uri,
                pending.title,
                pending.credential_id,
                pending.verifier.key_id,
                pending.verifier.wrapped_key,
                pending.verifier.nonce,
                pending.verifier.ciphertext,
                seconds,
            )
        return expires_at

    async def take(self, user_id: str, state_hash: bytes) -> TakenAuthorization | None:
        """The user's authorization of that state, which is gone by this. Another user's stays."""
        row = await self.pool.fetchrow(
            """
            DELETE FROM authorizations WHERE state_hash = $1 AND user_id = $2
            RETURNING *, expires_at > now() AS is_live, now() AS now
            """,
            state_hash,
            user_id,
        )
        if row is None:
            return None
        verifier = Sealed(row["key_id"], row["wrapped_key"], row["nonce"], row["ciphertext"])
        names = ("state_hash", "user_id", "provider", "scopes", "redirect_uri", "title", "credential_id")
        pending = PendingAuthorization(**{name: row[name] for name in names}, verifier=verifier)
        return TakenAuthorization(pending, row["is_live"], row["now"])
