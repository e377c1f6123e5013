"""The ledger: holds credits for executions, books what they cost, and gives credits."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.event.v1.notice_pb2 import NoticeKind

from services.account import bookkeeping
from services.account.bookkeeping import Balance, Booking, Charge, TopUp, TransferIds
from services.account.charge_weeks import KeptWeeks, week_at, week_number
from services.account.errors import BalanceOutOfRange, LedgerChanged, RequestIdReused
from services.account.holding import granted
from services.account.ledger_metrics import CHARGES, CREDITS_CHARGED
from services.account.repository.charge_weeks import ChargeWeekRepository
from services.account.repository.ledger import HeldCredits, LedgerRepository, LedgerTransaction
from services.common.ids import new_id
from services.common.notice_rows import PendingNotice
from services.common.notices import NoticePublisher, new_notice

LARGEST_BALANCE = 10**16
"""That can be given or left, above 0 and below it: far from where a 64-bit integer ends."""
KNOWN_ACCOUNTS = 100_000
LOGGED = 20
"""Charges of a call that are not taken and logged one by one."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Hold:
    """What a replica holds of a user's credits, and the user's balance."""

    user_id: str
    amount: int
    balance: int


@dataclass(frozen=True, slots=True)
class HoldRules:
    """For how long a hold lasts, and from which amount on credits are divided among replicas."""

    seconds: float
    undivided: int


class Ledger:
    """Every change of credits."""

    def __init__(
        self,
        repository: LedgerRepository,
        weeks: ChargeWeekRepository,
        kept: KeptWeeks,
        rules: HoldRules,
        notices: NoticePublisher,
    ) -> None:
        self._repository = repository
        self._weeks = weeks
        self._kept = kept
        self.rules = rules
        self._notices = notices
        self._made: set[int] = set()
        """Numbers of weeks that have a table."""
        self._making = asyncio.Lock()
        self._opened: set[str] = set()
        """Users who have an account in the ledger, as far as this process knows."""

    async def hold(self, holder: str, demands: Mapping[str, int]) -> list[Hold]:
        """Holds credits for a replica, for each user as much of its demand as the rule in holding.py gives it."""
        async with self._repository.transaction() as transaction:
            balances, _ = await transaction.lock(demands)
            held = await transaction.held(holder, demands)
            amounts = {
                user_id: granted(
                    wanted=wanted,
                    held=held.get(user_id, HeldCredits()).own,
                    balance=balances[user_id].balance if user_id in balances else 0,
                    others=held.get(user_id, HeldCredits()).others,
                    undivided=self.rules.undivided,
                )
                for user_id, wanted in demands.items()
            }
            await transaction.hold(holder, amounts, self.rules.seconds)
        return [
            Hold(user_id, amount, balances[user_id].balance if user_id in balances else 0)
            for user_id, amount in amounts.items()
        ]

    async def settle(self, holder: str, charges: Sequence[Charge]) -> list[Hold]:
        """Books each node execution once, whoever sends it and however often; answers what the sender holds afterwards.

        Safe to repeat: which node executions are charged is written in the transaction that takes them off the balance,
        and read under the lock of that balance.
        """
        charges = await self._taken(charges)
        if not charges:
            return []
        users = {charge.user_id for charge in charges}
        await self._open_accounts(users)
        async with self._changes() as transaction:
            balances, moment = await _locked(transaction, users)
            charged = await transaction.charged(bookkeeping.spans_of(charges))
            ids = TransferIds(moment, secrets.randbits(64))
            booking = bookkeeping.book_charges(balances, charged, charges, ids)
            if booking.transfers:
                await transaction.write_charges(booking, _warnings(booking.low, moment))
            after = {**balances, **{balance.user_id: balance for balance in booking.balances}}
            spent = {user_id: after[user_id].spent - balances[user_id].spent for user_id in users}
            held = await transaction.take_off(holder, spent)
        _count(charges, booking)
        if booking.low:
            self._notices.wake()
        return [Hold(user_id, held.get(user_id, 0), after[user_id].balance) for user_id in sorted(users)]

    async def top_up(self, top_up: TopUp, entry: AuditEntry) -> None:
        """Gives credits, or takes some away; once, if it has a request id. `entry` tells the audit log of it."""
        await self._open_accounts({top_up.user_id})
        async with self._changes() as transaction:
            balances, moment = await _locked(transaction, {top_up.user_id})
            balance = balances[top_up.user_id]
            if await _was_made(transaction, top_up):
                return
            if abs(balance.balance + top_up.amount) > LARGEST_BALANCE:
                raise BalanceOutOfRange
            booking = bookkeeping.book_top_up(balance, next(TransferIds(moment, secrets.randbits(64))), top_up)
            if not await transaction.write_top_up(booking, _warnings(booking.low, moment), entry):
                # Somebody else's balance was changed by this request meanwhile: their locks are not ours.
                raise RequestIdReused
        if booking.low:
            self._notices.wake()

    async def make_weeks(self) -> None:
        """The tables of the weeks around now are there after this."""
        await self._weeks.make(self._kept.needed(datetime.now(UTC)))

    async def drop_past_weeks(self) -> int:
        """Drops the charges that are past retention; what they came to stays in the rest of the ledger."""
        now = datetime.now(UTC)
        past = [week for week in await self._weeks.weeks() if self._kept.is_past(week, now)]
        for week in past:
            await self._weeks.drop(week)
        return len(past)

    async def _taken(self, charges: Sequence[Charge]) -> Sequence[Charge]:
        """Those of weeks that are kept, which have a table after this.

        A charge from before them cannot be told from one that was booked then, so it is not booked at all.
        """
        now = datetime.now(UTC)
        weeks = {week_number(charge.execution_id) for charge in charges}
        taken = weeks & set(self._kept.taken(now))
        if missing := taken - self._made:
            async with self._making:
                await self._weeks.make([week_at(number) for number in missing])
                self._made |= missing
        if taken == weeks:
            return charges
        outside = [charge for charge in charges if week_number(charge.execution_id) not in taken]
        CHARGES.labels("outside").inc(_size(outside))
        _log_outside(outside)
        return [charge for charge in charges if week_number(charge.execution_id) in taken]

    @asynccontextmanager
    async def _changes(self) -> AsyncIterator[LedgerTransaction]:
        """A transaction. Where it does not find what this process knows of, that is looked for again."""
        try:
            async with self._repository.transaction() as transaction:
                yield transaction
        except LedgerChanged:
            self._opened.clear()
            self._made.clear()
            raise

    async def _open_accounts(self, users: set[str]) -> None:
        """Makes what is missing, before a transaction that locks it. What is there stays for good."""
        if unknown := users - self._opened:
            await self._repository.open_accounts(unknown)
            if len(self._opened) > KNOWN_ACCOUNTS:
                self._opened.clear()
            self._opened |= unknown


async def _locked(transaction: LedgerTransaction, users: set[str]) -> tuple[dict[str, Balance], datetime]:
    balances, moment = await transaction.lock(users)
    if balances.keys() != users:
        raise LedgerChanged
    return balances, moment


def _warnings(low: Sequence[Balance], moment: datetime) -> list[PendingNotice]:
    return [
        new_notice(
            new_id(),
            balance.user_id,
            NoticeKind.NOTICE_KIND_LOW_BALANCE,
            moment,
            {"balance": str(balance.balance), "low_balance": str(balance.low_balance)},
        )
        for balance in low
    ]


async def _was_made(transaction: LedgerTransaction, top_up: TopUp) -> bool:
    """Whether its request was carried out before; one that asked for something else must not have its id."""
    earlier = await transaction.by_request(top_up.actor, top_up.request_id) if top_up.request_id else None
    if earlier is None:
        return False
    if (earlier.user_id, earlier.amount, earlier.note) != (top_up.user_id, top_up.amount, top_up.note):
        raise RequestIdReused
    return True


def _count(charges: Sequence[Charge], booking: Booking) -> None:
    booked = sum([transfer.charges for transfer in booking.transfers])
    CHARGES.labels("booked").inc(booked)
    CREDITS_CHARGED.inc(-sum([transfer.amount for transfer in booking.transfers]))
    CHARGES.labels("repeated").inc(_size(charges) - booked)


def _size(charges: Sequence[Charge]) -> int:
    """Of how many node executions."""
    return sum([len(charge.node_executions) for charge in charges])


def _log_outside(charges: Sequence[Charge]) -> None:
    event = "charges of executions outside of the weeks that are kept are not booked"
    for charge in charges[:LOGGED]:
        log.error(
            event,
            execution_id=str(charge.execution_id),
            node_executions=len(charge.node_executions),
            user_id=charge.user_id,
            amount=charge.amount,
        )
    if len(charges) > LOGGED:
        log.error(event, more=len(charges) - LOGGED)
