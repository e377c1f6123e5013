"""All SQL about credentials and their secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

import asyncpg

from services.credentials.audit import AuditRow
from services.credentials.records import (
    CredentialRecord,
    CredentialState,
    CredentialType,
    NewCredential,
    Sealed,
    StoredSecret,
)

_COLUMNS = """
    c.credential_id, c.user_id, c.provider, c.type, c.title, c.version, c.scopes, c.account_name, c.host,
    c.header_names, c.expire_time, c.state, c.state_reason, c.create_time, c.update_time, c.last_use_time, c.uses
"""
_SECRET = "s.key_id, s.wrapped_key, s.nonce, s.ciphertext"


class Storing(Enum):
    """What came of storing a secret."""

    DONE = auto()
    KEY_CHANGED = auto()
    """Another key is active than the one that wraps it: seal it again."""
    FULL = auto()
    """The user has as many credentials as one may have."""
    REFUSED = auto()
    """The request id was used before, or the credential is no longer at the version expected."""


@dataclass(frozen=True, slots=True, eq=False)
class CredentialRepository:
    """A secret is stored in the transaction that makes its version: readers see both or neither, and never wait."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def insert(
        self,
        credential_id: UUID,
        new: NewCredential,
        request_hash: bytes | None,
        sealed: Sealed,
        audit: AuditRow,
        most: int,
    ) -> Storing:
        """Stores a credential as version 1, unless the user has `most`; calls at once may pass that by a few."""
        row = await self.pool.fetchrow(
            """
            WITH key AS (SELECT key_id FROM keys WHERE key_id = $13 AND active FOR SHARE),
            kept AS (SELECT count(*) AS number FROM credentials WHERE user_id = $2),
            new AS (
                INSERT INTO credentials (credential_id, user_id, provider, type, title, scopes, account_name, host,
                                         header_names, expire_time, request_id, request_hash)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM key, kept
                WHERE kept.number < $19
                ON CONFLICT (user_id, request_id) WHERE request_id IS NOT NULL DO NOTHING
                RETURNING credential_id
            ),
            secret AS (
                INSERT INTO secrets (credential_id, version, key_id, wrapped_key, nonce, ciphertext)
                SELECT credential_id, 1, $13, $14, $15, $16 FROM new
            ),
            audit AS (INSERT INTO audit_outbox (entry_id, entry) SELECT $17, $18 FROM new)
            SELECT (SELECT count(*) FROM key) AS keys, (SELECT count(*) FROM new) AS stored, kept.number FROM kept
            """,
            credential_id,
            new.user_id,
            new.provider,
            new.type,
            new.title,
            list(new.scopes),
            new.account_name,
            new.host,
            list(new.header_names),
            new.expire_time,
            new.request_id or None,
            request_hash,
            sealed.key_id,
            sealed.wrapped_key,
            sealed.nonce,
            sealed.ciphertext,
            *audit,
            most,
        )
        assert row is not None, "a SELECT of one row"
        if not row["keys"]:
            return Storing.KEY_CHANGED
        if row["stored"]:
            return Storing.DONE
        return Storing.FULL if row["number"] >= most else Storing.REFUSED

    async def count(self, user_id: str) -> int:
        """How many credentials a user has."""
        number: int = await self.pool.fetchval("SELECT count(*) FROM credentials WHERE user_id = $1", user_id)
        return number

    async def made_by_request(self, user_id: str, request_id: str) -> tuple[UUID, bytes] | None:
        """The credential that a request made, and the hash of that request."""
        row = await self.pool.fetchrow(
            "SELECT credential_id, request_hash FROM credentials WHERE user_id = $1 AND request_id = $2",
            user_id,
            request_id,
        )
        return (row["credential_id"], row["request_hash"]) if row else None

    async def get(self, user_id: str, credential_id: UUID) -> CredentialRecord | None:
        """A credential of a user."""
        row = await self.pool.fetchrow(
            f"SELECT {_COLUMNS} FROM credentials c WHERE c.credential_id = $1 AND c.user_id = $2",
            credential_id,
            user_id,
        )
        return _record(row) if row else None

    async def page(
        self, user_id: str, provider: str, kind: int, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[CredentialRecord]:
        """A user's credentials, newest first; of one provider and one kind where they are given."""
        moment, credential_id = before or (None, None)
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM credentials c
            WHERE c.user_id = $1 AND ($2 = '' OR c.provider = $2) AND ($3 = 0 OR c.type = $3)
              AND ($4::timestamptz IS NULL OR (c.create_time, c.credential_id) < ($4, $5))
            ORDER BY c.create_time DESC, c.credential_id DESC
            LIMIT $6
            """,
            user_id,
            provider,
            kind,
            moment,
            credential_id,
            limit,
        )
        return [_record(row) for row in rows]

    async def stored(self, user_id: str, credential_ids: Sequence[UUID]) -> Sequence[StoredSecret]:
        """Those of these credentials that the user has, with the secrets of their versions."""
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS}, {_SECRET}
            FROM credentials c LEFT JOIN secrets s ON s.credential_id = c.credential_id AND s.version = c.version
            WHERE c.user_id = $1 AND c.credential_id = ANY($2::uuid[])
            """,
            user_id,
            list(credential_ids),
        )
        return [StoredSecret(_record(row), _sealed(row)) for row in rows]

    async def replace(
        self,
        record: CredentialRecord,
        title: str | None,
        keeps_expiry: bool,
        sealed: Sealed,
        audit: AuditRow,
    ) -> tuple[Storing, CredentialRecord | None]:
        """Stores the record's next version with its secret, if it is at the record's version still.

        What may change with a secret is as the record has it, but a title that is not given stays, and an expiry that
        is to be kept: another call may have changed them. Who refreshed the token is done with that.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            active = await connection.fetchval(
                "SELECT true FROM keys WHERE key_id = $1 AND active FOR SHARE", sealed.key_id
            )
            if not active:
                return Storing.KEY_CHANGED, None
            row = await connection.fetchrow(
                f"""
                UPDATE credentials c
                SET version = version + 1, title = coalesce($4, title), scopes = $5, account_name = $6, host = $7,
                    header_names = $8, expire_time = CASE WHEN $11 THEN expire_time ELSE $9 END,
                    state = $10, state_reason = '', refresh_holder = NULL, refresh_until = NULL,
                    update_time = clock_timestamp()
                WHERE c.credential_id = $1 AND c.user_id = $2 AND c.version = $3
                RETURNING {_COLUMNS}
                """,
                record.credential_id,
                record.user_id,
                record.version,
                title,
                list(record.scopes),
                record.account_name,
                record.host,
                list(record.header_names),
                record.expire_time,
                CredentialState.ACTIVE,
                keeps_expiry,
            )
            if row is None:
                return Storing.REFUSED, None
            await connection.execute(
                """
                WITH old AS (DELETE FROM secrets WHERE credential_id = $1 AND version < $2)
                INSERT INTO secrets (credential_id, version, key_id, wrapped_key, nonce, ciphertext)
                VALUES ($1, $2, $3, $4, $5, $6)
                """,
                record.credential_id,
                row["version"],
                sealed.key_id,
                sealed.wrapped_key,
                sealed.nonce,
                sealed.ciphertext,
            )
            await connection.execute("INSERT INTO audit_outbox (entry_id, entry) VALUES ($1, $2)", *audit)
        return Storing.DONE, _record(row)

    async def rename(
        self,
        record: CredentialRecord,
        title: str | None,
        changes_expiry: bool,
        expire_time: datetime | None,
        audit: AuditRow,
    ) -> CredentialRecord | None:
        """Stores what is given of title and expiry; None if it is gone, or no longer at the record's version."""
        row = await self.pool.fetchrow(
            f"""
            WITH changed AS (
                UPDATE credentials c
                SET title = coalesce($3, title), expire_time = CASE WHEN $8 THEN $4 ELSE expire_time END,
                    update_time = clock_timestamp()
                WHERE c.credential_id = $1 AND c.user_id = $2 AND c.version = $5
                RETURNING {_COLUMNS}
            ),
            audit AS (INSERT INTO audit_outbox (entry_id, entry) SELECT $6, $7 FROM changed)
            SELECT {_COLUMNS} FROM changed c
            """,
            record.credential_id,
            record.user_id,
            title,
            expire_time,
            record.version,
            *audit,
            changes_expiry,
        )
        return _record(row) if row else None

    async def set_state(
        self,
        credential_id: UUID,
        state: CredentialState,
        reason: str,
        expected_version: int,
        notice: tuple[UUID, bytes] | None = None,
    ) -> bool:
        """Stores whether it can be used; False if it is gone, or at another version.

        A notice to its owner is stored with it, if the state becomes another one by this.
        """
        row = await self.pool.fetchrow(
            """
            WITH before AS (
                SELECT credential_id, user_id, state FROM credentials
                WHERE credential_id = $1 AND version = $4 FOR UPDATE
            ),
            changed AS (
                UPDATE credentials c SET state = $2, state_reason = $3, update_time = clock_timestamp()
                FROM before b WHERE c.credential_id = b.credential_id
                RETURNING b.user_id, b.state AS state_before
            ),
            notice AS (
                INSERT INTO notices (notice_id, user_id, notice)
                SELECT $5, user_id, $6 FROM changed WHERE $5::uuid IS NOT NULL AND state_before <> $2
            )
            SELECT true FROM changed
            """,
            credential_id,
            state,
            reason,
            expected_version,
            *(notice or (None, None)),
        )
        return row is not None

    async def delete(self, user_id: str, credential_id: UUID, audit: AuditRow) -> bool:
        """Deletes a credential with its secret; False if there is none."""
        row = await self.pool.fetchrow(
            """
            WITH gone AS (DELETE FROM credentials WHERE credential_id = $1 AND user_id = $2 RETURNING credential_id),
            audit AS (INSERT INTO audit_outbox (entry_id, entry) SELECT $3, $4 FROM gone)
            SELECT true FROM gone
            """,
            credential_id,
            user_id,
            *audit,
        )
        return row is not None


def _record(row: asyncpg.Record) -> CredentialRecord:
    names = (name for name in CredentialRecord.__dataclass_fields__ if name not in ("type", "state"))
    return CredentialRecord(
        type=CredentialType(row["type"]), state=CredentialState(row["state"]), **{name: row[name] for name in names}
    )


def _sealed(row: asyncpg.Record) -> Sealed | None:
    if row["key_id"] is None:
        return None
    return Sealed(row["key_id"], row["wrapped_key"], row["nonce"], row["ciphertext"])
