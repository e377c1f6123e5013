"""All SQL about notices that wait to be published."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from services.common.notices import PendingNotice


@dataclass(frozen=True, slots=True, eq=False)
class NoticeRepository:
    """They are written with the state of a credential that they tell of."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def oldest(self, limit: int) -> Sequence[PendingNotice]:
        """Notices that are not published, the oldest first."""
        rows = await self.pool.fetch(
            "SELECT notice_id, user_id, notice FROM notices ORDER BY create_time, notice_id LIMIT $1", limit
        )
        return [PendingNotice(row["notice_id"], row["user_id"], row["notice"]) for row in rows]

    async def delete(self, notice_ids: Sequence[UUID]) -> None:
        """They are published."""
        await self.pool.execute("DELETE FROM notices WHERE notice_id = ANY($1::uuid[])", list(notice_ids))
