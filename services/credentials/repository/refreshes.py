"""All SQL of who refreshes which token: a lease in the credential's row, by PostgreSQL's clock.

The row is not locked while a provider is asked. A lease that runs out is another's to take; so it is longer than a
request may last.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

import asyncpg


class RefreshTurn(Enum):
    """Whose turn it is to refresh a token."""

    OURS = auto()
    OTHERS = auto()
    """Somebody refreshes it now."""
    PAUSED = auto()
    """The provider failed a moment ago, and is left in peace."""
    PASSED = auto()
    """The credential is at another version, cannot be used, or is gone: read it again."""


@dataclass(frozen=True, slots=True)
class RefreshLease:
    """Whose turn it is, and PostgreSQL's clock at that moment."""

    turn: RefreshTurn
    now: datetime


@dataclass(frozen=True, slots=True, eq=False)
class RefreshRepository:
    """`holder` names one attempt, so that an attempt that comes late gives back nothing but its own."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def take(self, credential_id: UUID, version: int, holder: str, seconds: float) -> RefreshLease:
        """Takes the lease if nobody has it and the credential is active, at that version."""
        row = await self.pool.fetchrow(
            """
            WITH mine AS (
                UPDATE credentials
                SET refresh_holder = $3, refresh_until = clock_timestamp() + make_interval(secs => $4)
                WHERE credential_id = $1 AND version = $2 AND state = 1
                  AND (refresh_until IS NULL OR refresh_until < clock_timestamp())
                RETURNING true
            )
            SELECT clock_timestamp() AS now, EXISTS (SELECT FROM mine) AS ours,
                   (SELECT refresh_holder FROM credentials WHERE credential_id = $1 AND version = $2 AND state = 1
                       AND refresh_until >= clock_timestamp()) AS holder
            """,
            credential_id,
            version,
            holder,
            seconds,
        )
        assert row is not None, "a SELECT of one row"
        if row["ours"]:
            turn = RefreshTurn.OURS
        elif row["holder"] is None:
            turn = RefreshTurn.PASSED
        else:
            turn = RefreshTurn.OTHERS if row["holder"] else RefreshTurn.PAUSED
        return RefreshLease(turn, row["now"])

    async def give_back(self, credential_id: UUID, holder: str) -> None:
        """Ends a lease, if it is still that holder's."""
        await self.pool.execute(
            """
            UPDATE credentials SET refresh_holder = NULL, refresh_until = NULL
            WHERE credential_id = $1 AND refresh_holder = $2
            """,
            credential_id,
            holder,
        )

    async def pause(self, credential_id: UUID, holder: str, seconds: float) -> None:
        """Ends a lease of that holder in a pause, in which nobody asks the provider."""
        await self.pool.execute(
            """
            UPDATE credentials
            SET refresh_holder = '', refresh_until = clock_timestamp() + make_interval(secs => $3)
            WHERE credential_id = $1 AND refresh_holder = $2
            """,
            credential_id,
            holder,
            seconds,
        )

    async def is_shared(self, credential_id: UUID, provider: str, account_name: str) -> bool:
        """Whether another credential is of the same account, so that revoking this one's grant might end that one."""
        shared: bool = await self.pool.fetchval(
            """
            SELECT EXISTS (SELECT FROM credentials
                           WHERE provider = $2 AND account_name = $3 AND type = 2 AND credential_id <> $1)
            """,
            credential_id,
            provider,
            account_name,
        )
        return shared
