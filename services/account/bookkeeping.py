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

SpanKey = tuple[UUID, int]
"""Execution, and number of the span."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which node executions of a span are charged."""

    marks: int = 0
    """A bit for each; the lowest stands for the first one."""
    version: int = 0
    """One more with each change; 0 where nothing is charged yet."""


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
    charged: Mapping[SpanKey, Span] = field(default_factory=dict)
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


def spans_of(charges: Iterable[Charge]) -> set[SpanKey]:
    """Execution and span of all that charges name."""
    return {(charge.execution_id, number // SPAN) for charge in charges for number in charge.node_executions}


def book_charges(
    balances: Mapping[str, Balance],
    charged: Mapping[SpanKey, Span],
    charges: Iterable[Charge],
    transfer_ids: Iterator[UUID],
) -> Booking:
    """What charges do to their users' balances: those of node executions that are in `charged` do nothing.

    There is one transfer for each execution and user. Transfers are in the order of their ids, so that each balance is
    the one that its neighbours say.
    """
    marks = {key: span.marks for key, span in charged.items()}
    by_execution: dict[tuple[UUID, str], _Sum] = {}
    by_hour: dict[tuple[str, int, str], _Sum] = {}
    for charge in charges:
        if count := _mark(marks, charge):
            execution = by_execution.setdefault((charge.execution_id, charge.user_id), _Sum(charge.graph_id))
            execution.add(count, charge.amount)
            hour = charge.user_id, charge.second - charge.second % HOUR, charge.block_id
            by_hour.setdefault(hour, _Sum()).add(count, charge.amount)
    changed: dict[str, Balance] = {}
    transfers: list[Transfer] = []
    for (execution_id, user_id), total in by_execution.items():
        before = changed.get(user_id) or balances[user_id]
        changed[user_id] = before.moved(-total.amount, spent=total.amount)
        transfers.append(_transfer(next(transfer_ids), execution_id, changed[user_id], total))
    return Booking(
        transfers,
        list(changed.values()),
        # Rows are written in an order that is the same for everybody.
        [Spending(*hour, by_hour[hour].charges, by_hour[hour].amount) for hour in sorted(by_hour)],
        _changed_spans(charged, marks),
        _newly_low(balances, changed.values()),
    )


@dataclass(slots=True)
class _Sum:
    graph_id: str = ""
    charges: int = 0
    amount: int = 0

    def add(self, count: int, amount: int) -> None:
        self.charges += count
        self.amount += count * amount


def _mark(marks: dict[SpanKey, int], charge: Charge) -> int:
    """Marks a charge's node executions; how many were not marked before."""
    count = 0
    for number in charge.node_executions:
        span, place = divmod(number, SPAN)
        key = charge.execution_id, span
        known = marks.get(key, 0)
        if not known >> place & 1:
            marks[key] = known | 1 << place
            count += 1
    return count


def _transfer(transfer_id: UUID, execution_id: UUID, after: Balance, total: _Sum) -> Transfer:
    return Transfer(
        transfer_id,
        TransferKind.CHARGE,
        after.user_id,
        -total.amount,
        after.balance,
        execution_id=execution_id,
        graph_id=total.graph_id,
        charges=total.charges,
    )


def _changed_spans(before: Mapping[SpanKey, Span], marks: Mapping[SpanKey, int]) -> dict[SpanKey, Span]:
    changed: dict[SpanKey, Span] = {}
    for key in sorted(marks, key=lambda key: (key[0].int, key[1])):
        known = before.get(key, Span())
        if marks[key] != known.marks:
            changed[key] = Span(marks[key], known.version + 1)
    return changed


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
