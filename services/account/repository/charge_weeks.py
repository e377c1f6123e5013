"""All SQL that makes and drops the partitions of charges."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime

import asyncpg

from services.account.charge_weeks import WEEK
from services.common.backoff import delays
from services.common.ids import first_id

LOCK = 7_205_759_404
"""Advisory lock of whoever makes or drops partitions of charges."""
LOCK_MILLISECONDS = 500
DROP_TRIES = 5
"""How long a drop waits for its lock, and how often it tries in a row: while it waits, nobody can book charges."""


class ChargeWeekRepository:
    """A table for each week, all of them parts of `charges`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def weeks(self) -> list[datetime]:
        """The weeks that there are, oldest first."""
        rows = await self._pool.fetch(
            """
            SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
            WHERE inhparent = 'charges'::regclass ORDER BY c.relname
            """
        )
        return [datetime.strptime(row["relname"][-8:], "%Y%m%d").replace(tzinfo=UTC) for row in rows]

    async def make(self, weeks: Collection[datetime]) -> None:
        """Makes tables for weeks; those that are there stay."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            for week in sorted(weeks):
                name = _table(week)
                if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
                    continue
                # Attaching lets others book meanwhile: CREATE TABLE .. PARTITION OF would lock them out.
                await connection.execute(f"CREATE TABLE {name} (LIKE charges INCLUDING ALL)")
                await connection.execute(
                    f"""ALTER TABLE charges ATTACH PARTITION {name}
                    FOR VALUES FROM ('{first_id(week)}') TO ('{first_id(week + WEEK)}')"""
                )

    async def drop(self, week: datetime) -> None:
        """Drops the table of a week, a moment later if somebody is in the way."""
        pauses = delays(first=1.0)
        for tries_left in reversed(range(DROP_TRIES)):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
                    await connection.execute(f"DROP TABLE IF EXISTS {_table(week)}")
                    return
            except asyncpg.LockNotAvailableError:
                if not tries_left:
                    raise
            await asyncio.sleep(next(pauses))


def _table(week: datetime) -> str:
    return f"charges_{week:%Y%m%d}"
