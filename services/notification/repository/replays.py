"""All SQL about replays: how far what a webhook is sent again was read."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.notification.repository.followers import Connection
from services.notification.webhooks.records import Filter, Listener, State


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """A replay that goes on."""

    listener: Listener
    version: int
    cursor: str
    until: str
    start_time: datetime
    message: str


class Superseded(Exception):
    """Another replay has taken the place of this one, or another replica has made this step."""


class ReplayRepository:
    """The table `webhook_replays`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def begin(self, webhook_id: UUID, cursor: str, until: str, start_time: datetime, now: datetime) -> None:
        """A replay from the cursor to `until`, of what happened at `start_time` or later."""
        await self._pool.execute(
            """
            INSERT INTO webhook_replays AS r (webhook_id, positions, until, start_time, create_time)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (webhook_id) DO UPDATE SET version = r.version + 1, positions = $2, until = $3,
                start_time = $4, done = false, queued = 0, message = '', look_time = '-infinity', create_time = $5
            """,
            webhook_id,
            cursor,
            until,
            start_time,
            now,
        )

    async def claim(self, seconds: float) -> ReplayStep | None:
        """The replay that waits longest; it is left alone by others for so long. Those of disabled webhooks wait."""
        row = await self._pool.fetchrow(
            """
            WITH ready AS (
                SELECT r.webhook_id FROM webhook_replays r JOIN webhooks w USING (webhook_id)
                WHERE NOT r.done AND r.look_time <= now() AND w.state <> $2
                ORDER BY r.look_time LIMIT 1 FOR UPDATE OF r SKIP LOCKED
            ), claimed AS (
                UPDATE webhook_replays r SET look_time = now() + $1 * interval '1 second'
                FROM ready WHERE r.webhook_id = ready.webhook_id RETURNING r.*
            )
            SELECT c.version, c.positions, c.until, c.start_time, c.message, webhook_id, w.user_id, w.url, w.graph_ids,
                   w.execution_ids, w.kinds, q.pending, q.pending_bytes
            FROM claimed c JOIN webhooks w USING (webhook_id) JOIN webhook_queues q USING (webhook_id)
            """,
            seconds,
            State.DISABLED,
        )
        if row is None:
            return None
        filter = Filter(tuple(row["graph_ids"]), tuple(row["execution_ids"]), tuple(row["kinds"]))
        listener = Listener(row["webhook_id"], row["user_id"], row["url"], filter, row["pending"], row["pending_bytes"])
        return ReplayStep(listener, row["version"], row["positions"], row["until"], row["start_time"], row["message"])

    async def put_off(self, replay: ReplayStep, seconds: float) -> None:
        """Leaves it alone for so long, and where it is."""
        await self._pool.execute(
            """
            UPDATE webhook_replays SET look_time = now() + $3 * interval '1 second'
            WHERE webhook_id = $1 AND version = $2
            """,
            replay.listener.webhook_id,
            replay.version,
            seconds,
        )

    async def step(
        self, connection: Connection, replay: ReplayStep, cursor: str, queued: int, message: str, *, done: bool
    ) -> None:
        """Goes on behind what the transaction has put into the queue; raises Superseded."""
        stepped = await connection.execute(
            """
            UPDATE webhook_replays SET version = version + 1, positions = $3, queued = queued + $4, message = $5,
                done = $6, look_time = now()
            WHERE webhook_id = $1 AND version = $2
            """,
            replay.listener.webhook_id,
            replay.version,
            cursor,
            queued,
            message,
            done,
        )
        if stepped != "UPDATE 1":
            raise Superseded
