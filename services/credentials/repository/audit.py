"""All SQL of the outbox of audit entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from services.credentials.audit import AuditRow


@dataclass(frozen=True, slots=True, eq=False)
class AuditRepository:
    """Entries that the account service does not have yet, as far as is known."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def oldest(self, limit: int) -> Sequence[AuditRow]:
        """The oldest entries."""
        rows = await self.pool.fetch(
            "SELECT entry_id, entry FROM audit_outbox ORDER BY create_time, entry_id LIMIT $1", limit
        )
        return [(row["entry_id"], row["entry"]) for row in rows]

    async def delete(self, entry_ids: Sequence[UUID]) -> None:
        """They are handed on."""
        await self.pool.execute("DELETE FROM audit_outbox WHERE entry_id = ANY($1::uuid[])", list(entry_ids))
