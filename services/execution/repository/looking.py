"""Questions of whoever looks after an installation: how partitions and executions stand, over all replicas."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg


@dataclass(frozen=True, slots=True)
class PartitionStanding:
    """Who holds partitions."""

    partitions: int
    orphans: int
    """Those that no living replica holds."""
    replicas: int
    """Those that live."""


@dataclass(frozen=True, slots=True)
class ExecutionStanding:
    """Executions that have not ended."""

    unended: int
    overdue: int
    """Due for long, in partitions that no living replica holds. Of others only their replica knows: the rows of what is
    in memory are due all the time."""
    parked: int
    park_example: UUID | None
    park_reason: str | None


class StandingRepository:
    """Reads alone."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def partitions(self) -> PartitionStanding:
        """How partitions stand."""
        row = await self._pool.fetchrow(
            """
            SELECT count(*)::int AS partitions, count(*) FILTER (WHERE r.replica_id IS NULL)::int AS orphans,
                (SELECT count(*)::int FROM replicas WHERE expires_at > now()) AS replicas
            FROM partitions p LEFT JOIN replicas r ON r.replica_id = p.owner AND r.expires_at > now()
            """
        )
        assert row is not None
        return PartitionStanding(**row)

    async def heads(self) -> dict[int, int]:
        """The last feed sequence of each partition that has one."""
        rows = await self._pool.fetch(
            """
            SELECT p.partition, last.feed_sequence FROM partitions p CROSS JOIN LATERAL (
                SELECT t.feed_sequence FROM turns t
                WHERE t.partition = p.partition ORDER BY t.feed_sequence DESC LIMIT 1
            ) last
            """
        )
        return {row["partition"]: row["feed_sequence"] for row in rows}

    async def unpublished(self, through: Mapping[int, int]) -> int:
        """Turns with events that are not known to be in the stream, up to a feed sequence of each partition."""
        count: int = await self._pool.fetchval(
            """
            SELECT coalesce(sum(later.turns), 0)::bigint
            FROM unnest($1::int[], $2::bigint[]) AS head (partition, last) JOIN partitions p USING (partition)
            CROSS JOIN LATERAL (
                SELECT count(*) AS turns FROM turns t
                WHERE t.partition = p.partition AND t.feed_sequence > p.published_through
                  AND t.feed_sequence <= head.last AND t.events <> ''
            ) later
            """,
            list(through),
            list(through.values()),
        )
        return count

    async def held(self) -> set[int]:
        """Partitions that living replicas hold."""
        rows = await self._pool.fetch(
            "SELECT partition FROM partitions p JOIN replicas r ON r.replica_id = p.owner AND r.expires_at > now()"
        )
        return {row["partition"] for row in rows}

    async def executions(self, overdue_seconds: float) -> ExecutionStanding:
        """How executions stand that have not ended."""
        row = await self._pool.fetchrow(
            """
            SELECT count(*)::int AS unended,
                count(*) FILTER (
                    WHERE e.wake_at < now() - $1 * interval '1 second' AND r.replica_id IS NULL
                )::int AS overdue,
                count(*) FILTER (WHERE e.parked IS NOT NULL)::int AS parked,
                (array_agg(e.execution_id ORDER BY e.execution_id) FILTER (WHERE e.parked IS NOT NULL))[1]
                    AS park_example,
                (array_agg(e.parked ORDER BY e.execution_id) FILTER (WHERE e.parked IS NOT NULL))[1] AS park_reason
            FROM executions e
            LEFT JOIN partitions p ON p.partition = e.partition
            LEFT JOIN replicas r ON r.replica_id = p.owner AND r.expires_at > now()
            WHERE e.status < 4
            """,
            overdue_seconds,
        )
        assert row is not None
        return ExecutionStanding(**row)
