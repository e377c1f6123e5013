"""All SQL about notices that wait to be published."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from services.common.notices import PendingNotice


class NoticeRepository:
    """The table `notices`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def oldest(self, limit: int) -> Sequence[PendingNotice]:
        """Notices that are not published, oldest first."""
        rows = await self._pool.fetch(
            "SELECT notice_id, user_id, notice FROM notices ORDER BY create_time, notice_id LIMIT $1", limit
        )
        return [PendingNotice(row["notice_id"], row["user_id"], row["notice"]) for row in rows]

    async def delete(self, notice_ids: Sequence[UUID]) -> None:
        """They are published."""
        await self._pool.execute("DELETE FROM notices WHERE notice_id = ANY($1::uuid[])", notice_ids)
