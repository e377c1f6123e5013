"""Leases: which replica lives, and which partitions it holds.

A replica is its row in `replicas`. A turn locks that row FOR KEY SHARE; taking over begins by deleting the rows of
replicas that have expired, and so waits for their last turn and fences the next. Renewing is an UPDATE, which does not
conflict with the turn's lock. A deleted replica never comes back: it joins again under a new id.
"""

from collections.abc import Mapping

import asyncpg

from services.execution.records import PartitionLease

RENEW = "UPDATE replicas SET expires_at = now() + %s * interval '1 second' WHERE replica_id = %s AND expires_at > now()"
"""For the renewing thread, which has a connection of its own."""

TAKING = 7_216_400_119
"""Lock of whoever takes partitions, by an advisory number: any will do, as long as every release uses the same."""

TAKE = """
WITH free AS (
    SELECT partition, unsent FROM partitions p
    WHERE NOT EXISTS (SELECT FROM replicas r WHERE r.replica_id = p.owner)
      AND EXISTS (SELECT FROM replicas r WHERE r.replica_id = $1)
    ORDER BY random() LIMIT $2 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE partitions p SET owner = $1, epoch = epoch + 1, unsent = NULL FROM free WHERE p.partition = free.partition
    RETURNING p.partition, p.epoch, p.published_through, free.unsent
)
SELECT partition, epoch, published_through,
    greatest(published_through, coalesce((
        SELECT max(feed_sequence) FROM turns t WHERE t.partition = taken.partition
    ), 0)) AS feed_sequence,
    unsent
FROM taken
"""

CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"


class LeaseRepository:
    """Questions about replicas and partitions."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def join(self, replica_id: str, address: str, seconds: float, partitions: int) -> None:
        """Makes the replica's row, and the partitions' rows where they are missing."""
        await self._pool.execute(
            "INSERT INTO partitions (partition) SELECT generate_series(0, $1 - 1) ON CONFLICT DO NOTHING", partitions
        )
        await self._pool.execute(
            """
            INSERT INTO replicas (replica_id, address, expires_at) VALUES ($1, $2, now() + $3 * interval '1 second')
            ON CONFLICT (replica_id) DO UPDATE SET expires_at = excluded.expires_at
            """,
            replica_id,
            address,
            seconds,
        )

    async def clock(self) -> float:
        """PostgreSQL's time, in seconds since 1970."""
        seconds: float = await self._pool.fetchval(CLOCK)
        return seconds

    async def leave(self, replica_id: str) -> None:
        """Gives everything up: partitions of a replica without a row are free."""
        await self._pool.execute("DELETE FROM replicas WHERE replica_id = $1", replica_id)

    async def bury(self) -> list[str]:
        """Removes the replicas that have expired, after their last turn; returns their ids."""
        rows = await self._pool.fetch("DELETE FROM replicas WHERE expires_at < now() RETURNING replica_id")
        return [row["replica_id"] for row in rows]

    async def partitions(self) -> int:
        """How many partitions there are: those of every setting that any replica ever had."""
        count: int = await self._pool.fetchval("SELECT count(*) FROM partitions")
        return count

    async def orphans(self) -> list[int]:
        """Partitions that no living replica holds."""
        rows = await self._pool.fetch(
            """
            SELECT partition FROM partitions p
            WHERE NOT EXISTS (SELECT FROM replicas r WHERE r.replica_id = p.owner AND r.expires_at > now())
            """
        )
        return [row["partition"] for row in rows]

    async def living(self) -> list[str]:
        """Ids of the live replicas."""
        rows = await self._pool.fetch("SELECT replica_id FROM replicas WHERE expires_at > now() ORDER BY replica_id")
        return [row["replica_id"] for row in rows]

    async def owners(self) -> dict[int, tuple[str, str]]:
        """Live owner and its address by partition."""
        rows = await self._pool.fetch(
            "SELECT partition, owner, address FROM partitions JOIN replicas ON replica_id = owner"
        )
        return {row["partition"]: (row["owner"], row["address"]) for row in rows}

    async def take(self, replica_id: str, most: int) -> list[PartitionLease]:
        """Takes up to `most` partitions that no living replica holds.

        One replica at a time: a statement that began before another replica joined does not see its row, and would take
        what that one has taken meanwhile. The lock is had before the statement that looks begins.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", TAKING)
            rows = await connection.fetch(TAKE, replica_id, most)
        return [PartitionLease(*row) for row in rows]

    async def release_all_but(self, replica_id: str, held: list[int]) -> bool:
        """Gives the replica's other partitions to whoever wants them; True if there were any."""
        rows = await self._pool.fetch(
            "UPDATE partitions SET owner = NULL WHERE owner = $1 AND partition <> ALL($2::int[]) RETURNING partition",
            replica_id,
            held,
        )
        return bool(rows)

    async def published(self, replica_id: str, through: dict[int, int]) -> None:
        """Notes up to which feed sequence each partition's events are in the stream."""
        await self._pool.execute(
            """
            UPDATE partitions p SET published_through = u.through
            FROM unnest($2::int[], $3::bigint[]) AS u(partition, through)
            WHERE p.partition = u.partition AND p.owner = $1 AND p.published_through < u.through
            """,
            replica_id,
            list(through),
            list(through.values()),
        )

    async def say_unsent(self, replica_id: str, unsent: Mapping[int, bytes | None]) -> None:
        """Tells the next owners of partitions what this replica has not sent."""
        await self._pool.execute(
            """
            UPDATE partitions p SET unsent = u.unsent FROM unnest($2::int[], $3::bytea[]) AS u(partition, unsent)
            WHERE p.partition = u.partition AND p.owner = $1
            """,
            replica_id,
            list(unsent),
            list(unsent.values()),
        )
