"""All SQL about notices that wait to be published: the table `notices`, which each service that tells any has."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg


@dataclass(frozen=True, slots=True)
class PendingNotice:
    """A notice as its row has it."""

    notice_id: UUID
    user_id: str
    data: bytes
    """A message blockyard.event.v1.Notice."""


async def add_notices(
    connection: "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]",
    notices: Sequence[PendingNotice],
) -> None:
    """Keeps notices until they are published, in the transaction of what they tell."""
    if notices:
        await connection.executemany(
            "INSERT INTO notices (notice_id, user_id, notice) VALUES ($1, $2, $3)",
            [(notice.notice_id, notice.user_id, notice.data) for notice in notices],
        )


class NoticeRepository:
    """The table in the schema that the pool's connections work in."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def oldest(self, limit: int) -> Sequence[PendingNotice]:
        """Notices that are not published, the oldest first."""
        rows = await self._pool.fetch(
            "SELECT notice_id, user_id, notice FROM notices ORDER BY create_time, notice_id LIMIT $1", limit
        )
        return [PendingNotice(*row) for row in rows]

    async def delete(self, notice_ids: Sequence[UUID]) -> None:
        """They are published."""
        await self._pool.execute("DELETE FROM notices WHERE notice_id = ANY($1::uuid[])", list(notice_ids))
