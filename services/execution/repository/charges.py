"""Outcomes that are to be charged, and up to where they have been."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

AFTER = """
SELECT t.feed_sequence, t.execution_id, n.number, e.user_id, e.graph_id, n.block_id, n.ended_ms, n.stats
FROM (
    SELECT feed_sequence, execution_id, turn FROM turns
    WHERE partition = $1 AND feed_sequence > $2 AND feed_sequence <= $3 ORDER BY feed_sequence LIMIT $4
) t
LEFT JOIN (node_executions n JOIN executions e USING (execution_id))
    ON n.execution_id = t.execution_id AND n.last_turn = t.turn AND n.stats <> ''
ORDER BY t.feed_sequence
"""
# A partition that was held without credits has no mark: its outcomes of that time are never charged.
BEGIN = """
UPDATE partitions p SET charged_through = coalesce(p.charged_through, u.committed)
FROM unnest($2::int[], $3::bigint[]) AS u(partition, committed)
WHERE p.partition = u.partition AND p.owner = $1
RETURNING p.partition, p.charged_through
"""
LEAVE = "UPDATE partitions SET charged_through = NULL WHERE owner = $1 AND charged_through IS NOT NULL"
NOTE = """
UPDATE partitions p SET charged_through = u.through
FROM unnest($2::int[], $3::bigint[]) AS u(partition, through)
WHERE p.partition = u.partition AND p.owner = $1 AND p.charged_through < u.through
"""


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """An outcome with what its run reported."""

    execution_id: bytes
    number: int
    user_id: str
    graph_id: str
    block_id: str
    ended_ms: int
    stats: bytes


class ChargeRepository:
    """Questions of who charges."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, replica_id: str, committed: Mapping[int, int]) -> dict[int, int]:
        """Marks of partitions that were taken, by partition. `committed` are the feed sequences of their last turns."""
        rows = await self._pool.fetch(BEGIN, replica_id, list(committed), list(committed.values()))
        return {row["partition"]: row["charged_through"] for row in rows}

    async def leave(self, replica_id: str) -> None:
        """Credits are off here: what is driven meanwhile will not be charged."""
        await self._pool.execute(LEAVE, replica_id)

    async def after(self, partition: int, after: int, through: int, turns: int) -> tuple[list[ChargeRow], int]:
        """Outcomes of a partition's next turns, and the feed sequence of the last one of those turns."""
        rows = await self._pool.fetch(AFTER, partition, after, through, turns)
        found = [
            ChargeRow(
                row["execution_id"].bytes,
                row["number"],
                row["user_id"],
                row["graph_id"],
                row["block_id"],
                row["ended_ms"],
                row["stats"],
            )
            for row in rows
            if row["number"] is not None
        ]
        return found, max((row["feed_sequence"] for row in rows), default=after)

    async def note(self, replica_id: str, through: Mapping[int, int]) -> None:
        """Notes up to which feed sequence each partition's outcomes are charged."""
        await self._pool.execute(NOTE, replica_id, list(through), list(through.values()))
