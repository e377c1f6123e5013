"""All SQL that looks at credits and changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.account.bookkeeping import TransferKind


@dataclass(frozen=True, slots=True)
class UserCredits:
    """What a user has."""

    balance: int
    held: int
    spent: int


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A movement of a user's credits."""

    transfer_id: UUID
    kind: TransferKind
    amount: int
    balance: int
    time: datetime
    execution_id: UUID | None
    graph_id: str
    charges: int
    note: str
    actor: str


@dataclass(frozen=True, slots=True)
class BlockSpendingRow:
    """What a user spent on a block."""

    block_id: str
    charges: int
    amount: int


class CreditRepository:
    """Every question names the user."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def has_user(self, user_id: str) -> bool:
        """Whether there is such a user."""
        return bool(await self._pool.fetchval("SELECT true FROM users WHERE user_id = $1", user_id))

    async def get(self, user_id: str) -> UserCredits:
        """A user's credits: nothing, of somebody who never had any."""
        row = await self._pool.fetchrow(
            """
            SELECT balance, spent, (
                SELECT coalesce(sum(amount), 0)::bigint FROM holds
                WHERE user_id = $1 AND expires_at > clock_timestamp()
            ) AS held
            FROM balances WHERE user_id = $1
            """,
            user_id,
        )
        return UserCredits(row["balance"], row["held"], row["spent"]) if row else UserCredits(0, 0, 0)

    async def page(self, user_id: str, before: UUID | None, limit: int) -> Sequence[TransferRow]:
        """A user's movements, newest first."""
        rows = await self._pool.fetch(
            """
            SELECT transfer_id, kind, amount, balance, time, execution_id, graph_id, charges, note, actor
            FROM transfers WHERE user_id = $1 AND ($2::uuid IS NULL OR transfer_id < $2)
            ORDER BY transfer_id DESC LIMIT $3
            """,
            user_id,
            before,
            limit,
        )
        return [TransferRow(**{**row, "kind": TransferKind(row["kind"])}) for row in rows]

    async def spending(
        self, user_id: str, start: datetime | None, end: datetime | None, limit: int
    ) -> tuple[Sequence[BlockSpendingRow], int]:
        """What a user spent by block, the costliest first, in the hours that begin in a span of time; and in all."""
        rows = await self._pool.fetch(
            """
            SELECT block_id, sum(charges)::bigint AS charges, sum(amount)::bigint AS amount,
                   (sum(sum(amount)) OVER ())::bigint AS total
            FROM spending
            WHERE user_id = $1 AND ($2::timestamptz IS NULL OR hour >= $2) AND ($3::timestamptz IS NULL OR hour < $3)
            GROUP BY block_id ORDER BY amount DESC, block_id LIMIT $4
            """,
            user_id,
            start,
            end,
            limit,
        )
        blocks = [BlockSpendingRow(row["block_id"], row["charges"], row["amount"]) for row in rows]
        return blocks, rows[0]["total"] if rows else 0
