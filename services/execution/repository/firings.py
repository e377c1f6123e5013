"""Due times of schedules: taken once, claimed by one replica at a time, and settled once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.common.notice_rows import PendingNotice, add_notices
from services.execution.repository.schedules import (
    FIRING_COLUMNS,
    MARK_WAITING,
    SCHEDULE_COLUMNS,
    firing_of,
    schedule_of,
)
from services.execution.schedules.advancing import Advance
from services.execution.schedules.records import PAUSED, Claimed, Schedule

FIRING_NAMES = [name.strip() for name in FIRING_COLUMNS.split(",")]

KEPT = 100
"""Firings of a schedule that are kept once they are settled."""

DUE = f"""
SELECT {SCHEDULE_COLUMNS}, (
    SELECT count(*) FROM firings f WHERE f.schedule_id = s.schedule_id AND f.status = 1
) AS waiting
FROM schedules s WHERE fire_time <= $1 ORDER BY fire_time LIMIT $2 FOR UPDATE OF s SKIP LOCKED
"""
# What a due time is taken for is decided by the schedule's row, which is locked: this only must not fail.
TAKE = """
INSERT INTO firings
    (schedule_id, due_time, fire_time, status, reason, through_time, due_times, look_time, end_time)
SELECT *, $8, CASE WHEN u.status <> 1 THEN $8::timestamptz END
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::smallint[], $5::text[], $6::timestamptz[], $7::int[])
    AS u(schedule_id, due_time, fire_time, status, reason, through_time, due_times)
ON CONFLICT DO NOTHING
"""
MOVE_ON = """
UPDATE schedules s SET next_time = u.next_time, fire_time = u.fire_time
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS u(schedule_id, next_time, fire_time)
WHERE s.schedule_id = u.schedule_id
"""
# Those whose executions have not ended are what further due times may overlap with.
FORGET = """
DELETE FROM firings f USING unnest($1::uuid[]) AS u(schedule_id)
WHERE f.schedule_id = u.schedule_id AND f.status <> 1 AND f.due_time < (
    SELECT o.due_time FROM firings o WHERE o.schedule_id = u.schedule_id ORDER BY o.due_time DESC OFFSET $2 LIMIT 1
) AND NOT EXISTS (SELECT FROM executions e WHERE e.execution_id = f.execution_id AND e.status < 4)
"""
# A firing that was started says so only once its execution is stored, so what is counted here is never less than there
# is: a statement sees either the firing waiting, or it started and its execution.
CLAIM = f"""
WITH due AS (
    SELECT schedule_id, due_time FROM firings WHERE status = 1 AND look_time <= $1
    ORDER BY look_time, due_time LIMIT $2 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE firings f SET look_time = $3 FROM due d
    WHERE f.schedule_id = d.schedule_id AND f.due_time = d.due_time
    RETURNING f.schedule_id AS of_schedule, {", ".join(f"f.{name} AS f_{name}" for name in FIRING_NAMES)}
)
SELECT {SCHEDULE_COLUMNS}, claimed.*, (
    SELECT count(*) FROM firings o WHERE o.schedule_id = s.schedule_id AND o.due_time < f_due_time AND o.status = 1
) + (
    SELECT count(*) FROM firings o JOIN executions e ON e.execution_id = o.execution_id
    WHERE o.schedule_id = s.schedule_id AND o.status = 2 AND e.status < 4
) AS ahead
FROM claimed JOIN schedules s ON s.schedule_id = of_schedule ORDER BY f_due_time
"""
STARTED = """
WITH firing AS (
    UPDATE firings SET status = 2, execution_id = $3, end_time = $4, reason = '', attempts = attempts + 1
    WHERE schedule_id = $1 AND due_time = $2 AND status IN (1, 3) AND execution_id IS NULL
)
UPDATE schedules SET failures = 0 WHERE schedule_id = $1 AND failures > 0
"""
SETTLED = """
UPDATE firings SET status = $3, end_time = $4, reason = $5, attempts = attempts + $6
WHERE schedule_id = $1 AND due_time = $2 AND status = 1 RETURNING true
"""
# A schedule that was paused meanwhile has marked it, and may be resumed before it is claimed again.
POSTPONED = f"""
UPDATE firings
SET look_time = $3, reason = CASE WHEN reason = '{PAUSED}' THEN reason ELSE $4 END, attempts = attempts + $5
WHERE schedule_id = $1 AND due_time = $2 AND status = 1
"""
LOCK_SCHEDULE = "SELECT FROM schedules WHERE schedule_id = $1 FOR UPDATE"
COUNT_FAILURE = """
UPDATE schedules SET failures = failures + 1 WHERE schedule_id = $1 RETURNING failures >= $2 AND NOT paused
"""
PAUSE = """
UPDATE schedules
SET paused = true, pause_reason = $2, next_time = NULL, fire_time = NULL, update_time = $3, version = version + 1
WHERE schedule_id = $1
"""
NEXT_LOOK = """
SELECT least(
    (SELECT min(fire_time) FROM schedules WHERE fire_time IS NOT NULL),
    (SELECT min(look_time) FROM firings WHERE status = 1)
)
"""


@dataclass(frozen=True, slots=True)
class Pause:
    """What is written if a failure is one too many: why the schedule is paused, and what its owner is told."""

    most_failures: int
    reason: str
    notice: PendingNotice


class FiringRepository:
    """Questions of the scheduler. Times are given: it is the caller that knows the clock."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", kept: int = KEPT) -> None:
        self._pool = pool
        self._kept = kept

    async def clock(self) -> datetime:
        """The time by PostgreSQL's clock, which decides."""
        now: datetime = await self._pool.fetchval("SELECT clock_timestamp()")
        return now

    async def next_look(self) -> datetime | None:
        """When the next schedule or firing is due."""
        due: datetime | None = await self._pool.fetchval(NEXT_LOOK)
        return due

    async def advance(self, now: datetime, limit: int, decide: Callable[[Schedule, int], Advance]) -> int:
        """Takes the due times that have come of some schedules, and moves those on, in one transaction.

        `decide` is given a schedule and the number of its firings that wait. Returns the number of schedules: those
        that another replica has at hand are left to it.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(DUE, now, limit)
            if not rows:
                return 0
            taken = [(schedule_of(row), row["waiting"]) for row in rows]
            advances: list[tuple[UUID, Advance]] = []
            for schedule, waiting in taken:
                advances.append((schedule.schedule_id, decide(schedule, waiting)))
                # Many may have been due for long: whatever else there is on this loop goes on between two of them.
                await asyncio.sleep(0)
            ids = [schedule_id for schedule_id, _ in advances]
            await connection.execute(TAKE, *_columns_of_firings(advances), now)
            next_times = [advance.next_time for _, advance in advances]
            await connection.execute(MOVE_ON, ids, next_times, [advance.fire_time for _, advance in advances])
            await connection.execute(FORGET, ids, self._kept)
        return len(rows)

    async def claim(self, now: datetime, until: datetime, limit: int) -> list[Claimed]:
        """Firings to be started, which nobody else is given before `until`."""
        rows = await self._pool.fetch(CLAIM, now, limit, until)
        return [Claimed(schedule_of(row), firing_of(row, "f_"), row["ahead"]) for row in rows]

    async def execution_of(self, user_id: str, request_id: str) -> UUID | None:
        """What a start with this request id has stored."""
        execution_id: UUID | None = await self._pool.fetchval(
            "SELECT execution_id FROM executions WHERE user_id = $1 AND request_id = $2", user_id, request_id
        )
        return execution_id

    async def started(self, claimed: Claimed, execution_id: UUID, now: datetime) -> None:
        """A firing has become an execution, which is durable."""
        await self._pool.execute(STARTED, claimed.schedule.schedule_id, claimed.firing.due_time, execution_id, now)

    async def skipped(self, claimed: Claimed, reason: str, now: datetime) -> None:
        """A firing is left out."""
        await self._pool.fetchval(SETTLED, claimed.schedule.schedule_id, claimed.firing.due_time, 3, now, reason, 0)

    async def postponed(self, claimed: Claimed, until: datetime, reason: str, attempts: int) -> None:
        """A firing waits on; `attempts` is 1 if its start was tried."""
        await self._pool.execute(
            POSTPONED, claimed.schedule.schedule_id, claimed.firing.due_time, until, reason, attempts
        )

    async def failed(self, claimed: Claimed, reason: str, now: datetime, pause: Pause) -> bool:
        """A firing cannot be started. True if that has paused its schedule."""
        schedule_id = claimed.schedule.schedule_id
        async with self._pool.acquire() as connection, connection.transaction():
            # The schedule's row first, as changes of schedules take them.
            await connection.execute(LOCK_SCHEDULE, schedule_id)
            if not await connection.fetchval(SETTLED, schedule_id, claimed.firing.due_time, 5, now, reason, 1):
                return False
            if not await connection.fetchval(COUNT_FAILURE, schedule_id, pause.most_failures):
                return False
            await connection.execute(PAUSE, schedule_id, pause.reason, now)
            await connection.execute(MARK_WAITING, schedule_id)
            await add_notices(connection, [pause.notice])
        return True


def _columns_of_firings(advances: Sequence[tuple[UUID, Advance]]) -> list[list[Any]]:
    """The firings of schedules, column by column."""
    firings = [(schedule_id, firing) for schedule_id, advance in advances for firing in advance.firings]
    return [
        [schedule_id for schedule_id, _ in firings],
        [firing.due_time for _, firing in firings],
        [firing.fire_time for _, firing in firings],
        [int(firing.status) for _, firing in firings],
        [firing.reason for _, firing in firings],
        [firing.through_time for _, firing in firings],
        [firing.due_times for _, firing in firings],
    ]
