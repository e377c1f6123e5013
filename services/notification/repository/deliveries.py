"""All SQL about deliveries: who sends what waits in the queue of each webhook, and what became of it.

A queue is held by one replica at a time, for some seconds; what it has sent counts by the number of the attempt, so a
replica that was thought dead records nothing twice. How queues are filled and counted stands in queues.py.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.notification.repository.queues import count, counted, wake
from services.notification.repository.webhooks import secrets_of
from services.notification.webhooks.records import (
    Attempt,
    Delivery,
    DeliveryState,
    Secrets,
    State,
)

SHOWN_ATTEMPTS = 20
FETCHED_BYTES = 1 << 16
"""Of bodies, read of a queue at a time. Others are read when there is room to send them."""
_COLUMNS = "delivery_id, webhook_id, event_id, event_type, state, create_time, due_time"


@dataclass(frozen=True, slots=True)
class Target:
    """Where deliveries of a webhook go now, and how it is doing."""

    webhook_id: UUID
    user_id: str
    url: str
    secrets: Secrets
    failing: bool


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that is to be sent now."""

    delivery_id: UUID
    body: bytes | None
    """None if it is to be read when it is sent."""
    size: int
    attempts: int
    tries: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is recorded of an attempt."""

    attempt: Attempt
    tries: int
    state: DeliveryState
    due_time: datetime
    """When it is sent again, if it is pending still."""
    not_before: datetime | None
    """The endpoint wants nothing before that time."""


@dataclass(frozen=True, slots=True)
class Failing:
    """How a webhook does after an attempt."""

    since: datetime | None
    given_up: int


class DeliveryRepository:
    """The queues, and the log."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def claim(
        self, holder: str, now: datetime, seconds: float, limit: int, but: Collection[UUID] = ()
    ) -> Sequence[UUID]:
        """Takes queues in which something is due, the longest due first, but none of these. Leases run by the
        database's clock."""
        rows = await self._pool.fetch(
            """
            WITH ready AS (
                SELECT q.webhook_id FROM webhook_queues q JOIN webhooks w USING (webhook_id)
                WHERE q.due_time <= $2 AND q.not_before <= $2 AND q.held_until < now() AND w.state = $5
                  AND q.webhook_id <> ALL($6::uuid[])
                ORDER BY q.due_time LIMIT $4 FOR UPDATE OF q SKIP LOCKED
            )
            UPDATE webhook_queues q SET holder = $1, held_until = now() + $3 * interval '1 second'
            FROM ready WHERE q.webhook_id = ready.webhook_id RETURNING q.webhook_id
            """,
            holder,
            now,
            seconds,
            limit,
            State.ACTIVE,
            list(but),
        )
        return [row["webhook_id"] for row in rows]

    async def renew(self, holder: str, webhook_ids: Collection[UUID], seconds: float) -> Collection[UUID]:
        """Those that are held still."""
        rows = await self._pool.fetch(
            """
            WITH held AS (
                SELECT webhook_id FROM webhook_queues WHERE holder = $1 AND webhook_id = ANY($2::uuid[])
                ORDER BY webhook_id FOR UPDATE
            )
            UPDATE webhook_queues q SET held_until = now() + $3 * interval '1 second'
            FROM held WHERE q.webhook_id = held.webhook_id RETURNING q.webhook_id
            """,
            holder,
            list(webhook_ids),
            seconds,
        )
        return {row["webhook_id"] for row in rows}

    async def release(self, holder: str, webhook_id: UUID, now: datetime) -> None:
        """Lets go of a queue. What is due still comes behind all that was due before this moment."""
        async with self._pool.acquire() as connection, connection.transaction():
            # The lock first, and then a look of its own: what was inserted meanwhile is seen by one or by the other.
            held = await connection.fetchval(
                "SELECT true FROM webhook_queues WHERE webhook_id = $1 AND holder = $2 FOR UPDATE", webhook_id, holder
            )
            if held:
                await connection.execute(
                    """
                    UPDATE webhook_queues SET holder = '', held_until = '-infinity', due_time = coalesce(
                        (SELECT greatest(min(d.due_time), not_before, $2) FROM webhook_deliveries d
                         WHERE d.webhook_id = $1 AND d.state = $3 HAVING count(*) > 0), 'infinity')
                    WHERE webhook_id = $1
                    """,
                    webhook_id,
                    now,
                    DeliveryState.PENDING,
                )

    async def target(self, webhook_id: UUID) -> Target | None:
        """Where to send; None if nothing is to be sent."""
        row = await self._pool.fetchrow(
            """
            SELECT w.*, q.failing_since IS NOT NULL AS failing
            FROM webhooks w JOIN webhook_queues q USING (webhook_id) WHERE webhook_id = $1 AND state = $2
            """,
            webhook_id,
            State.ACTIVE,
        )
        return Target(webhook_id, row["user_id"], row["url"], secrets_of(row), row["failing"]) if row else None

    async def due(self, webhook_id: UUID, now: datetime, under_way: Collection[UUID], limit: int) -> Sequence[Due]:
        """What is due in a queue and not under way, the longest due first; so many at most, and bodies of few bytes."""
        rows = await self._pool.fetch(
            """
            SELECT delivery_id, CASE WHEN total <= $6 THEN body END, size, attempts, tries FROM (
                SELECT *, octet_length(body) AS size,
                    sum(octet_length(body)) OVER (ORDER BY due_time ROWS UNBOUNDED PRECEDING) AS total
                FROM (
                    SELECT d.delivery_id, d.body, d.attempts, d.tries, d.due_time
                    FROM webhook_deliveries d JOIN webhook_queues q USING (webhook_id)
                    WHERE d.webhook_id = $1 AND d.state = $5 AND d.due_time <= $2 AND q.not_before <= $2
                      AND d.delivery_id <> ALL($3::uuid[])
                    ORDER BY d.due_time LIMIT $4) few) measured
            ORDER BY due_time
            """,
            webhook_id,
            now,
            list(under_way),
            limit,
            DeliveryState.PENDING,
            FETCHED_BYTES,
        )
        return [Due(*row) for row in rows]

    async def body(self, delivery_id: UUID) -> bytes | None:
        """Of a delivery that waits; None if it waits no more."""
        body: bytes | None = await self._pool.fetchval(
            "SELECT body FROM webhook_deliveries WHERE delivery_id = $1 AND state = $2",
            delivery_id,
            DeliveryState.PENDING,
        )
        return body

    async def record(self, due: Due, outcome: Outcome) -> Failing | None:
        """Records an attempt; None if another replica has recorded this one, or the webhook is gone."""
        attempt, ended = outcome.attempt, outcome.state is not DeliveryState.PENDING
        row = await self._pool.fetchrow(
            """
            WITH done AS (
                UPDATE webhook_deliveries SET attempts = $2, tries = $3, state = $4::smallint, due_time = $5,
                    body = CASE WHEN $4::smallint = 2 THEN ''::bytea ELSE body END
                WHERE delivery_id = $1 AND attempts = $2 - 1 AND state = 1
                RETURNING webhook_id
            ), noted AS (
                INSERT INTO webhook_attempts (delivery_id, number, time, status, milliseconds, error, response)
                SELECT $1, $2, $6, $7, $8, $9, $10 FROM done ON CONFLICT DO NOTHING
            )
            UPDATE webhook_queues q SET
                pending = pending - $11, pending_bytes = pending_bytes - $12,
                last_success_time = CASE WHEN $4::smallint = 2 THEN $6 ELSE last_success_time END,
                failing_since = CASE WHEN $4::smallint = 2 THEN NULL ELSE coalesce(failing_since, $6) END,
                given_up = CASE $4::smallint WHEN 2 THEN 0 WHEN 3 THEN given_up + 1 ELSE given_up END,
                not_before = greatest(not_before, $13)
            FROM done WHERE q.webhook_id = done.webhook_id RETURNING q.failing_since, q.given_up
            """,
            due.delivery_id,
            attempt.number,
            outcome.tries,
            outcome.state,
            outcome.due_time,
            attempt.time,
            attempt.status,
            attempt.milliseconds,
            attempt.error,
            attempt.response,
            1 if ended else 0,
            due.size if ended else 0,
            outcome.not_before,
        )
        return Failing(row["failing_since"], row["given_up"]) if row else None

    async def page(
        self, webhook_id: UUID, state: DeliveryState | None, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Delivery]:
        """The log of a webhook, newest first."""
        moment, last = before or (None, None)
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM webhook_deliveries
            WHERE webhook_id = $1 AND ($2::smallint IS NULL OR state = $2)
              AND ($3::timestamptz IS NULL OR (create_time, delivery_id) < ($3, $4))
            ORDER BY create_time DESC, delivery_id DESC LIMIT $5
            """,
            webhook_id,
            state,
            moment,
            last,
            limit,
        )
        return await self._with_attempts(rows)

    async def get(self, webhook_id: UUID, delivery_id: UUID) -> Delivery | None:
        """A delivery of a webhook."""
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM webhook_deliveries WHERE delivery_id = $2 AND webhook_id = $1",
            webhook_id,
            delivery_id,
        )
        return next(iter(await self._with_attempts(rows)), None)

    async def retry(self, webhook_id: UUID, delivery_id: UUID, now: datetime) -> bool:
        """Makes a delivery that has not succeeded due now, with its schedule before it; False if it has."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                """
                SELECT state, octet_length(body) AS size FROM webhook_deliveries
                WHERE delivery_id = $2 AND webhook_id = $1 AND state <> $3 FOR UPDATE
                """,
                webhook_id,
                delivery_id,
                DeliveryState.DELIVERED,
            )
            if row is None:
                return False
            await connection.execute(
                "UPDATE webhook_deliveries SET state = $2, tries = 0, due_time = $3 WHERE delivery_id = $1",
                delivery_id,
                DeliveryState.PENDING,
                now,
            )
            new = row["state"] != DeliveryState.PENDING
            await wake(connection, {webhook_id: (1, row["size"]) if new else (0, 0)}, now)
            return True

    async def sweep(self, before: datetime, limit: int) -> int:
        """Drops what ended and is older than that time; so many at most. Says how many."""
        return await self._drop("d.create_time < $2 AND d.state <> 1", before, limit)

    async def sweep_orphans(self, limit: int) -> int:
        """Drops what belonged to webhooks that are gone."""
        return await self._drop(
            "NOT EXISTS (SELECT FROM webhooks w WHERE w.webhook_id = d.webhook_id) AND $2::timestamptz IS NULL",
            None,
            limit,
        )

    async def _drop(self, condition: str, before: datetime | None, limit: int) -> int:
        dropped: int = await self._pool.fetchval(
            f"""
            WITH gone AS (
                -- Once more on the row itself: what its owner retries meanwhile has changed under the lock, and stays.
                DELETE FROM webhook_deliveries d WHERE {condition} AND d.delivery_id IN (
                    SELECT delivery_id FROM webhook_deliveries d WHERE {condition} LIMIT $1)
                RETURNING delivery_id
            ), attempts AS (
                DELETE FROM webhook_attempts a USING gone WHERE a.delivery_id = gone.delivery_id
            )
            SELECT count(*) FROM gone
            """,
            limit,
            before,
        )
        return dropped

    async def drop_waiting(self, before: datetime, limit: int) -> int:
        """Drops what waits for webhooks that have been disabled since before that time; so many at most."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                """
                WITH old AS (
                    SELECT d.delivery_id FROM webhook_deliveries d JOIN webhooks w USING (webhook_id)
                    WHERE w.state = $2 AND w.state_time < $1 AND d.state = $3 LIMIT $4
                ), gone AS (
                    DELETE FROM webhook_deliveries d USING old WHERE d.delivery_id = old.delivery_id AND d.state = $3
                    RETURNING d.delivery_id, d.webhook_id, octet_length(d.body) AS size
                ), attempts AS (
                    DELETE FROM webhook_attempts a USING gone WHERE a.delivery_id = gone.delivery_id
                )
                SELECT webhook_id, size FROM gone
                """,
                before,
                State.DISABLED,
                DeliveryState.PENDING,
                limit,
            )
            counts = counted([(row["webhook_id"], row["size"]) for row in rows])
            await count(connection, {key: (-number, -size) for key, (number, size) in counts.items()})
        return len(rows)

    async def _with_attempts(self, rows: Sequence[asyncpg.Record]) -> Sequence[Delivery]:
        attempts: dict[UUID, list[Attempt]] = {row["delivery_id"]: [] for row in rows}
        for row in await self._pool.fetch(
            """
            SELECT delivery_id, number, time, status, milliseconds, error, response FROM (
                SELECT *, row_number() OVER (PARTITION BY delivery_id ORDER BY number DESC) AS place
                FROM webhook_attempts WHERE delivery_id = ANY($1::uuid[])) numbered
            WHERE place <= $2 ORDER BY number
            """,
            list(attempts),
            SHOWN_ATTEMPTS,
        ):
            delivery_id, *values = row
            attempts[delivery_id].append(Attempt(*values))
        return [_delivery(row, attempts[row["delivery_id"]]) for row in rows]


def _delivery(row: asyncpg.Record, attempts: Sequence[Attempt]) -> Delivery:
    return Delivery(
        row["delivery_id"],
        row["webhook_id"],
        row["event_id"],
        row["event_type"],
        DeliveryState(row["state"]),
        row["create_time"],
        row["due_time"],
        tuple(attempts),
    )
