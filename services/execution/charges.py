"""What an owner does about charges: nothing where credits are not counted, and what must be done where they are."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from services.execution.charging import Charger, charges_of
from services.execution.commits import Applied
from services.execution.marks import keep_marks
from services.execution.purse import Purse
from services.execution.repository.charges import ChargeRepository


class Charges:
    """Where credits are not counted: what is driven there is never charged, by later owners neither."""

    purse: Purse | None = None
    """What tasks are sent against; None where they need nothing."""

    def __init__(self, rows: ChargeRepository, replica_id: str) -> None:
        self._rows = rows
        self._replica_id = replica_id

    def expect(self, partition: int, committed: int) -> None:
        """A partition was taken; `committed` is the feed sequence of its last turn. It may be driven from now on."""

    async def open(self, committed: Mapping[int, int]) -> None:
        """Looks into the rows of partitions that were expected, for what their owners before have charged."""
        await self._rows.leave(self._replica_id)

    def note(self, committed: Sequence[Applied]) -> None:
        """Turns were committed."""

    def doubt(self, partition: int, committed: int) -> None:
        """It was not confirmed what was committed of a partition; it has been asked for since."""

    async def mark(self) -> None:
        """Writes down up to where all is charged."""

    async def keep_marks(self) -> None:
        """Does so again and again, until it is cancelled or there is nothing to be marked."""

    def close(self, partitions: Iterable[int]) -> None:
        """Partitions were given up."""

    def close_all(self) -> None:
        """All were."""


class CountedCharges(Charges):
    """Where each outcome that costs something is charged."""

    def __init__(self, rows: ChargeRepository, replica_id: str, charger: Charger) -> None:
        super().__init__(rows, replica_id)
        self.purse = charger.purse
        self._charger = charger

    def expect(self, partition: int, committed: int) -> None:
        """What is committed from now on is charged, whatever rows say of before."""
        self._charger.expect(partition, committed)

    async def open(self, committed: Mapping[int, int]) -> None:
        """Charges from the marks of the owners before on, or from here on where there are none."""
        for partition, charged in (await self._rows.begin(self._replica_id, committed)).items():
            self._charger.open(partition, charged)

    def note(self, committed: Sequence[Applied]) -> None:
        """Their outcomes are to be charged."""
        for done in committed:
            charges = charges_of(done.live, done.effects.outcomes, self._charger.purse)
            self._charger.note(done.live.partition, done.feed_sequence, charges)

    def doubt(self, partition: int, committed: int) -> None:
        """Rows say what is to be charged."""
        self._charger.doubt(partition, committed)

    async def mark(self) -> None:
        """Writes down up to where all is charged."""
        await self._rows.note(self._replica_id, self._charger.charged())

    async def keep_marks(self) -> None:
        """Does so again and again, until it is cancelled."""
        await keep_marks("charged", self._charger.charged, partial(self._rows.note, self._replica_id))

    def close(self, partitions: Iterable[int]) -> None:
        """Their next owners charge the rest."""
        for partition in partitions:
            self._charger.close(partition)

    def close_all(self) -> None:
        """The next owners charge the rest."""
        self._charger.close_all()
