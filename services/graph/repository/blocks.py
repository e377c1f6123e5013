"""All SQL about the blocks that runners registered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
from blockyard.graph.v1.block_pb2 import Block

from services.graph.records import Registration, RunnerSighting, Sighting, VersionSighting

KEEP_RUNNERS = timedelta(days=1)
"""Runners that have been silent for longer are forgotten; their names do not come again."""
MOST_RUNNERS = 100
"""Runners of a version that are named."""

_THERE = "(h.in_pool AND r.seen_time > now() - make_interval(secs => $1))"
"""Whether a runner `r` has been seen of late, and is given tasks of the block that it has in `h`."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockRepository:
    """Definitions are kept by (block, schema hash); which one is current follows from who registered it, and when."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def seen_again(self, runner_id: str, digest: bytes) -> bool:
        """Notes that a runner is there; False if it has registered something else, or nothing, before."""
        done = await self.pool.execute(
            "UPDATE runners SET seen_time = clock_timestamp() WHERE runner_id = $1 AND digest = $2", runner_id, digest
        )
        return done == "UPDATE 1"

    async def register(self, registration: Registration) -> None:
        """Stores what a runner has, in place of what it had. Safe to repeat."""
        # In one order everywhere, so that two runners that register the same blocks wait, and do not deadlock.
        blocks = sorted(registration.blocks, key=lambda block: (block.block_id, block.schema_hash))
        ids = [block.block_id for block in blocks]
        hashes = [block.schema_hash for block in blocks]
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                """
                INSERT INTO blocks (block_id, schema_hash, definition_hash, definition)
                SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[])
                ON CONFLICT (block_id, schema_hash) DO UPDATE
                SET definition_hash = excluded.definition_hash, definition = excluded.definition
                WHERE blocks.definition_hash <> excluded.definition_hash
                """,
                ids,
                hashes,
                [block.definition_hash for block in blocks],
                [block.definition for block in blocks],
            )
            await connection.execute(
                """
                INSERT INTO runners (runner_id, digest, seen_time, pool) VALUES ($1, $2, clock_timestamp(), $3)
                ON CONFLICT (runner_id) DO UPDATE
                SET digest = excluded.digest, seen_time = excluded.seen_time, pool = excluded.pool
                """,
                registration.runner_id,
                registration.digest,
                registration.pool,
            )
            await connection.execute("DELETE FROM runner_blocks WHERE runner_id = $1", registration.runner_id)
            await connection.execute(
                """
                INSERT INTO runner_blocks (runner_id, block_id, schema_hash, in_pool, not_configured)
                SELECT $1, * FROM unnest($2::text[], $3::text[], $4::boolean[], $5::text[])
                """,
                registration.runner_id,
                ids,
                hashes,
                [block.in_pool for block in blocks],
                [block.not_configured for block in blocks],
            )

    async def forget(self) -> None:
        """Deletes runners that are gone for good, and definitions that a newer one replaced and no runner has."""
        await self.pool.execute("DELETE FROM runners WHERE seen_time < now() - $1::interval", KEEP_RUNNERS)
        await self.pool.execute(
            """
            DELETE FROM blocks b
            WHERE b.register_time < now() - $1::interval
              AND EXISTS (SELECT FROM blocks n WHERE n.block_id = b.block_id AND n.register_time > b.register_time)
              AND NOT EXISTS (
                  SELECT FROM runner_blocks r WHERE r.block_id = b.block_id AND r.schema_hash = b.schema_hash
              )
            """,
            KEEP_RUNNERS,
        )

    async def sightings(self, absent_after: float) -> list[Sighting]:
        """The current definition of each block: the newest of those that a runner can run now, else of those that one
        has registered of late, else of all. So an upgrade takes over at once, and a rollback as soon as the newer
        runners are gone."""
        rows = await self.pool.fetch(
            f"""
            SELECT DISTINCT ON (block_id)
                   block_id, schema_hash, definition_hash, present, seen_time, coalesce(not_configured, '') AS
                   not_configured
            FROM (
                SELECT b.block_id, b.schema_hash, b.definition_hash, b.register_time,
                       max(r.seen_time) FILTER (WHERE h.in_pool) AS seen_time,
                       coalesce(bool_or({_THERE}), false) AS present,
                       -- The empty text, which stands for a runner that can run it, comes before all others.
                       min(h.not_configured COLLATE "C") FILTER (WHERE {_THERE}) AS not_configured
                FROM blocks b
                LEFT JOIN runner_blocks h ON h.block_id = b.block_id AND h.schema_hash = b.schema_hash
                LEFT JOIN runners r ON r.runner_id = h.runner_id
                GROUP BY b.block_id, b.schema_hash
            ) AS known
            ORDER BY block_id, (present AND not_configured = '') DESC, present DESC, register_time DESC, schema_hash
            """,
            absent_after,
        )
        return [Sighting(**row) for row in rows]

    async def versions(self, block_id: str, absent_after: float) -> list[VersionSighting]:
        """Every version of a block that is known, the newest first, with the runners that have it."""
        rows = await self.pool.fetch(
            f"""
            SELECT * FROM (
                SELECT b.schema_hash, b.register_time, b.definition, r.runner_id, r.pool, r.seen_time, h.not_configured,
                       {_THERE} AS present,
                       row_number() OVER (PARTITION BY b.schema_hash ORDER BY r.seen_time DESC, r.runner_id) AS number
                FROM blocks b
                LEFT JOIN runner_blocks h ON h.block_id = b.block_id AND h.schema_hash = b.schema_hash
                LEFT JOIN runners r ON r.runner_id = h.runner_id
                WHERE b.block_id = $2
            ) AS known
            WHERE number <= $3
            ORDER BY register_time DESC, schema_hash, number
            """,
            absent_after,
            block_id,
            MOST_RUNNERS,
        )
        versions: dict[str, VersionSighting] = {}
        runners: dict[str, list[RunnerSighting]] = {}
        for row in rows:
            schema_hash, pool = row["schema_hash"], Block.FromString(row["definition"]).pool
            known = runners.setdefault(schema_hash, [])
            versions[schema_hash] = VersionSighting(schema_hash, row["register_time"], pool, known)
            if row["runner_id"] is not None:
                known.append(_runner(row))
        return list(versions.values())

    async def serving_pools(self, absent_after: float) -> set[str]:
        """The pools of the runners that were seen of late."""
        rows = await self.pool.fetch(
            "SELECT DISTINCT pool FROM runners WHERE seen_time > now() - make_interval(secs => $1)", absent_after
        )
        return {row["pool"] for row in rows}

    async def definitions(self, definition_hashes: Sequence[bytes]) -> dict[bytes, Block]:
        """What was registered, by hash, with the time when it first was."""
        rows = await self.pool.fetch(
            "SELECT definition_hash, definition, register_time FROM blocks WHERE definition_hash = ANY($1)",
            list(definition_hashes),
        )
        found = {}
        for row in rows:
            block = Block.FromString(row["definition"])
            block.register_time.FromDatetime(row["register_time"])
            found[row["definition_hash"]] = block
        return found


def _runner(row: "asyncpg.Record") -> RunnerSighting:
    return RunnerSighting(row["runner_id"], row["pool"], row["seen_time"], row["present"], row["not_configured"])
