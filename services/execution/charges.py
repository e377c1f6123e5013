"""What an owner does about charges: where credits are counted, and where they are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from services.execution.charging import Charger
from services.execution.commits import Applied
from services.execution.marks import keep_marks
from services.execution.purse import Purse
from services.execution.repository.charges import ChargeRepository


class Charges(Protocol):
    """Those of the partitions of one owner."""

    @property
    def purse(self) -> Purse | None:
        """What tasks are sent against; None where they need nothing."""

    async def open(self, committed: Mapping[int, int]) -> None:
        """Partitions were taken, and nothing of them is driven yet. `committed` are the feed sequences of their last
        turns."""

    def note(self, committed: Sequence[Applied]) -> None:
        """Turns were committed."""

    def doubt(self, partition: int, committed: int) -> None:
        """It was not confirmed what was committed of a partition; it has been asked for since."""

    async def mark(self) -> None:
        """Writes down up to where all is charged."""

    async def keep_marks(self) -> None:
        """Does so again and again, until it is cancelled or there is nothing to be marked."""

    def close(self, partitions: Sequence[int]) -> None:
        """Partitions were given up."""

    def close_all(self) -> None:
        """All were."""


@dataclass(frozen=True, slots=True)
class NoCharges:
    """Where credits are not counted: what is driven there is never charged, by later owners neither."""

    rows: ChargeRepository
    replica_id: str
    purse: None = None

    async def open(self, committed: Mapping[int, int]) -> None:
        """Takes away the marks of owners who charged."""
        await self.rows.leave(self.replica_id)

    def note(self, committed: Sequence[Applied]) -> None:
        """Nothing."""

    def doubt(self, partition: int, committed: int) -> None:
        """Nothing."""

    async def mark(self) -> None:
        """Nothing."""

    async def keep_marks(self) -> None:
        """Nothing."""

    def close(self, partitions: Sequence[int]) -> None:
        """Nothing."""

    def close_all(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class CountedCharges:
    """Where each outcome that costs something is charged."""

    rows: ChargeRepository
    replica_id: str
    charger: Charger

    @property
    def purse(self) -> Purse:
        """That of the charger."""
        return self.charger.purse

    async def open(self, committed: Mapping[int, int]) -> None:
        """What costs something is charged from the marks on, or from here on where there were none."""
        for partition, charged in (await self.rows.begin(self.replica_id, committed)).items():
            self.charger.open(partition, committed[partition], charged)

    def note(self, committed: Sequence[Applied]) -> None:
        """Their outcomes are to be charged."""
        for done in committed:
            self.charger.note(done.live, done.feed_sequence, done.effects.outcomes, done.live.last_ms)

    def doubt(self, partition: int, committed: int) -> None:
        """Rows say what is to be charged."""
        self.charger.doubt(partition, committed)

    async def mark(self) -> None:
        """Writes down up to where all is charged."""
        await self.rows.note(self.replica_id, self.charger.charged())

    async def keep_marks(self) -> None:
        """Does so again and again, until it is cancelled."""
        await keep_marks("charged", self.charger.charged, partial(self.rows.note, self.replica_id))

    def close(self, partitions: Sequence[int]) -> None:
        """Their next owner charges the rest."""
        for partition in partitions:
            self.charger.close(partition)

    def close_all(self) -> None:
        """The next owners charge the rest."""
        self.charger.close_all()
