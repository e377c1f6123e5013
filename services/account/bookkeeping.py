"""What the ledger writes for a movement of credits: pure values.

Who may write, and that nobody else writes meanwhile, is left to ledger.py and its repository.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from uuid import UUID

HOUR = 3_600
"""Seconds."""

ChargeKey = tuple[UUID, int]
"""Execution and number of the node execution: what a charge is counted by."""


class TransferKind(IntEnum):
    """Why credits moved; numbered as in the contract."""

    TOP_UP = 1
    CHARGE = 2
    ADJUSTMENT = 3


@dataclass(frozen=True, slots=True)
class Charge:
    """What one recorded outcome costs."""

    execution_id: UUID
    node_execution: int
    user_id: str
    graph_id: str
    block_id: str
    amount: int
    second: int
    """When the outcome was recorded, in Unix time."""

    @property
    def key(self) -> ChargeKey:
        """What it is counted by."""
        return self.execution_id, self.node_execution


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


def assign(charges: Iterable[Charge], ids: Iterator[UUID]) -> dict[tuple[UUID, str], UUID]:
    """The transfer of each execution and user: one for all of their charges in a call."""
    transfers: dict[tuple[UUID, str], UUID] = {}
    for charge in charges:
        key = charge.execution_id, charge.user_id
        if key not in transfers:
            transfers[key] = next(ids)
    return transfers


def book_charges(
    balances: Mapping[str, Balance], charges: Iterable[Charge], transfer_ids: Mapping[tuple[UUID, str], UUID]
) -> Booking:
    """What charges that were not booked before do to their users' balances."""
    together: dict[UUID, list[Charge]] = {}
    for charge in charges:
        together.setdefault(transfer_ids[charge.execution_id, charge.user_id], []).append(charge)
    changed: dict[str, Balance] = {}
    transfers: list[Transfer] = []
    # By id, so that each balance is the one that its neighbours in the list say.
    for transfer_id, members in sorted(together.items()):
        user_id, amount = members[0].user_id, sum([charge.amount for charge in members])
        after = changed.get(user_id, balances[user_id]).moved(-amount, spent=amount)
        changed[user_id] = after
        transfers.append(
            Transfer(
                transfer_id,
                TransferKind.CHARGE,
                user_id,
                -amount,
                after.balance,
                execution_id=members[0].execution_id,
                graph_id=members[0].graph_id,
                charges=len(members),
            )
        )
    spending = spent_by_hour(charge for members in together.values() for charge in members)
    return Booking(transfers, list(changed.values()), spending, _newly_low(balances, changed.values()))


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


def spent_by_hour(charges: Iterable[Charge]) -> list[Spending]:
    """What charges come to by user, hour and block, in an order that is the same for everybody who writes it."""
    sums: dict[tuple[str, int, str], tuple[int, int]] = {}
    for charge in charges:
        key = charge.user_id, charge.second - charge.second % HOUR, charge.block_id
        number, amount = sums.get(key, (0, 0))
        sums[key] = number + 1, amount + charge.amount
    return [Spending(*key, *sums[key]) for key in sorted(sums)]


def _newly_low(before: Mapping[str, Balance], after: Iterable[Balance]) -> list[Balance]:
    return [balance for balance in after if balance.told_low and not before[balance.user_id].told_low]
