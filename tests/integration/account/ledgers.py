"""Ledgers on a fresh database of the account service, as several replicas would have them, and charges for them."""

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
from blockyard.dev.postgres import PostgresServer

from services.account.bookkeeping import Charge, TopUp
from services.account.charge_weeks import KeptWeeks
from services.account.credits import TOP_UP_ACTION
from services.account.ledger import Hold, HoldRules, Ledger
from services.account.repository.audit import AuditRepository
from services.account.repository.charge_weeks import ChargeWeekRepository
from services.account.repository.credits import CreditRepository, UserCredits
from services.account.repository.ledger import LedgerRepository
from services.account.repository.verification import Discrepancy, verify
from services.common import audit, bus, database
from services.common.ids import first_id, new_id
from services.common.notice_rows import NoticeRepository
from services.common.notices import NoticePublisher
from tests.stack.postgres import as_role, migrated_database

KEPT = KeptWeeks(days=400)
RULES = HoldRules(seconds=30, undivided=20)
NO_NATS = partial(bus.connect, "nats://127.0.0.1:1", "account")


@dataclass(eq=False)
class Replica:
    """What one process of the account service has of the ledger."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    ledger: Ledger
    repository: LedgerRepository
    credits: CreditRepository
    weeks: ChargeWeekRepository
    notices: NoticeRepository

    async def new_user(self, credits: int = 0, low_balance: int = 0) -> str:
        """Somebody whom no other test knows."""
        user_id = f"user-{new_id()}"
        await self.pool.execute(
            "INSERT INTO users (user_id, role, low_balance) VALUES ($1, 2, $2)", user_id, low_balance
        )
        if credits:
            await self.give(user_id, credits)
        return user_id

    async def give(self, user_id: str, amount: int, request_id: str = "", note: str = "") -> None:
        """As an administrator does."""
        entry = audit.entry_of("admin", "", audit.Origin(), TOP_UP_ACTION, f"users/{user_id}", "OK")
        await self.ledger.top_up(TopUp(user_id, amount, note, "admin", request_id), entry)

    async def told(self) -> str:
        """Somebody whose balance has fallen below the bound that they have set."""
        user_id = await self.new_user(credits=10, low_balance=5)
        await self.give(user_id, -8)
        return user_id

    async def hold(self, holder: str, user_id: str, amount: int) -> int:
        """What a replica of the execution service gets when it wants so much."""
        [hold] = await self.ledger.hold(holder, {user_id: amount})
        return hold.amount

    async def has(self, user_id: str) -> UserCredits:
        return await self.credits.get(user_id)

    async def discrepancies(self) -> list[Discrepancy]:
        """What does not fit in the whole ledger."""
        return await verify(self.pool, first_id(KEPT.first(datetime.now(UTC))))

    async def charged(self, execution_ids: Iterable[UUID]) -> int:
        """How many charges there are of these executions."""
        number: int = await self.pool.fetchval(
            "SELECT sum(bit_count(node_executions))::bigint FROM charges WHERE execution_id = ANY($1::uuid[])",
            list(execution_ids),
        )
        return number


@dataclass(eq=False)
class House:
    """A database, and replicas on it."""

    database_url: str
    stack: AsyncExitStack
    replicas: list[Replica] = field(default_factory=list)

    async def replica(self, rules: HoldRules = RULES, kept: KeptWeeks = KEPT) -> Replica:
        """One more."""
        pool = await self.stack.enter_async_context(
            database.connect(as_role(self.database_url, "account"), "account", pool_size=4)
        )
        await AuditRepository(pool).keep(365)
        repository, weeks, notices = LedgerRepository(pool), ChargeWeekRepository(pool), NoticeRepository(pool)
        ledger = Ledger(repository, weeks, kept, rules, NoticePublisher(notices, NO_NATS))
        return Replica(pool, ledger, repository, CreditRepository(pool), weeks, notices)


@asynccontextmanager
async def house(postgres: PostgresServer) -> AsyncIterator[House]:
    """A fresh database with the tables of the account service."""
    async with AsyncExitStack() as stack:
        database_url = stack.enter_context(migrated_database(postgres.url, "account"))
        yield House(database_url, stack)


def charge(user_id: str, execution_id: UUID, *node_executions: int, amount: int = 1, **other: Any) -> Charge:
    """A charge of node executions, of the first one if none is named."""
    values: dict[str, Any] = {"graph_id": "graph", "block_id": "block", "second": int(time.time()), **other}
    return Charge(execution_id, node_executions or (1,), user_id, amount=amount, **values)


def amounts(holds: Sequence[Hold]) -> dict[str, int]:
    """What is held, by user."""
    return {hold.user_id: hold.amount for hold in holds}
