"""Schedules as their owners see and change them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.common.user_limits import one_at_a_time
from services.execution.schedules.records import PAUSED, CatchUp, Firing, FiringStatus, Overlap, Schedule, Terms

SCHEDULE_COLUMNS = """schedule_id, user_id, name, graph_id, template, cron, time_zone, jitter, start_time, end_time,
    overlap, queue_limit, catch_up, catch_up_limit, paused, pause_reason, failures, next_time, fire_time, version,
    create_time, update_time"""
FIRING_COLUMNS = """due_time, fire_time, status, reason, execution_id, through_time, due_times, attempts, end_time"""

MARK_WAITING = f"UPDATE firings SET reason = '{PAUSED}' WHERE schedule_id = $1 AND status = 1"
"""In the transaction that pauses a schedule. No more than that: the start of some may be stored already."""

COUNT = "SELECT count(*) FROM schedules WHERE user_id = $1"
BY_REQUEST = f"SELECT {SCHEDULE_COLUMNS}, request_hash FROM schedules WHERE user_id = $1 AND request_id = $2"
ADD = f"""
INSERT INTO schedules ({SCHEDULE_COLUMNS}, request_id, request_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, '', 0, $16, $17, 1, $18, $18, $19, $20)
RETURNING {SCHEDULE_COLUMNS}
"""
FOR_CHANGE = f"SELECT {SCHEDULE_COLUMNS} FROM schedules WHERE schedule_id = $1 AND user_id = $2 FOR UPDATE"
CHANGE = f"""
UPDATE schedules
SET name = $3, graph_id = $4, template = $5, cron = $6, time_zone = $7, jitter = $8, start_time = $9, end_time = $10,
    overlap = $11, queue_limit = $12, catch_up = $13, catch_up_limit = $14, paused = $15, next_time = $16,
    fire_time = $17, update_time = $18, pause_reason = $19, failures = $20, version = version + 1
WHERE schedule_id = $1 AND user_id = $2
RETURNING {SCHEDULE_COLUMNS}
"""


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule that is to be stored. The request id may be empty."""

    schedule: Schedule
    request_id: str
    request_hash: bytes


class TooMany(Exception):
    """The user has as many schedules as are allowed."""


def terms_of(row: asyncpg.Record) -> Terms:
    """The terms of a row with SCHEDULE_COLUMNS."""
    values: dict[str, Any] = {name: row[name] for name in Terms.__slots__}
    return Terms(**{**values, "overlap": Overlap(row["overlap"]), "catch_up": CatchUp(row["catch_up"])})


def schedule_of(row: asyncpg.Record | None) -> Schedule:
    """The value of a row with SCHEDULE_COLUMNS."""
    assert row is not None, "it was stored or locked just now"
    values = {name: row[name] for name in Schedule.__slots__ if name != "terms"}
    return Schedule(terms=terms_of(row), **values)


def firing_of(row: asyncpg.Record, prefix: str = "") -> Firing:
    """The value of a row with FIRING_COLUMNS, whose names may have a prefix."""
    values: dict[str, Any] = {name: row[prefix + name] for name in Firing.__slots__}
    return Firing(**{**values, "status": FiringStatus(values["status"])})


class ScheduleRepository:
    """Questions of the API."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def clock(self) -> datetime:
        """The time by PostgreSQL's clock, which decides."""
        now: datetime = await self._pool.fetchval("SELECT clock_timestamp()")
        return now

    async def by_request(self, user_id: str, request_id: str) -> tuple[Schedule, bytes] | None:
        """The schedule that a request id made, and the hash of that request."""
        row = await self._pool.fetchrow(BY_REQUEST, user_id, request_id)
        return (schedule_of(row), row["request_hash"]) if row else None

    async def add(self, new: NewSchedule, most: int) -> Schedule | None:
        """Stores a schedule of a user who has fewer than `most`; None if the request id is taken. Raises TooMany."""
        schedule = new.schedule
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await one_at_a_time(connection, "schedules", schedule.user_id)
                if await connection.fetchval(COUNT, schedule.user_id) >= most:
                    raise TooMany
                row = await connection.fetchrow(
                    ADD,
                    schedule.schedule_id,
                    schedule.user_id,
                    *_columns(schedule.terms),
                    schedule.next_time,
                    schedule.fire_time,
                    schedule.create_time,
                    new.request_id or None,
                    new.request_hash,
                )
        except asyncpg.UniqueViolationError:
            return None
        return schedule_of(row)

    async def get(self, schedule_id: UUID, user_id: str) -> Schedule | None:
        """A user's schedule."""
        row = await self._pool.fetchrow(
            f"SELECT {SCHEDULE_COLUMNS} FROM schedules WHERE schedule_id = $1 AND user_id = $2", schedule_id, user_id
        )
        return schedule_of(row) if row else None

    async def page(self, user_id: str, graph_id: str, before: UUID | None, limit: int) -> list[Schedule]:
        """A user's schedules, newest first, below `before`; of one graph or ('') of all."""
        rows = await self._pool.fetch(
            f"""
            SELECT {SCHEDULE_COLUMNS} FROM schedules
            WHERE user_id = $1 AND $2 IN ('', graph_id) AND ($3::uuid IS NULL OR schedule_id < $3)
            ORDER BY schedule_id DESC LIMIT $4
            """,
            user_id,
            graph_id,
            before,
            limit,
        )
        return [schedule_of(row) for row in rows]

    async def change(
        self, schedule_id: UUID, user_id: str, changed: Callable[[Schedule], Schedule], now: datetime
    ) -> Schedule | None:
        """Stores what `changed` makes of a schedule, whose row is locked meanwhile; None if there is none.

        What `changed` raises leaves it as it was. Firings that wait as it is paused are left to the scheduler to skip.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(FOR_CHANGE, schedule_id, user_id)
            if row is None:
                return None
            before = schedule_of(row)
            after = changed(before)
            row = await connection.fetchrow(
                CHANGE,
                schedule_id,
                user_id,
                *_columns(after.terms),
                after.next_time,
                after.fire_time,
                now,
                after.pause_reason,
                after.failures,
            )
            if after.terms.paused:
                await connection.execute(MARK_WAITING, schedule_id)
        return schedule_of(row)

    async def delete(self, schedule_id: UUID, user_id: str) -> bool:
        """Deletes a schedule with what is known of its firings; False if there is none."""
        done: str = await self._pool.execute(
            "DELETE FROM schedules WHERE schedule_id = $1 AND user_id = $2", schedule_id, user_id
        )
        return done.endswith(" 1")

    async def firings(self, schedule_id: UUID, limit: int) -> list[Firing]:
        """What became of the last due times, the latest first."""
        rows = await self._pool.fetch(
            f"SELECT {FIRING_COLUMNS} FROM firings WHERE schedule_id = $1 ORDER BY due_time DESC LIMIT $2",
            schedule_id,
            limit,
        )
        return [firing_of(row) for row in rows]


def _columns(terms: Terms) -> tuple[Any, ...]:
    """In the order of SCHEDULE_COLUMNS."""
    return (
        terms.name,
        terms.graph_id,
        terms.template,
        terms.cron,
        terms.time_zone,
        terms.jitter,
        terms.start_time,
        terms.end_time,
        terms.overlap,
        terms.queue_limit,
        terms.catch_up,
        terms.catch_up_limit,
        terms.paused,
    )
