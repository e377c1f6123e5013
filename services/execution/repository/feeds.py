"""Feeds of partitions, for other services: what was committed, whoever drove it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from services.common.errors import Unavailable
from services.execution.repository.portions import BYTES_READ
from services.execution.repository.turns import HISTORY

READ = """
WITH asked AS (
    SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS u(partition, after, through)
), seen AS MATERIALIZED (
    SELECT a.partition, t.feed_sequence, t.execution_id, t.turn
    FROM asked a CROSS JOIN LATERAL (
        SELECT feed_sequence, execution_id, turn FROM turns t
        WHERE t.partition = a.partition AND t.feed_sequence > a.after AND t.feed_sequence <= a.through
        ORDER BY feed_sequence LIMIT $4
    ) AS t
), owned AS MATERIALIZED (
    SELECT s.*, CASE WHEN $5 <> '' THEN (
        SELECT e.user_id FROM executions e WHERE e.execution_id = s.execution_id
    ) END AS user_id FROM seen s
), ends AS (
    SELECT a.partition, coalesce(greatest(p.published_through, (
        SELECT max(feed_sequence) FROM turns t WHERE t.partition = a.partition
    )), 0) AS head FROM asked a LEFT JOIN partitions p USING (partition)
), found AS (
    SELECT o.partition, o.feed_sequence, t.events,
        sum(octet_length(t.events)) OVER (ORDER BY o.partition, o.feed_sequence) - octet_length(t.events) AS before
    FROM owned o JOIN turns t ON t.execution_id = o.execution_id AND t.turn = o.turn
    WHERE octet_length(t.events) > 0 AND ($5 = '' OR o.user_id = $5)
)
SELECT e.partition, e.head, o.feed_sequence, $5 <> '' AND o.user_id IS NULL AS nobodys,
    f.events, coalesce(f.before >= $6, false) AS too_much
FROM ends e LEFT JOIN owned o USING (partition) LEFT JOIN (
    SELECT partition, feed_sequence, before, CASE WHEN before < $6 THEN events END AS events FROM found
) AS f USING (partition, feed_sequence)
ORDER BY e.partition, o.feed_sequence
"""
"""First which turns there are, by the index alone, and whose if that matters; then the events of those that are wanted,
if there is room. A row without a turn says where a feed ends of which nothing is read."""

HEADS = f"""
SELECT p.partition, greatest(p.published_through, coalesce((
    SELECT max(feed_sequence) FROM turns t WHERE t.partition = p.partition
), 0)) AS head, (({HISTORY}) || ', up since ' || extract(epoch FROM pg_postmaster_start_time())) AS history
FROM partitions p ORDER BY p.partition
"""
"""A disk that was put back to an earlier state is of the same timeline, but its server was started for it."""


class DatabaseRecovers(Unavailable):
    """The database is being recovered, or is a standby, so it may not have all that was committed. Try again later."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Where feeds end."""

    sequences: Mapping[int, int]
    """Feed sequence of the last committed turn by partition."""
    history: str
    """Of the database: as long as it is the same, what was committed is there."""


@dataclass(frozen=True, slots=True)
class FeedPart:
    """What was read of a partition's feed."""

    turns: Sequence[tuple[int, bytes]]
    """Feed sequence and events of those that have some that are wanted, in order."""
    reached: int
    """Up to where all is told."""
    gap: bool
    """Whether something on the way there is not kept any more."""


class FeedRepository:
    """Questions about feeds."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def heads(self) -> Heads:
        """Where all feeds end, and in which history; raises DatabaseRecovers."""
        try:
            rows = await self._pool.fetch(HEADS)
        except asyncpg.ObjectNotInPrerequisiteStateError as error:
            raise DatabaseRecovers from error
        return Heads({row["partition"]: row["head"] for row in rows}, rows[0]["history"] if rows else "")

    async def read(
        self, after: Mapping[int, int], through: Mapping[int, int], user_id: str, limit: int
    ) -> dict[int, FeedPart]:
        """The next turns of each partition in `after`, at most `limit` of each; of one user, or of all if it is ""."""
        partitions = list(after)
        rows = await self._pool.fetch(
            READ,
            partitions,
            [after[one] for one in partitions],
            [through[one] for one in partitions],
            limit,
            user_id,
            BYTES_READ // 4,
        )
        by_partition: dict[int, list[asyncpg.Record]] = {one: [] for one in partitions}
        for row in rows:
            by_partition[row["partition"]].append(row)
        return {one: _part(found, after[one], through[one], limit) for one, found in by_partition.items()}


def _part(rows: Sequence[asyncpg.Record], after: int, through: int, limit: int) -> FeedPart:
    turns: list[tuple[int, bytes]] = []
    read = [row for row in rows if row["feed_sequence"] is not None]
    reached, gap = after, False
    for row in read:
        if row["too_much"]:
            return FeedPart(turns, reached, gap)
        # Feeds have no gaps of their own. Executions are dropped before their turns: then nobody knows whose one was.
        gap = gap or row["feed_sequence"] > reached + 1 or row["nobodys"]
        reached = row["feed_sequence"]
        if row["events"]:
            turns.append((reached, row["events"]))
    if len(read) < limit:
        # What is not kept any more does not come: where nothing follows, all was looked at. Past the end of the feed
        # there is nothing yet: who asks for that remembers a database that went back.
        end = min(through, rows[0]["head"])
        return FeedPart(turns, max(reached, end), gap or reached < end)
    return FeedPart(turns, reached, gap)
