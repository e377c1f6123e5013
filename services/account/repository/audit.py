"""All SQL about the audit log. The service's role may add entries and read them; partitions are kept by a function."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from blockyard.account.v1.account_pb2 import AuditEntry

_INSERT = """
INSERT INTO account_audit.audit_entries
    (entry_id, time, actor, api_key_id, action, resource, outcome, address, user_agent, request_id, details)
SELECT entry_id,
       -- There are partitions for these months. A sender's clock is wrong, or it was away for long.
       least(greatest(time, date_trunc('month', now()) - interval '1 month'), now() + interval '1 month'),
       actor, api_key_id, action, resource, outcome, address, user_agent, request_id, details::jsonb
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::text[])
     AS new (entry_id, time, actor, api_key_id, action, resource, outcome, address, user_agent, request_id, details)
ON CONFLICT DO NOTHING
"""

_PAGE = """
SELECT entry_id, time, actor, api_key_id, action, resource, outcome, address, user_agent, request_id, details
FROM account_audit.audit_entries
WHERE ($1 = '' OR actor = $1)
  AND starts_with(action, $2)
  AND ($3 = '' OR resource = $3)
  AND ($4::timestamptz IS NULL OR time >= $4)
  AND ($5::timestamptz IS NULL OR time < $5)
  AND ($6::timestamptz IS NULL OR (time, entry_id) < ($6, $7::uuid))
ORDER BY time DESC, entry_id DESC
LIMIT $8
"""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; what is empty wants all."""

    actor: str = ""
    action: str = ""
    """What actions begin with."""
    resource: str = ""
    start: datetime | None = None
    end: datetime | None = None


async def insert_entries(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", *entries: AuditEntry) -> None:
    """Adds entries in the connection's transaction; those that are there already stay as they are."""
    await connection.execute(_INSERT, *_columns(entries))


class AuditRepository:
    """Adds entries and reads them."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """Adds entries; those that are there already stay as they are."""
        await self._pool.execute(_INSERT, *_columns(entries))

    async def page(self, wanted: AuditFilter, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[AuditEntry]:
        """Entries, newest first."""
        moment, entry_id = before or (None, None)
        rows = await self._pool.fetch(
            _PAGE, wanted.actor, wanted.action, wanted.resource, wanted.start, wanted.end, moment, entry_id, limit
        )
        return [_entry(row) for row in rows]

    async def keep(self, retention_days: int) -> int:
        """Makes the partitions of the months around now and drops those past retention; answers how many went."""
        dropped: int = await self._pool.fetchval("SELECT account_audit.keep($1)", retention_days)
        return dropped


def _columns(entries: Sequence[AuditEntry]) -> list[list[Any]]:  # Any: a list for each column, each of its own type
    return [
        [UUID(entry.id) for entry in entries],
        [entry.time.ToDatetime(UTC) for entry in entries],
        *(
            [getattr(entry, name) for entry in entries]
            for name in (
                "actor",
                "api_key_id",
                "action",
                "resource",
                "outcome",
                "address",
                "user_agent",
                "request_id",
            )
        ),
        [orjson.dumps(dict(entry.details)).decode() for entry in entries],
    ]


def _entry(row: asyncpg.Record) -> AuditEntry:
    columns = dict(row)
    entry_id, time, details = columns.pop("entry_id"), columns.pop("time"), columns.pop("details")
    entry = AuditEntry(id=str(entry_id), details=orjson.loads(details), **columns)
    entry.time.FromDatetime(time)
    return entry
