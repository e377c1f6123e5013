"""All SQL about API keys."""

from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg
from blockyard.account.v1.account_pb2 import AuditEntry

from services.account.records import ApiKey, KeyHolder, NewApiKey
from services.account.repository.audit import insert_entries
from services.account.repository.numbers import is_active, numbers_of, permissions_of, role_of

_COLUMNS = """
    api_key_id, user_id, name, prefix, permissions, create_time, last_use_time, expire_time, revoke_time
"""
_USABLE = "revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now())"


class ApiKeyRepository:
    """What makes or ends a key is audited in its transaction. No key is ever in here, only what it is checked by."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def insert(self, new: NewApiKey, most: int, entry: AuditEntry) -> ApiKey | None:
        """Keeps a key; None if its user has so many usable ones, or the key that makes it is none any more."""
        async with self._pool.acquire() as connection, connection.transaction():
            # One at a time for each user, so that the count holds, and what is revoked makes nothing meanwhile.
            await connection.execute("SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE", new.user_id)
            row = await connection.fetchrow(
                f"""
                INSERT INTO api_keys (api_key_id, user_id, name, prefix, salt, hash, permissions, expire_time, made_by)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
                WHERE (SELECT count(*) FROM api_keys WHERE user_id = $2 AND {_USABLE}) < $10
                    AND ($9::uuid IS NULL OR EXISTS (SELECT FROM api_keys WHERE api_key_id = $9 AND {_USABLE}))
                RETURNING {_COLUMNS}
                """,
                new.api_key_id,
                new.user_id,
                new.name,
                new.prefix,
                new.salt,
                new.hash,
                numbers_of(new.permissions),
                new.expire_time,
                new.made_by,
                most,
            )
            if row is not None:
                await insert_entries(connection, entry)
        return _key(row) if row else None

    async def get(self, api_key_id: UUID) -> ApiKey | None:
        """A key."""
        row = await self._pool.fetchrow(f"SELECT {_COLUMNS} FROM api_keys WHERE api_key_id = $1", api_key_id)
        return _key(row) if row else None

    async def is_usable(self, api_key_id: UUID) -> bool:
        """Whether a key is neither revoked nor past its end."""
        found = await self._pool.fetchval(f"SELECT {_USABLE} FROM api_keys WHERE api_key_id = $1", api_key_id)
        return bool(found)

    async def page(self, user_id: str, before: UUID | None, limit: int) -> Sequence[ApiKey]:
        """A user's keys, newest first."""
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM api_keys WHERE user_id = $1 AND ($2::uuid IS NULL OR api_key_id < $2)
            ORDER BY api_key_id DESC LIMIT $3
            """,
            user_id,
            before,
            limit,
        )
        return [_key(row) for row in rows]

    async def revoke(self, key: ApiKey, entry: AuditEntry) -> ApiKey | None:
        """Revokes a key and those that it made; None if it was revoked already."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE", key.user_id)
            rows = await connection.fetch(
                f"""
                WITH RECURSIVE ended AS (
                    SELECT api_key_id AS ended_id FROM api_keys WHERE api_key_id = $1
                    UNION SELECT k.api_key_id FROM api_keys k JOIN ended e ON k.made_by = e.ended_id
                )
                UPDATE api_keys SET revoke_time = now() FROM ended
                WHERE api_key_id = ended_id AND revoke_time IS NULL RETURNING {_COLUMNS}
                """,
                key.api_key_id,
            )
            if rows:
                await insert_entries(connection, entry)
        return next((_key(row) for row in rows if row["api_key_id"] == key.api_key_id), None)

    async def by_prefix(self, prefix: str) -> KeyHolder | None:
        """The key with a prefix, and who holds it."""
        row = await self._pool.fetchrow(
            f"""
            SELECT k.api_key_id, k.salt, k.hash, k.permissions, {_USABLE} AS valid,
                   extract(epoch FROM k.expire_time - now())::float8 AS seconds_left, k.user_id, u.role, u.state
            FROM api_keys k JOIN users u USING (user_id) WHERE k.prefix = $1
            """,
            prefix,
        )
        if row is None:
            return None
        columns = dict(row)
        state = columns.pop("state")
        return KeyHolder(
            **{
                **columns,
                "permissions": permissions_of(columns["permissions"]),
                "role": role_of(columns["role"]),
                "active": is_active(state),
            }
        )

    async def note_used(self, api_key_ids: Collection[UUID]) -> None:
        """Notes, to the minute, that keys are used now."""
        await self._pool.execute(
            """
            UPDATE api_keys SET last_use_time = date_trunc('minute', now())
            WHERE api_key_id = ANY($1::uuid[]) AND last_use_time IS DISTINCT FROM date_trunc('minute', now())
            """,
            sorted(api_key_ids),
        )


def _key(row: asyncpg.Record) -> ApiKey:
    return ApiKey(**{**dict(row), "permissions": permissions_of(row["permissions"])})
