"""All SQL of the keys that wrap secrets, and of wrapping them with another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.credentials.audit import AuditRow
from services.credentials.records import CredentialState, Sealed

_COLUMNS = "key_id, canary, active, create_time"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key that was used once. Its canary is a known text that it wraps."""

    key_id: str
    canary: bytes
    active: bool
    create_time: datetime


@dataclass(frozen=True, slots=True)
class WrappedSecret:
    """A secret that a key wraps, and what it is bound to."""

    credential_id: UUID
    version: int
    user_id: str
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """A secret with its data key wrapped anew; counts only while it is wrapped as it was read."""

    secret: WrappedSecret
    wrapped_key: bytes


@dataclass(frozen=True, slots=True, eq=False)
class KeyRepository:
    """Whatever wraps a secret checks in the same transaction that its key is the active one.

    So once another key is active, and what the others wrap is counted, that count does not rise any more.
    """

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def active(self) -> KeyRow | None:
        """The key that new secrets are wrapped with."""
        row = await self.pool.fetchrow(f"SELECT {_COLUMNS} FROM keys WHERE active")
        return KeyRow(**row) if row else None

    async def get(self, key_id: str) -> KeyRow | None:
        """A key by its id."""
        row = await self.pool.fetchrow(f"SELECT {_COLUMNS} FROM keys WHERE key_id = $1", key_id)
        return KeyRow(**row) if row else None

    async def add(self, key_id: str, canary: bytes) -> KeyRow:
        """A key that is there from now on; the canary that was there first stays."""
        await self.pool.execute(
            "INSERT INTO keys (key_id, canary) VALUES ($1, $2) ON CONFLICT DO NOTHING", key_id, canary
        )
        row = await self.get(key_id)
        assert row is not None, "keys are never deleted"
        return row

    async def needed(self) -> Sequence[KeyRow]:
        """The keys without which something cannot be sealed or opened."""
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM keys k
            WHERE active OR EXISTS (SELECT FROM secrets s WHERE s.key_id = k.key_id)
            """
        )
        return [KeyRow(**row) for row in rows]

    async def counted(self) -> Sequence[tuple[KeyRow, int]]:
        """All keys, the newest first, with how many secrets each wraps."""
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS}, (SELECT count(*) FROM secrets s WHERE s.key_id = k.key_id) AS secrets
            FROM keys k ORDER BY create_time DESC, key_id DESC
            """
        )
        return [
            (KeyRow(row["key_id"], row["canary"], row["active"], row["create_time"]), row["secrets"]) for row in rows
        ]

    async def activate(self, key_id: str, instead_of: str | None, audit: AuditRow | None = None) -> bool:
        """Makes a key the active one; False, and nothing changes, if another one than that was active."""
        async with self.pool.acquire() as connection, connection.transaction():
            # Two at once would each leave the other one's key active, and one of them fail.
            await connection.execute("LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE")
            if await connection.fetchval("SELECT key_id FROM keys WHERE active") != instead_of:
                return False
            await connection.execute("UPDATE keys SET active = false WHERE active AND key_id <> $1", key_id)
            await connection.execute("UPDATE keys SET active = true WHERE key_id = $1", key_id)
            if audit is not None:
                await connection.execute("INSERT INTO audit_outbox (entry_id, entry) VALUES ($1, $2)", *audit)
        return True

    async def to_rewrap(self, active: str, without: Sequence[str], limit: int) -> Sequence[WrappedSecret]:
        """Secrets that other keys wrap than the active one and those left out, and that can be read."""
        # Key by key, by the index: what is done already is not looked through again for each part of what is left.
        rows = await self.pool.fetch(
            """
            SELECT s.* FROM keys k CROSS JOIN LATERAL (
                SELECT s.credential_id, s.version, c.user_id, s.key_id, s.wrapped_key, s.nonce, s.ciphertext
                FROM secrets s JOIN credentials c USING (credential_id)
                WHERE s.key_id = k.key_id AND c.state <> $3
                ORDER BY s.credential_id, s.version
                LIMIT $4
            ) s
            WHERE k.key_id <> $1 AND k.key_id <> ALL($2::text[])
            LIMIT $4
            """,
            active,
            list(without),
            CredentialState.UNREADABLE,
            limit,
        )
        return [
            WrappedSecret(
                row["credential_id"],
                row["version"],
                row["user_id"],
                Sealed(row["key_id"], row["wrapped_key"], row["nonce"], row["ciphertext"]),
            )
            for row in rows
        ]

    async def remaining(self, active: str) -> int:
        """How many secrets other keys wrap, without those that cannot be read."""
        count: int = await self.pool.fetchval(
            """
            SELECT count(*) FROM keys k JOIN secrets s USING (key_id) JOIN credentials c USING (credential_id)
            WHERE k.key_id <> $1 AND c.state <> $2
            """,
            active,
            CredentialState.UNREADABLE,
        )
        return count

    async def unreadable(self, active: str, limit: int) -> Sequence[UUID]:
        """Credentials that cannot be read and whose secrets other keys wrap."""
        rows = await self.pool.fetch(
            """
            SELECT credential_id FROM keys k JOIN secrets s USING (key_id) JOIN credentials c USING (credential_id)
            WHERE k.key_id <> $1 AND c.state = $2 ORDER BY credential_id LIMIT $3
            """,
            active,
            CredentialState.UNREADABLE,
            limit,
        )
        return [row["credential_id"] for row in rows]

    async def rewrap(self, active: str, rewrapped: Sequence[Rewrapped]) -> int | None:
        """Wraps secrets with the active key, those left alone that were replaced meanwhile; answers how many.

        None, and nothing changes, if another key has become active.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            still = await connection.fetchval("SELECT true FROM keys WHERE key_id = $1 AND active FOR SHARE", active)
            if not still:
                return None
            ids = [one.secret.credential_id for one in rewrapped]
            versions = [one.secret.version for one in rewrapped]
            # Two callers lock the same rows in the same order: neither waits for the other for ever.
            await connection.execute(
                """
                SELECT FROM secrets JOIN unnest($1::uuid[], $2::bigint[]) AS t(credential_id, version)
                USING (credential_id, version) ORDER BY credential_id, version FOR UPDATE OF secrets
                """,
                ids,
                versions,
            )
            done = await connection.execute(
                """
                UPDATE secrets s SET key_id = $1, wrapped_key = t.wrapped
                FROM unnest($2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[])
                     AS t(credential_id, version, wrapped_before, wrapped)
                WHERE s.credential_id = t.credential_id AND s.version = t.version AND s.wrapped_key = t.wrapped_before
                """,
                active,
                ids,
                versions,
                [one.secret.sealed.wrapped_key for one in rewrapped],
                [one.wrapped_key for one in rewrapped],
            )
        return int(done.split()[-1])
