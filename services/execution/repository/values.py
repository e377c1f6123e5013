"""Values that blocks keep beyond their execution."""

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from services.common.user_limits import one_at_a_time

FIND = """
SELECT e.status >= 4 AS has_ended, v.value
FROM executions e LEFT JOIN stored_values v
    ON v.user_id = e.user_id AND v.key = $3 AND v.scope = CASE WHEN $2 THEN 'graph:' || e.graph_id ELSE 'user' END
WHERE e.execution_id = $1
"""
OWNER = """
SELECT status >= 4 AS has_ended, user_id, CASE WHEN $2 THEN 'graph:' || graph_id ELSE 'user' END AS scope
FROM executions WHERE execution_id = $1
"""
WRITE = """
INSERT INTO value_writes (execution_id, node_execution, scope, key, number) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING true
"""
REMOVE = "DELETE FROM stored_values WHERE user_id = $1 AND scope = $2 AND key = $3"
REPLACE = """
UPDATE stored_values SET value = $4, update_time = now() WHERE user_id = $1 AND scope = $2 AND key = $3 RETURNING true
"""
ADD = """
INSERT INTO stored_values (user_id, scope, key, value) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, scope, key) DO UPDATE SET value = excluded.value, update_time = excluded.update_time
"""
COUNT = "SELECT count(*) FROM (SELECT FROM stored_values WHERE user_id = $1 LIMIT $2) AS kept"


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a run that asks for a value; None is no value."""

    has_ended: bool
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose values a run gets and puts, and where among them."""

    has_ended: bool
    user_id: str
    scope: str


@dataclass(frozen=True, slots=True)
class ValueWrite:
    """A write of a task: it is made once. A value of None removes what is there."""

    execution_id: UUID
    node_execution: int
    owner: Owner
    key: str
    number: int
    value: bytes | None


class TooMany(Exception):
    """The user has as many values as are allowed."""


class ValueRepository:
    """Questions of ValueService."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, execution_id: UUID, key: str, *, of_graph: bool) -> Found | None:
        """The value under a key, of the execution's graph or of its user; None if there is no such execution."""
        row = await self._pool.fetchrow(FIND, execution_id, of_graph, key)
        return Found(*row) if row else None

    async def owner(self, execution_id: UUID, *, of_graph: bool) -> Owner | None:
        """Whose the values of an execution are; None if there is no such execution."""
        row = await self._pool.fetchrow(OWNER, execution_id, of_graph)
        return Owner(*row) if row else None

    async def write(self, write: ValueWrite, most: int) -> bool:
        """Commits a write, and raises TooMany (nothing is written) if it made more than `most` values of the user.

        False if it was made before. Locks are taken in one order everywhere, so that no two writes wait for each
        other: first the write itself, on which repeats of it wait; then, by those that may add a value, the user; then
        the row of the value, whose writers wait for each other, so that the last commit is what stays.
        """
        owner = write.owner
        place = (owner.user_id, owner.scope, write.key)
        async with self._pool.acquire() as connection, connection.transaction():
            is_first = await connection.fetchval(
                WRITE, write.execution_id, write.node_execution, owner.scope, write.key, write.number
            )
            if not is_first:
                return False
            if write.value is None:
                await connection.execute(REMOVE, *place)
            elif not await connection.fetchval(REPLACE, *place, write.value):
                await one_at_a_time(connection, "values", owner.user_id)
                await connection.execute(ADD, *place, write.value)
                # Counted with the lock held, and by a statement that began after: it sees all that others have added.
                if await connection.fetchval(COUNT, owner.user_id, most + 1) > most:
                    raise TooMany
        return True
