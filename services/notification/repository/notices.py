"""All SQL about notices that wait to be published."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from services.common.notices import PendingNotice
from services.notification.repository.followers import Connection


class NoticeRepository:
    """The table `notices`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def oldest(self, limit: int) -> Sequence[PendingNotice]:
        """Notices that are not published."""
        rows = await self._pool.fetch(
            "SELECT notice_id, user_id, notice FROM notices ORDER BY create_time, notice_id LIMIT $1", limit
        )
        return [PendingNotice(*row) for row in rows]

    async def delete(self, notice_ids: Sequence[UUID]) -> None:
        """They are."""
        await self._pool.execute("DELETE FROM notices WHERE notice_id = ANY($1::uuid[])", list(notice_ids))


async def insert_notice(connection: Connection, notice: PendingNotice) -> None:
    """Keeps a notice until it is published, in the transaction of what it tells."""
    await connection.execute(
        "INSERT INTO notices (notice_id, user_id, notice) VALUES ($1, $2, $3)",
        notice.notice_id,
        notice.user_id,
        notice.data,
    )
