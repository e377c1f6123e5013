"""Partitions by time, and what is dropped when it is past retention (rule 15)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from services.common.backoff import delays
from services.common.ids import first_id

TABLES = ("commands", "node_executions", "incomplete_sets", "outputs", "snapshots", "value_writes", "turns")
"""Partitioned by week. As long as the last one has a week, dropping that week has not ended."""
WEEK = timedelta(weeks=1)
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday: partitions begin at whole weeks from here."""
WEEKS_AHEAD = 4

LOCK = 7_205_759_403
"""Advisory lock of whoever makes or drops partitions."""
LONGEST_SECONDS = 600
"""Statements of retention may take so long: nobody waits for them."""
LOCK_MILLISECONDS = 500
DROP_TRIES = 5
"""How long a drop waits for its lock, and how often it tries in a row."""

PARTITIONS = """
SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
WHERE inhparent = $1::text::regclass ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """An execution that has ended."""

    execution_id: UUID
    size: int
    """Its events and node executions: about as many rows as there are of it, or more."""


def week_of(moment: datetime) -> datetime:
    """When the partition of a moment begins."""
    return EPOCH + (moment - EPOCH) // WEEK * WEEK


class Retention:
    """Makes partitions ahead of need and drops old ones."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def make_partitions(self) -> None:
        """Partitions from the last week to WEEKS_AHEAD from now are there after this."""
        first = week_of(datetime.now(UTC)) - WEEK
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            for table in TABLES:
                rows = await connection.fetch(PARTITIONS, table)
                there = {row["relname"] for row in rows}
                for number in range(WEEKS_AHEAD + 2):
                    week = first + number * WEEK
                    name = f"{table}_{week:%Y%m%d}"
                    if name not in there:
                        # Attaching lets turns go on, and readers: CREATE TABLE .. PARTITION OF would lock them out.
                        await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
                        await connection.execute(
                            f"""ALTER TABLE {table} ATTACH PARTITION {name}
                            FOR VALUES FROM ('{first_id(week)}') TO ('{first_id(week + WEEK)}')"""
                        )

    async def past_weeks(self, before: datetime) -> list[datetime]:
        """The weeks that are still there and end before a moment."""
        rows = await self._pool.fetch(PARTITIONS, TABLES[-1])
        weeks = [datetime.strptime(row["relname"][-8:], "%Y%m%d").replace(tzinfo=UTC) for row in rows]
        return [week for week in weeks if week + WEEK <= before]

    async def is_held(self, week: datetime, before: datetime) -> bool:
        """True if an execution of the week had not ended at that moment."""
        async with self._unhurried() as connection:
            held: bool = await connection.fetchval(
                """
                SELECT EXISTS (SELECT FROM executions WHERE execution_id >= $1 AND execution_id < $2
                    AND (status < 4 OR end_time IS NULL OR end_time > $3))
                """,
                first_id(week),
                first_id(week + WEEK),
                before,
                timeout=LONGEST_SECONDS,
            )
        return held

    async def ended(self, week: datetime, before: datetime, after: UUID | None, limit: int) -> list[Ended]:
        """The first executions of a week, or the first after one, that had ended at that moment."""
        async with self._unhurried() as connection:
            rows = await connection.fetch(
                """
                SELECT execution_id, last_event + node_executions AS size FROM executions
                WHERE execution_id >= $1 AND execution_id < $2 AND ($3::uuid IS NULL OR execution_id > $3)
                  AND status >= 4 AND end_time <= $4
                ORDER BY execution_id LIMIT $5
                """,
                first_id(week),
                first_id(week + WEEK),
                after,
                before,
                limit,
                timeout=LONGEST_SECONDS,
            )
        return [Ended(row["execution_id"], row["size"]) for row in rows]

    async def below(self, execution_ids: Sequence[UUID], after: UUID | None, limit: int) -> list[UUID]:
        """The first that have ended, or the first after one, of those that nodes of these have run, however deep."""
        async with self._unhurried() as connection:
            rows = await connection.fetch(
                """
                WITH RECURSIVE below AS (
                    SELECT execution_id, status FROM executions WHERE parent_execution_id = ANY($1)
                    UNION ALL
                    SELECT e.execution_id, e.status FROM below
                    JOIN executions e ON e.parent_execution_id = below.execution_id
                )
                SELECT execution_id FROM below WHERE status >= 4 AND ($2::uuid IS NULL OR execution_id > $2)
                ORDER BY execution_id LIMIT $3
                """,
                execution_ids,
                after,
                limit,
                timeout=LONGEST_SECONDS,
            )
        return [row["execution_id"] for row in rows]

    async def delete(self, execution_ids: Sequence[UUID]) -> int:
        """Deletes executions, and returns how many there were; what else there is of them goes with their week, or has
        gone."""
        async with self._unhurried() as connection:
            done = await connection.execute(
                "DELETE FROM executions WHERE execution_id = ANY($1)", execution_ids, timeout=LONGEST_SECONDS
            )
        return int(done.rpartition(" ")[2])

    async def delete_history(self, execution_ids: Sequence[UUID]) -> None:
        """Deletes all that there is of executions in tables by week: there may be very much of each."""
        for table in TABLES:
            async with self._unhurried() as connection:
                await connection.execute(
                    f"DELETE FROM {table} WHERE execution_id = ANY($1)", execution_ids, timeout=LONGEST_SECONDS
                )

    async def drop(self, week: datetime) -> None:
        """Drops the tables of a week.

        A drop locks out everybody who writes turns, of whatever week, and so does waiting for its lock. Each table has
        a transaction of its own and waits for a moment only; it is tried again, later, when readers were in the way.
        """
        for table in TABLES:
            await self._drop_table(f"{table}_{week:%Y%m%d}")

    async def _drop_table(self, name: str) -> None:
        pauses = delays(first=1.0)
        for tries_left in reversed(range(DROP_TRIES)):
            try:
                async with self._unhurried() as connection:
                    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
                    await connection.execute(f"DROP TABLE IF EXISTS {name}", timeout=LONGEST_SECONDS)
                    return
            except asyncpg.LockNotAvailableError:
                if not tries_left:
                    raise
            await asyncio.sleep(next(pauses))

    @asynccontextmanager
    async def _unhurried(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"]:
        """A transaction whose statements may take longer than those that somebody waits for."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = {LONGEST_SECONDS * 1000}")
            yield connection
