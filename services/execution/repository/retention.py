"""Partitions by time, and what is dropped when it is past retention (rule 15)."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

TABLES = ("commands", "turns", "node_executions", "incomplete_sets", "outputs", "snapshots")
WEEK = timedelta(weeks=1)
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday: partitions begin at whole weeks from here."""
WEEKS_AHEAD = 4

LOCK = 7_205_759_403
"""Advisory lock of whoever makes or drops partitions."""


def first_id(moment: datetime) -> UUID:
    """The least UUIDv7 of a moment."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def week_of(moment: datetime) -> datetime:
    """When the partition of a moment begins."""
    return EPOCH + (moment - EPOCH) // WEEK * WEEK


class Retention:
    """Makes partitions ahead of need and drops old ones."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def make_partitions(self) -> None:
        """Partitions from the last week to WEEKS_AHEAD from now are there after this."""
        week = week_of(datetime.now(UTC)) - WEEK
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            for _ in range(WEEKS_AHEAD + 2):
                for table in TABLES:
                    await connection.execute(
                        f"""CREATE TABLE IF NOT EXISTS {table}_{week:%Y%m%d} PARTITION OF {table}
                        FOR VALUES FROM ('{first_id(week)}') TO ('{first_id(week + WEEK)}')"""
                    )
                week += WEEK

    async def drop_partitions(self, before: datetime) -> list[UUID]:
        """Drops the weeks that end before a moment and whose executions have all ended; returns their executions."""
        dropped: list[UUID] = []
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            for week in await self._weeks(connection):
                if week + WEEK > before:
                    continue
                alive = await connection.fetchval(
                    """
                    SELECT EXISTS (SELECT FROM executions WHERE status < 4 AND execution_id >= $1 AND execution_id < $2)
                    """,
                    first_id(week),
                    first_id(week + WEEK),
                )
                if alive:
                    continue
                for table in TABLES:
                    await connection.execute(f"DROP TABLE IF EXISTS {table}_{week:%Y%m%d}")
                rows = await connection.fetch(
                    "DELETE FROM executions WHERE execution_id >= $1 AND execution_id < $2 RETURNING execution_id",
                    first_id(week),
                    first_id(week + WEEK),
                )
                dropped += [row["execution_id"] for row in rows]
        return dropped

    async def _weeks(self, connection: asyncpg.pool.PoolConnectionProxy) -> list[datetime]:
        rows = await connection.fetch(
            """
            SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
            WHERE inhparent = 'turns'::regclass ORDER BY c.relname
            """
        )
        return [datetime.strptime(row["relname"][-8:], "%Y%m%d").replace(tzinfo=UTC) for row in rows]
