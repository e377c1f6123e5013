"""Limits of how many things of a kind a user has.

Two that are stored at the same moment do not see each other, so a count in their INSERT alone lets both in: those who
add something wait for each other, and count after that.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a module of asyncpg's own
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy


async def one_at_a_time(connection: "PoolConnectionProxy[Record]", kind: str, user_id: str) -> None:
    """Waits until no other transaction adds something of that kind to the user's, and keeps others waiting until this
    one ends. A statement that begins after it sees all that they have added."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{kind} {user_id}")
