"""What the ledger writes for a movement of credits: pure values.

Who may write, and that nobody else writes meanwhile, is left to ledger.py and its repository.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from uuid import UUID

HOUR = 3_600
"""Seconds."""

SPAN = 256
"""Node executions of which one row says which are charged."""

Spans = Mapping[tuple[UUID, int], int]
"""By execution and span, which of its node executions are charged: the lowest bit stands for the first one."""


class TransferKind(IntEnum):
    """Why credits moved; numbered as in the contract."""

    TOP_UP = 1
    CHARGE = 2
    ADJUSTMENT = 3


@dataclass(frozen=True, slots=True)
class Charge:
    """What recorded outcomes of a block in an execution cost."""

    execution_id: UUID
    node_executions: Sequence[int]
    """Their numbers."""
    user_id: str
    graph_id: str
    block_id: str
    amount: int
    """Of each."""
    second: int
    """When they were recorded, in Unix time: in the same hour."""


@dataclass(frozen=True, slots=True)
class TopUp:
    """What an administrator gives, or takes away with an amount below 0."""

    user_id: str
    amount: int
    note: str = ""
    actor: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """A user's credits, as they are while nobody else can change them."""

    user_id: str
    balance: int = 0
    spent: int = 0
    told_low: bool = False
    low_balance: int = 0
    """The bound below which the user wants to be told; 0 for none."""

    def moved(self, amount: int, spent: int = 0) -> "Balance":
        """After credits came (above 0) or went."""
        balance = self.balance + amount
        low = self.low_balance > 0 and balance < self.low_balance
        return replace(self, balance=balance, spent=self.spent + spent, told_low=low)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A movement of credits; `amount` and `balance` are its user's."""

    transfer_id: UUID
    kind: TransferKind
    user_id: str
    amount: int
    balance: int
    execution_id: UUID | None = None
    graph_id: str = ""
    charges: int = 0
    note: str = ""
    actor: str = ""
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """What node executions of a block cost a user in an hour."""

    user_id: str
    hour: int
    """When it began, in Unix time."""
    block_id: str
    charges: int
    amount: int


@dataclass(frozen=True, slots=True)
class Booking:
    """All that is to be written for one call, together."""

    transfers: Sequence[Transfer]
    balances: Sequence[Balance]
    """As they are afterwards, of those that changed."""
    spending: Sequence[Spending] = ()
    charged: Spans = field(default_factory=dict)
    """As they are afterwards, of those that changed."""
    low: Sequence[Balance] = ()
    """Of those, the ones whose users are to be told that their balance is low."""


class TransferIds:
    """Ids that sort by the moment at which a balance was locked, and within it as they are drawn.

    They are UUIDv7 with the microsecond in the twelve bits after the millisecond (RFC 9562, 6.2, method 3). A balance
    is locked by one transaction after the other, so the ids of a user's transfers are in the order of their balances.
    """

    def __init__(self, moment: datetime, random: int) -> None:
        microseconds = round(moment.timestamp() * 1_000_000)
        milliseconds, rest = divmod(microseconds, 1_000)
        self._high = (milliseconds << 16 | 0x7 << 12 | rest * 4096 // 1000) << 64
        self._random = random & ((1 << 46) - 1)
        self._drawn = 0

    def __iter__(self) -> Iterator[UUID]:
        return self

    def __next__(self) -> UUID:
        low = 0b10 << 62 | self._drawn << 46 | self._random
        self._drawn += 1
        return UUID(int=self._high | low)


def spans_of(charges: Iterable[Charge]) -> set[tuple[UUID, int]]:
    """Execution and span of all that charges name."""
    return {(charge.execution_id, number // SPAN) for charge in charges for number in charge.node_executions}


def book_charges(
    balances: Mapping[str, Balance], charged: Spans, charges: Iterable[Charge], ids: Iterator[UUID]
) -> Booking:
    """What charges do to their users' balances: those of node executions that are in `charged` do nothing.

    There is one transfer for each execution and user. Transfers are in the order of `ids`, so that each balance is the
    one that its neighbours say.
    """
    spans: dict[tuple[UUID, int], int] = {}
    sums: dict[tuple[UUID, str], tuple[str, int, int]] = {}
    spending: dict[tuple[str, int, str], tuple[int, int]] = {}
    for charge in charges:
        count = _mark(spans, charged, charge)
        if not count:
            continue
        amount = count * charge.amount
        place = charge.execution_id, charge.user_id
        graph_id, earlier_count, earlier = sums.get(place, (charge.graph_id, 0, 0))
        sums[place] = graph_id, earlier_count + count, earlier + amount
        hour = charge.user_id, charge.second - charge.second % HOUR, charge.block_id
        earlier_count, earlier = spending.get(hour, (0, 0))
        spending[hour] = earlier_count + count, earlier + amount
    changed: dict[str, Balance] = {}
    transfers: list[Transfer] = []
    for (execution_id, user_id), (graph_id, count, amount) in sums.items():
        after = changed[user_id] = changed.get(user_id, balances[user_id]).moved(-amount, spent=amount)
        transfers.append(
            Transfer(
                next(ids),
                TransferKind.CHARGE,
                user_id,
                -amount,
                after.balance,
                execution_id=execution_id,
                graph_id=graph_id,
                charges=count,
            )
        )
    # Rows of users' hours are written in an order that is the same for everybody.
    by_hour = [Spending(*hour, *spending[hour]) for hour in sorted(spending)]
    return Booking(transfers, list(changed.values()), by_hour, spans, _newly_low(balances, changed.values()))


def _mark(spans: dict[tuple[UUID, int], int], charged: Spans, charge: Charge) -> int:
    """Marks a charge's node executions in `spans`; how many were in neither before."""
    asked: dict[int, int] = {}
    for number in charge.node_executions:
        span, place = divmod(number, SPAN)
        asked[span] = asked.get(span, 0) | 1 << place
    count = 0
    for span, wanted in asked.items():
        key = charge.execution_id, span
        known = spans.get(key) or charged.get(key, 0)
        if new := wanted & ~known:
            spans[key] = known | new
            count += new.bit_count()
    return count


def book_top_up(before: Balance, transfer_id: UUID, top_up: TopUp) -> Booking:
    """What an administrator does to a user's balance."""
    after = before.moved(top_up.amount)
    kind = TransferKind.TOP_UP if top_up.amount > 0 else TransferKind.ADJUSTMENT
    transfer = Transfer(
        transfer_id,
        kind,
        before.user_id,
        top_up.amount,
        after.balance,
        note=top_up.note,
        actor=top_up.actor,
        request_id=top_up.request_id or None,
    )
    return Booking([transfer], [after], low=_newly_low({before.user_id: before}, [after]))


def _newly_low(before: Mapping[str, Balance], after: Iterable[Balance]) -> list[Balance]:
    return [balance for balance in after if balance.told_low and not before[balance.user_id].told_low]
