"""Which notices were taken in."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg

from services.notification.repository.followers import Connection


class TakenNoticeRepository:
    """The table `notices_taken`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @asynccontextmanager
    async def taking(self, notice_ids: Sequence[UUID], now: datetime) -> AsyncIterator[tuple[Connection, set[UUID]]]:
        """Those that were not taken yet, and the transaction in which they are."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                """
                INSERT INTO notices_taken (notice_id, take_time)
                SELECT notice_id, $2 FROM unnest($1::uuid[]) AS new (notice_id) ORDER BY notice_id
                ON CONFLICT DO NOTHING RETURNING notice_id
                """,
                list(notice_ids),
                now,
            )
            yield connection, {row["notice_id"] for row in rows}

    async def forget(self, before: datetime) -> None:
        """Forgets those that were taken before a moment: the stream has them no more."""
        await self._pool.execute("DELETE FROM notices_taken WHERE take_time < $1", before)
