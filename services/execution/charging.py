"""Charges for recorded outcomes, one each (rule 26): noted when a turn is committed, told to the account service in
batches, and found again in the rows by whoever takes a partition over.

A charge may be told twice, by two owners or after a lost answer: the account service books each node execution once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import structlog
from blockyard.account.v1.ledger_service_pb2 import Charge
from blockyard.block.costs import LARGEST_AMOUNT
from google.protobuf.timestamp_pb2 import Timestamp

from services.execution.engine import NodeOutcome
from services.execution.live import Live
from services.execution.purse import Purse
from services.execution.repository.charges import ChargeRepository, ChargeRow

MOST_PENDING = 50_000
"""Charges held in memory: past that the rows keep them."""

AT_ONCE = 5_000
"""Charges of a call: the account service takes 10,000."""

TURNS_AT_ONCE = 200
"""Turns of a partition that are looked through at once: each may have hundreds of outcomes."""

HOUR = 3_600
"""Seconds: charges that are told as one were recorded in the same hour."""

COST = b'"cost"'

log = structlog.get_logger()


class Stats(msgspec.Struct):
    """What counts of a run's stats."""

    cost: int = 0


@dataclass(slots=True, eq=False)
class Meter:
    """A partition's: up to which feed sequence all is booked, and what is known beyond."""

    offered: int
    """Newest that is known to be committed."""
    charged: int | None = None
    """None until it is known what the owner before has charged."""
    behind: bool = True
    """True while what is above `charged` is to be read from rows."""
    pending: int = 0
    """Turns with charges that wait in memory."""


class Due(NamedTuple):
    """A charge: what a recorded outcome cost."""

    execution_id: bytes
    user_id: str
    graph_id: str
    block_id: str
    amount: int
    second: int
    """When it was recorded, in Unix time."""
    node_execution: int


@dataclass(frozen=True, slots=True)
class Noted:
    """The charges of a committed turn."""

    partition: int
    meter: Meter
    feed_sequence: int
    user_id: str
    amount: int
    """Of all of them."""
    charges: Sequence[Due]


@dataclass(slots=True, eq=False)
class Charger:
    """Knows what is to be told of the partitions held here."""

    purse: Purse
    rows: ChargeRepository
    _meters: dict[int, Meter] = field(default_factory=dict)
    _noted: deque[Noted] = field(default_factory=deque)
    _count: int = 0

    # What the owner says

    def expect(self, partition: int, committed: int) -> None:
        """A partition was taken. What is committed before it is opened is read from rows."""
        self._meters[partition] = Meter(committed)

    def open(self, partition: int, charged: int) -> None:
        """It is known up to where the last owner has told charges; what it has not told is read from rows."""
        meter = self._meters.get(partition)
        if meter is not None:
            meter.charged, meter.behind = charged, charged < meter.offered

    def close(self, partition: int) -> None:
        """The partition was given up: its next owner tells the rest."""
        if self._meters.pop(partition, None) is not None:
            self._drop(lambda noted: noted.partition == partition)

    def close_all(self) -> None:
        """No partition is held any more."""
        for partition in list(self._meters):
            self.close(partition)

    def doubt(self, partition: int, committed: int) -> None:
        """After a commit that was not confirmed: rows say what is to be charged."""
        meter = self._meters.get(partition)
        if meter is not None:
            self._leave_to_rows(meter)
            meter.offered = max(meter.offered, committed)

    def note(self, partition: int, feed_sequence: int, charges: Sequence[Due]) -> None:
        """A turn of one execution was committed, with these charges."""
        meter = self._meters.get(partition)
        if meter is None:
            return
        meter.offered = feed_sequence
        if meter.behind:
            return
        if not charges:
            if not meter.pending:
                meter.charged = feed_sequence
            return
        if len(charges) > AT_ONCE or self._count + len(charges) > MOST_PENDING:
            self._leave_to_rows(meter)
            return
        amount = sum([charge.amount for charge in charges])
        noted = Noted(partition, meter, feed_sequence, charges[0].user_id, amount, charges)
        self.purse.owes(noted.user_id, noted.amount)
        self._noted.append(noted)
        self._count += len(charges)
        meter.pending += 1

    def _leave_to_rows(self, meter: Meter) -> None:
        meter.behind = True
        meter.pending = 0
        self._drop(lambda noted: noted.meter is meter)

    def _drop(self, which: Callable[[Noted], bool]) -> None:
        kept: deque[Noted] = deque()
        for noted in self._noted:
            if which(noted):
                self._forget(noted)
            else:
                kept.append(noted)
        self._noted = kept

    def _forget(self, noted: Noted) -> None:
        self._count -= len(noted.charges)
        self.purse.forget(noted.user_id, noted.amount)

    # What is to be told

    @property
    def pending(self) -> int:
        """Charges that wait in memory."""
        return self._count

    def next(self) -> list[Noted]:
        """What to tell next; it stays noted until it is `booked`."""
        batch: list[Noted] = []
        count = 0
        for noted in self._noted:
            if count and count + len(noted.charges) > AT_ONCE:
                break
            batch.append(noted)
            count += len(noted.charges)
        return batch

    def booked(self, batch: list[Noted]) -> None:
        """The account service has these."""
        told = {id(noted) for noted in batch}
        while self._noted and id(self._noted[0]) in told:
            noted = self._noted.popleft()
            self._forget(noted)
            meter = noted.meter
            meter.pending -= 1
            meter.charged = noted.feed_sequence if meter.pending else meter.offered

    def behind(self) -> list[int]:
        """Partitions of which rows have charges to be told."""
        return [partition for partition, meter in self._meters.items() if meter.behind]

    async def read(self, partition: int) -> tuple[list[Due], int] | None:
        """The next charges of a partition that is behind, and the feed sequence up to which these are all; None if
        there are none to be seen."""
        meter = self._meters.get(partition)
        if meter is None or meter.charged is None or not meter.behind:
            return None
        if meter.charged >= meter.offered:
            meter.behind = False
            return None
        found, through = await self.rows.after(partition, meter.charged, meter.offered, TURNS_AT_ONCE)
        if through == meter.charged:
            # What is known to be committed is not to be seen yet.
            return None
        charges = [_due(row, amount) for row in found if (amount := cost_of(row.stats)) > 0]
        return charges, through

    def read_and_booked(self, partition: int, through: int) -> None:
        """The account service has what was read of a partition."""
        meter = self._meters.get(partition)
        if meter is not None and meter.charged is not None and meter.behind:
            meter.charged = max(meter.charged, through)

    def charged(self) -> dict[int, int]:
        """Feed sequence by partition up to which everything is booked."""
        return {partition: meter.charged for partition, meter in self._meters.items() if meter.charged is not None}


def charges_of(live: Live, outcomes: Iterable[NodeOutcome], purse: Purse) -> list[Due]:
    """What a turn of an execution costs; the purse gets to know what its blocks cost."""
    nodes = live.machine.topology.plan.nodes
    charges: list[Due] = []
    for outcome in outcomes:
        if COST not in outcome.stats:
            continue
        block_id = nodes[outcome.node].block_id
        amount = cost_of(outcome.stats)
        purse.costs(block_id, amount)
        if amount > 0:
            second = live.last_ms // 1000
            charges.append(Due(live.key, live.user_id, live.graph_id, block_id, amount, second, outcome.number))
    return charges


def cost_of(stats: bytes) -> int:
    """Credits that a run cost, as its runner said with its outcome."""
    if COST not in stats:
        return 0
    try:
        cost = msgspec.json.decode(stats, type=Stats).cost
    except (msgspec.MsgspecError, RecursionError):
        # A runner of another making may say something else by this name.
        return 0
    if cost > LARGEST_AMOUNT:
        log.error("a run that costs more than anything may is not charged", cost=cost)
        return 0
    return max(0, cost)


def together(charges: Iterable[Due]) -> list[Charge]:
    """Messages that say the same: one for those of a block in an execution that cost as much each."""
    numbers: dict[tuple[bytes, str, int, int], list[int]] = {}
    first: list[Due] = []
    for charge in charges:
        key = charge.execution_id, charge.block_id, charge.amount, charge.second // HOUR
        if (others := numbers.get(key)) is not None:
            others.append(charge.node_execution)
        else:
            numbers[key] = []
            first.append(charge)
    return [
        Charge(
            execution_id=charge.execution_id,
            node_execution=charge.node_execution,
            user_id=charge.user_id,
            graph_id=charge.graph_id,
            block_id=charge.block_id,
            amount=charge.amount,
            time=Timestamp(seconds=charge.second),
            further_node_executions=further,
        )
        for charge, further in zip(first, numbers.values(), strict=True)
    ]


def _due(row: ChargeRow, amount: int) -> Due:
    return Due(row.execution_id, row.user_id, row.graph_id, row.block_id, amount, row.ended_ms // 1000, row.number)
