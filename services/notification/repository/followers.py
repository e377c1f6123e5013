"""How far the service has followed the feeds, and which replica does it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

Connection = asyncpg.pool.PoolConnectionProxy

NAME = "outgoing"
"""Of the only follower: what is sent out by itself."""


@dataclass(frozen=True, slots=True)
class Held:
    """A follower that is ours for a while."""

    name: str
    version: int
    cursor: str


class NotHeld(Exception):
    """Another replica follows."""


class FollowerRepository:
    """The table `followers`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def hold(self, name: str, holder: str, seconds: float, cursor: str) -> Held | None:
        """Takes the follower, or keeps it; None if another replica has it. A new one begins at this cursor."""
        row = await self._pool.fetchrow(
            """
            INSERT INTO followers AS f (name, positions, holder, held_until)
            VALUES ($1, $4, $2, now() + $3 * interval '1 second')
            ON CONFLICT (name) DO UPDATE SET holder = $2, held_until = excluded.held_until
            WHERE f.holder = $2 OR f.held_until < now()
            RETURNING name, version, positions
            """,
            name,
            holder,
            seconds,
            cursor,
        )
        return Held(row["name"], row["version"], row["positions"]) if row else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """In which is taken in what comes next, and `step` says so."""
        async with self._pool.acquire() as connection, connection.transaction():
            yield connection

    async def step(self, connection: Connection, held: Held, cursor: str) -> Held:
        """Steps on to this cursor, with all that the transaction does; NotHeld if somebody else has stepped."""
        version = await connection.fetchval(
            """
            UPDATE followers SET version = version + 1, positions = $3, update_time = now()
            WHERE name = $1 AND version = $2 RETURNING version
            """,
            held.name,
            held.version,
            cursor,
        )
        if version is None:
            raise NotHeld
        return Held(held.name, version, cursor)

    async def release(self, name: str, holder: str) -> None:
        """Leaves the follower to others."""
        await self._pool.execute(
            "UPDATE followers SET held_until = '-infinity' WHERE name = $1 AND holder = $2", name, holder
        )
