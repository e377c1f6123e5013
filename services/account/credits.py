"""What users see of credits: how many they have, what moved them, and what they went for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.account.bookkeeping import TopUp
from services.account.errors import UserNotFound
from services.account.ledger import Ledger
from services.account.repository.credits import BlockSpendingRow, CreditRepository, TransferRow, UserCredits
from services.common import audit

TOP_UP_ACTION = "blockyard.account.v1.AccountService/TopUpCredits"
MOST_BLOCKS = 1_000
"""Blocks that a summary names."""


@dataclass(frozen=True, slots=True)
class Credits:
    """Answers questions about the credits of one user, and gives them some."""

    repository: CreditRepository
    ledger: Ledger
    enabled: bool
    """Whether executions cost credits at all."""

    async def get(self, user_id: str) -> UserCredits:
        """A user's credits."""
        return await self.repository.get(user_id)

    async def has_user(self, user_id: str) -> bool:
        """Whether there is such a user."""
        return await self.repository.has_user(user_id)

    async def transactions(self, user_id: str, before: UUID | None, limit: int) -> Sequence[TransferRow]:
        """A user's movements, newest first."""
        return await self.repository.page(user_id, before, limit)

    async def spending(
        self, user_id: str, start: datetime | None, end: datetime | None
    ) -> tuple[Sequence[BlockSpendingRow], int]:
        """What a user spent by block, the costliest first, and in all."""
        first_hour = start.replace(minute=0, second=0, microsecond=0) if start else None
        return await self.repository.spending(user_id, first_hour, end, MOST_BLOCKS)

    async def top_up(self, top_up: TopUp) -> UserCredits:
        """Gives a user credits, or takes some away."""
        if not await self.repository.has_user(top_up.user_id):
            raise UserNotFound
        details = {"amount": str(top_up.amount), "note": top_up.note}
        entry = audit.entry(TOP_UP_ACTION, f"users/{top_up.user_id}", details)
        await self.ledger.top_up(top_up, entry)
        return await self.repository.get(top_up.user_id)
