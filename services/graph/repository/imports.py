"""All SQL of imports: several graphs that are stored together or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.graph.records import NewGraph


@dataclass(frozen=True, slots=True, eq=False)
class ImportRepository:
    """Graphs are inserted only; whatever else is done with them is for GraphRepository."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def insert(self, graphs: Sequence[NewGraph]) -> bool:
        """Stores the graphs at version 1, the first of which has the request's id; False, and nothing is stored, if
        that id has made a graph before."""
        async with self.pool.acquire() as connection, connection.transaction():
            for new in graphs:
                # The first one waits for the same request at the same time, so of two imports one stores all.
                done = await connection.execute(
                    """
                    WITH new AS (
                        INSERT INTO graphs (graph_id, user_id, active_version, latest_version, request_id, request_hash)
                        VALUES ($1, $2, 1, 1, $3, $4)
                        ON CONFLICT DO NOTHING
                        RETURNING graph_id
                    )
                    INSERT INTO graph_versions (graph_id, version, name, head, body, credential_ids)
                    SELECT graph_id, 1, $5, $6, $7, $8::uuid[] FROM new
                    """,
                    new.graph_id,
                    new.user_id,
                    new.request_id,
                    new.request_hash,
                    new.content.name,
                    new.content.head,
                    new.content.body,
                    list(new.content.credential_ids),
                )
                if new is graphs[0] and done != "INSERT 0 1":
                    return False
        return True
