"""All SQL about graphs and their versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.graph.records import GraphContent, GraphRow, NewGraph

_COLUMNS = """
    g.graph_id, g.user_id, v.version, g.active_version, g.latest_version, g.forked_from_id, g.forked_from_version,
    g.create_time, v.create_time AS version_time, v.head
"""

_UNLEASED = "(lease_until IS NULL OR lease_until <= clock_timestamp())"
"""Nobody runs the active version without asking. True until the statement ends, as that has the row's lock."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphRepository:
    """Every question names the user: a graph of somebody else's is not there.

    The active version changes only while it is not leased, so that who sees the next one sees it run as well.
    """

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def insert(self, new: NewGraph) -> bool:
        """Stores a graph as version 1; False if the user's request id has made one before."""
        done = await self.pool.execute(
            """
            WITH new AS (
                INSERT INTO graphs (graph_id, user_id, active_version, latest_version, forked_from_id,
                                    forked_from_version, request_id, request_hash)
                VALUES ($1, $2, 1, 1, $3, $4, $5, $6)
                ON CONFLICT (user_id, request_id) WHERE request_id IS NOT NULL DO NOTHING
                RETURNING graph_id
            )
            INSERT INTO graph_versions (graph_id, version, name, head, body, credential_ids)
            SELECT graph_id, 1, $7, $8, $9, $10::uuid[] FROM new
            """,
            new.graph_id,
            new.user_id,
            new.forked_from_id,
            new.forked_from_version,
            new.request_id,
            new.request_hash,
            new.content.name,
            new.content.head,
            new.content.body,
            list(new.content.credential_ids),
        )
        return done == "INSERT 0 1"

    async def made_by_request(self, user_id: str, request_id: str) -> tuple[UUID, bytes] | None:
        """The graph that a request made, and the hash of that request."""
        row = await self.pool.fetchrow(
            "SELECT graph_id, request_hash FROM graphs WHERE user_id = $1 AND request_id = $2", user_id, request_id
        )
        return (row["graph_id"], row["request_hash"]) if row else None

    async def get(self, user_id: str, graph_id: UUID, version: int = 0, with_body: bool = True) -> GraphRow | None:
        """A graph at a version; 0 is the active one."""
        row = await self.pool.fetchrow(
            f"""
            SELECT {_COLUMNS}, {"v.body" if with_body else "''::bytea AS body"}
            FROM graphs g JOIN graph_versions v ON v.graph_id = g.graph_id
            WHERE g.graph_id = $1 AND g.user_id = $2
              AND v.version = CASE WHEN $3 = 0 THEN g.active_version ELSE $3 END
            """,
            graph_id,
            user_id,
            version,
        )
        return GraphRow(**row) if row else None

    async def active_versions(self, user_id: str, graph_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The active versions of those of these graphs that the user has."""
        rows = await self.pool.fetch(
            "SELECT graph_id, active_version FROM graphs WHERE user_id = $1 AND graph_id = ANY($2::uuid[])",
            user_id,
            list(graph_ids),
        )
        return {row["graph_id"]: row["active_version"] for row in rows}

    async def names(self, user_id: str, graph_ids: Sequence[UUID]) -> dict[UUID, str]:
        """The names, at their active versions, of those of these graphs that the user has."""
        rows = await self.pool.fetch(
            """
            SELECT g.graph_id, v.name
            FROM graphs g JOIN graph_versions v ON v.graph_id = g.graph_id AND v.version = g.active_version
            WHERE g.user_id = $1 AND g.graph_id = ANY($2::uuid[])
            """,
            user_id,
            list(graph_ids),
        )
        return {row["graph_id"]: row["name"] for row in rows}

    async def page(self, user_id: str, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[GraphRow]:
        """A user's graphs at their active versions, newest first, without bodies."""
        moment, graph_id = before or (None, None)
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS}, ''::bytea AS body
            FROM graphs g JOIN graph_versions v ON v.graph_id = g.graph_id AND v.version = g.active_version
            WHERE g.user_id = $1 AND ($2::timestamptz IS NULL OR (g.create_time, g.graph_id) < ($2, $3))
            ORDER BY g.create_time DESC, g.graph_id DESC
            LIMIT $4
            """,
            user_id,
            moment,
            graph_id,
            limit,
        )
        return [GraphRow(**row) for row in rows]

    async def versions(self, user_id: str, graph_id: UUID, before: int | None, limit: int) -> Sequence[GraphRow]:
        """The versions of a graph, newest first, without bodies."""
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS}, ''::bytea AS body
            FROM graphs g JOIN graph_versions v ON v.graph_id = g.graph_id
            WHERE g.graph_id = $1 AND g.user_id = $2 AND ($3::integer IS NULL OR v.version < $3)
            ORDER BY v.version DESC
            LIMIT $4
            """,
            graph_id,
            user_id,
            before,
            limit,
        )
        return [GraphRow(**row) for row in rows]

    async def naming_credential(self, user_id: str, credential_id: UUID, limit: int) -> Sequence[GraphRow]:
        """The newest and active versions of a user's graphs that name a credential, those of the newest graphs first.

        Of a version that a release wrote which did not note it, the body is searched for the id.
        """
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS}, v.body
            FROM graphs g JOIN graph_versions v ON v.graph_id = g.graph_id
            WHERE g.user_id = $1 AND v.version IN (g.active_version, g.latest_version)
              AND (v.credential_ids @> ARRAY[$2::uuid]
                   OR (v.credential_ids IS NULL AND position(convert_to($2::text, 'UTF8') IN v.body) > 0))
            ORDER BY g.create_time DESC, g.graph_id DESC, v.version DESC
            LIMIT $3
            """,
            user_id,
            credential_id,
            limit,
        )
        return [GraphRow(**row) for row in rows]

    async def lease(self, user_id: str, graph_id: UUID, seconds: float) -> bool:
        """Leases the active version, whichever it is once this is stored; False if there is no lease to be had."""
        try:
            leased = await self.pool.fetchval(
                """
                UPDATE graphs SET lease_until = clock_timestamp() + make_interval(secs => $3)
                WHERE graph_id = $1 AND user_id = $2 AND (no_lease_until IS NULL OR no_lease_until <= clock_timestamp())
                RETURNING true
                """,
                graph_id,
                user_id,
                seconds,
            )
        except asyncpg.DiskFullError:
            # What is stored can still be run.
            return False
        return leased is not None

    async def stop_leasing(self, user_id: str, graph_id: UUID, lease_seconds: float, seconds: float) -> float:
        """Gives no lease for so many seconds; answers how long the one that was given may still be used.

        Changes nothing, and answers 0, if there is none. None lasts longer than `lease_seconds`, whatever the clock was
        when it was given.
        """
        left: float | None = await self.pool.fetchval(
            """
            UPDATE graphs SET no_lease_until = clock_timestamp() + make_interval(secs => $4),
                              lease_until = least(lease_until, clock_timestamp() + make_interval(secs => $3))
            WHERE graph_id = $1 AND user_id = $2 AND lease_until > clock_timestamp()
            RETURNING greatest(0, extract(epoch FROM lease_until - clock_timestamp()))::float8
            """,
            graph_id,
            user_id,
            lease_seconds,
            seconds,
        )
        return left or 0.0

    async def add_version(self, user_id: str, graph_id: UUID, latest: int, active: int, content: GraphContent) -> bool:
        """Adds a version and makes it active; False if the graph is leased, or no longer as it was read."""
        done = await self.pool.execute(
            f"""
            WITH changed AS (
                UPDATE graphs SET latest_version = latest_version + 1, active_version = latest_version + 1
                WHERE graph_id = $1 AND user_id = $2 AND latest_version = $3 AND active_version = $4 AND {_UNLEASED}
                RETURNING graph_id, latest_version
            )
            INSERT INTO graph_versions (graph_id, version, name, head, body, credential_ids)
            SELECT graph_id, latest_version, $5, $6, $7, $8::uuid[] FROM changed
            """,
            graph_id,
            user_id,
            latest,
            active,
            content.name,
            content.head,
            content.body,
            list(content.credential_ids),
        )
        return done == "INSERT 0 1"

    async def activate(self, user_id: str, graph_id: UUID, version: int) -> bool:
        """Makes a version active; False if the graph is leased, or there is none such."""
        done = await self.pool.execute(
            f"""
            UPDATE graphs g SET active_version = $3
            WHERE g.graph_id = $1 AND g.user_id = $2 AND {_UNLEASED}
              AND EXISTS (SELECT FROM graph_versions v WHERE v.graph_id = $1 AND v.version = $3)
            """,
            graph_id,
            user_id,
            version,
        )
        return done == "UPDATE 1"

    async def delete(self, user_id: str, graph_id: UUID) -> bool:
        """Deletes a graph with its versions; False if it is leased, or there is none such."""
        done = await self.pool.execute(
            f"DELETE FROM graphs WHERE graph_id = $1 AND user_id = $2 AND {_UNLEASED}", graph_id, user_id
        )
        return done == "DELETE 1"
