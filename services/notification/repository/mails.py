"""Mails that are to be sent, and what became of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import orjson

from services.notification.mail.kinds import MailKind, Round
from services.notification.mail.records import Mail, MailState
from services.notification.repository.followers import Connection

_CLAIM = """
UPDATE mails SET due_time = $2, attempts = attempts + 1
WHERE mail_id IN (
    SELECT mail_id FROM mails WHERE due_time <= $1 ORDER BY due_time LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING mail_id, user_id, event_key, kind, round, details, create_time, attempts
"""


class MailRepository:
    """The table `mails`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def insert(self, connection: Connection, mails: Sequence[Mail]) -> None:
        """Keeps mails, in the connection's transaction. What is told already makes no second one."""
        await connection.execute(
            """
            INSERT INTO mails (mail_id, user_id, event_key, kind, round, details, create_time, due_time)
            SELECT mail_id, user_id, event_key, kind, round, details::jsonb, create_time, create_time
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::text[],
                        $7::timestamptz[])
                 AS new (mail_id, user_id, event_key, kind, round, details, create_time)
            ON CONFLICT (user_id, event_key) DO NOTHING
            """,
            [one.mail_id for one in mails],
            [one.user_id for one in mails],
            [one.key for one in mails],
            [one.kind or 0 for one in mails],
            [one.round or 0 for one in mails],
            [orjson.dumps(one.details).decode() for one in mails],
            [one.create_time for one in mails],
        )

    async def counts(self, connection: Connection, user_ids: Sequence[str], since: datetime) -> dict[str, int]:
        """How many mails about a single thing each user got since a moment, those that wait included."""
        rows = await connection.fetch(
            """
            SELECT user_id, count(*) AS count FROM mails
            WHERE user_id = ANY($1::text[]) AND create_time > $2 AND round = 0 GROUP BY user_id
            """,
            list(user_ids),
            since,
        )
        return {row["user_id"]: row["count"] for row in rows}

    async def claim(self, now: datetime, lease_seconds: float, limit: int) -> list[Mail]:
        """The mails that are due the longest: nobody else tries them until the lease is over."""
        rows = await self._pool.fetch(_CLAIM, now, now + timedelta(seconds=lease_seconds), limit)
        return sorted(map(_mail, rows), key=lambda one: one.mail_id)

    async def put_off(self, mail: Mail, until: datetime, reason: str) -> None:
        """The attempt has failed, and there will be another."""
        await self._pool.execute(
            """
            UPDATE mails SET due_time = $3, reason = $4
            WHERE mail_id = $1 AND attempts = $2 AND due_time IS NOT NULL
            """,
            mail.mail_id,
            mail.attempts,
            until,
            reason,
        )

    async def release(self, mails: Sequence[Mail], now: datetime) -> None:
        """Leaves those of these mails that have not ended to whoever claims them next."""
        await self._pool.execute(
            """
            UPDATE mails SET due_time = $3
            FROM unnest($1::uuid[], $2::integer[]) AS ours (id, claim)
            WHERE mail_id = id AND attempts = claim AND due_time > $3
            """,
            [one.mail_id for one in mails],
            [one.attempts for one in mails],
            now,
        )

    async def end(self, mail: Mail, state: MailState, now: datetime, reason: str = "") -> None:
        """It was sent, or will not be. What it said is not kept."""
        await self._pool.execute(
            """
            UPDATE mails SET state = $3, end_time = $4, due_time = NULL, reason = $5, details = '{}'
            WHERE mail_id = $1 AND attempts = $2 AND due_time IS NOT NULL
            """,
            mail.mail_id,
            mail.attempts,
            state,
            now,
            reason,
        )

    async def waiting(self) -> tuple[int, datetime | None]:
        """How many wait, and since when the oldest does."""
        row = await self._pool.fetchrow("SELECT count(*), min(create_time) FROM mails WHERE due_time IS NOT NULL")
        assert row is not None, "an aggregate has a row"
        return row[0], row[1]

    async def forget(self, before: datetime, limit: int) -> int:
        """Deletes mails that ended before a moment, so many at most; answers how many."""
        done = await self._pool.execute(
            """
            DELETE FROM mails WHERE mail_id IN (
                SELECT mail_id FROM mails WHERE end_time < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            """,
            before,
            limit,
        )
        return int(done.rpartition(" ")[2])


def _mail(row: asyncpg.Record) -> Mail:
    mail_id: UUID = row["mail_id"]
    return Mail(
        mail_id,
        row["user_id"],
        row["event_key"],
        MailKind(row["kind"]) if row["kind"] else None,
        Round(row["round"]) if row["round"] else None,
        orjson.loads(row["details"]),
        row["create_time"],
        row["attempts"],
    )
