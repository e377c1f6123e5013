"""What is gathered for summaries and digests, and when each of them is due.

A round is locked first by whoever gathers for it or closes it: what comes while one is closed opens the next one.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import orjson

from services.notification.mail.kinds import MailKind, Round
from services.notification.mail.records import Gathered
from services.notification.repository.followers import Connection

SAMPLES = 5
"""Of each kind and graph that are kept."""


@dataclass(frozen=True, slots=True)
class RoundKey:
    """A round of a user: there is one of each kind at a time."""

    user_id: str
    round: Round


@dataclass(frozen=True, slots=True)
class DueRound:
    """A round whose time has come, with what is in it: the most frequent first."""

    of: RoundKey
    due_time: datetime
    gathered: Sequence[Gathered]
    left_out: int
    """Kinds and graphs that are not in `gathered`."""


class RoundRepository:
    """The tables `mail_rounds` and `mail_gathered`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def gather(self, connection: Connection, found: Sequence[tuple[RoundKey, Gathered]], now: datetime) -> None:
        """Adds to rounds, in the connection's transaction; each round, kind and graph once."""
        rounds = sorted({(one.user_id, one.round) for one, _ in found})
        await connection.execute(
            """
            INSERT INTO mail_rounds AS r (user_id, round, open_time, due_time)
            SELECT user_id, round, $4::timestamptz, CASE WHEN round = $3 THEN $4 + interval '1 hour' END
            FROM unnest($1::text[], $2::smallint[]) AS new (user_id, round)
            ON CONFLICT (user_id, round) DO UPDATE SET changes = r.changes + 1
            """,
            [user_id for user_id, _ in rounds],
            [number for _, number in rounds],
            Round.HOURLY,
            now,
        )
        rows = sorted(found, key=lambda one: (one[0].user_id, one[0].round, one[1].kind, one[1].graph_id))
        await connection.execute(
            """
            INSERT INTO mail_gathered AS g (user_id, round, kind, graph_id, count, first_time, last_time, samples)
            SELECT user_id, round, kind, graph_id, count, first_time, last_time, samples::jsonb
            FROM unnest($1::text[], $2::smallint[], $3::smallint[], $4::text[], $5::bigint[], $6::timestamptz[],
                        $7::timestamptz[], $8::text[])
                 AS new (user_id, round, kind, graph_id, count, first_time, last_time, samples)
            ON CONFLICT (user_id, round, kind, graph_id) DO UPDATE SET
                count = g.count + excluded.count,
                first_time = least(g.first_time, excluded.first_time),
                last_time = greatest(g.last_time, excluded.last_time),
                samples = jsonb_path_query_array(g.samples || excluded.samples, '$[0 to 4]')
            """,
            [one.user_id for one, _ in rows],
            [one.round for one, _ in rows],
            [one.kind for _, one in rows],
            [one.graph_id for _, one in rows],
            [one.count for _, one in rows],
            [one.first_time for _, one in rows],
            [one.last_time for _, one in rows],
            [orjson.dumps(one.samples[:SAMPLES]).decode() for _, one in rows],
        )

    async def unplanned(self, limit: int) -> Sequence[tuple[RoundKey, datetime]]:
        """Rounds of which nobody has found out yet when they are due, and when they began."""
        rows = await self._pool.fetch(
            "SELECT user_id, round, open_time FROM mail_rounds WHERE due_time IS NULL LIMIT $1", limit
        )
        return [(RoundKey(row["user_id"], Round(row["round"])), row["open_time"]) for row in rows]

    async def plan(self, round: RoundKey, due_time: datetime) -> None:
        """Now it is known."""
        await self._pool.execute(
            "UPDATE mail_rounds SET due_time = $3 WHERE user_id = $1 AND round = $2 AND due_time IS NULL",
            round.user_id,
            round.round,
            due_time,
        )

    @asynccontextmanager
    async def closing(self, now: datetime, most: int) -> AsyncIterator[tuple[Connection, DueRound | None]]:
        """A round that is due, and the transaction in which it ends; None if there is none."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                """
                SELECT user_id, round, due_time FROM mail_rounds WHERE due_time <= $1
                ORDER BY due_time LIMIT 1 FOR UPDATE SKIP LOCKED
                """,
                now,
            )
            if row is None:
                yield connection, None
                return
            of = RoundKey(row["user_id"], Round(row["round"]))
            named = (of.user_id, of.round)
            rows = await connection.fetch(
                """
                SELECT kind, graph_id, count, first_time, last_time, samples FROM mail_gathered
                WHERE user_id = $1 AND round = $2 ORDER BY count DESC, kind, graph_id LIMIT $3
                """,
                *named,
                most,
            )
            deleted = await connection.execute("DELETE FROM mail_gathered WHERE user_id = $1 AND round = $2", *named)
            await connection.execute("DELETE FROM mail_rounds WHERE user_id = $1 AND round = $2", *named)
            left_out = int(deleted.rpartition(" ")[2]) - len(rows)
            yield connection, DueRound(of, row["due_time"], [_gathered(one) for one in rows], left_out)


def _gathered(row: asyncpg.Record) -> Gathered:
    columns = dict(row)
    return Gathered(**{**columns, "kind": MailKind(row["kind"]), "samples": tuple(orjson.loads(row["samples"]))})
