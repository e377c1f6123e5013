"""All SQL about leases, about how often credentials are used, and about those that could be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.credentials.matching import Candidate
from services.credentials.records import CredentialState, CredentialType

MOST_CONSIDERED = 10_000
"""Credentials of a user that are looked at for a question."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A secret that was given to a run."""

    lease_id: UUID
    credential_id: UUID
    version: int
    user_id: str
    execution_id: UUID
    node_execution: int
    attempt: int
    run_id: int
    """Its 64 bits, as a signed number."""
    graph_id: str
    node_id: str
    pin: str
    runner_id: str


_FIELDS = tuple(Lease.__dataclass_fields__)
_INSERT = f"""
    INSERT INTO leases ({", ".join(_FIELDS)})
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::bigint[], $7::integer[],
                         $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[])
"""


@dataclass(frozen=True, slots=True, eq=False)
class LeaseRepository:
    """Leases are only added, and deleted when they are old."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def insert(self, leases: Sequence[Lease], audit: Sequence[tuple[UUID, bytes]]) -> None:
        """Stores leases, with the audit entries that tell of them."""
        columns = [[getattr(lease, name) for lease in leases] for name in _FIELDS]
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(_INSERT, *columns)
            await connection.execute(
                "INSERT INTO audit_outbox (entry_id, entry) SELECT * FROM unnest($1::uuid[], $2::bytea[])",
                [entry_id for entry_id, _ in audit],
                [entry for _, entry in audit],
            )

    async def add_uses(self, uses: Mapping[UUID, tuple[int, datetime]]) -> None:
        """Counts how often credentials were used, and when last. Those that are gone are left out."""
        ids = sorted(uses)
        # Locked in one order by every replica, so that two of them wait, and do not deadlock.
        await self.pool.execute(
            """
            WITH used AS (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS u (id, uses, last)),
            locked AS (
                SELECT credential_id FROM credentials WHERE credential_id = ANY($1)
                ORDER BY credential_id FOR NO KEY UPDATE
            )
            UPDATE credentials c
            SET uses = c.uses + used.uses, last_use_time = greatest(c.last_use_time, used.last)
            FROM used JOIN locked ON locked.credential_id = used.id
            WHERE c.credential_id = used.id
            """,
            ids,
            [uses[one][0] for one in ids],
            [uses[one][1] for one in ids],
        )

    async def delete_before(self, before: UUID, limit: int) -> int:
        """Deletes leases with smaller ids, the oldest first; answers how many."""
        done = await self.pool.execute(
            """
            DELETE FROM leases
            WHERE lease_id IN (SELECT lease_id FROM leases WHERE lease_id < $1 ORDER BY lease_id LIMIT $2)
            """,
            before,
            limit,
        )
        return int(done.split()[1])

    async def candidates(
        self, user_id: str, providers: Sequence[str] | None, chosen: Sequence[UUID]
    ) -> Sequence[Candidate]:
        """A user's credentials for these providers (None: for any), and those that were chosen; oldest first."""
        rows = await self.pool.fetch(
            """
            SELECT credential_id, provider, type, title, scopes, host, state, state_reason, expire_time
            FROM credentials
            WHERE user_id = $1
              AND ($2::text[] IS NULL OR provider = ANY($2) OR credential_id = ANY($3::uuid[]))
            ORDER BY create_time, credential_id LIMIT $4
            """,
            user_id,
            providers if providers is None else list(providers),
            list(chosen),
            MOST_CONSIDERED,
        )
        return [_candidate(row) for row in rows]


def _candidate(row: asyncpg.Record) -> Candidate:
    return Candidate(**{**row, "type": CredentialType(row["type"]), "state": CredentialState(row["state"])})
