"""What was said and is not known to be recorded. It is kept here, in memory or on disk, until its owner says so.

A batch goes when its owner names it, or when every run with a part in it is recorded: an owner records an end only
with all outputs of that run, so the end stands for them.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from blockyard.runner.v1.heartbeat_pb2 import Holding

from services.common.bus import Message
from services.runner.casualty import NO_ENTRY, HeldRuns
from services.runner.runs import Run
from services.runner.spill import Spilled, SpillFile

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Batch:
    """A message of results. Its number stays, each deliberate sending has a message id of its own (rule 6)."""

    number: int
    subject: str
    payload: bytes | Spilled
    size: int
    runs: list[Run]
    kept_since: float
    sends: int = 1


class Kept:
    """All batches that are kept, by number, in the order in which they were made."""

    def __init__(
        self,
        runner_id: str,
        spill: SpillFile,
        table: HeldRuns,
        memory_bytes: int,
        max_runs: int,
        streamed_bytes: int,
    ) -> None:
        self._runner_id = runner_id
        self._spill = spill
        self._table = table
        self._memory_bytes = memory_bytes
        self._max_runs = max_runs
        self._streamed_bytes = streamed_bytes
        self._batches: dict[int, Batch] = {}
        self._ended_runs = 0
        self._in_memory = 0
        self.bytes = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def full(self) -> bool:
        """Whether nothing more should be taken on."""
        return self._spill.full or self._ended_runs >= self._max_runs or self._in_memory >= 2 * self._memory_bytes

    @property
    def streaming_waits(self) -> bool:
        """Whether a run with further outputs should wait for owners to catch up."""
        return self.bytes >= self._streamed_bytes

    async def changed(self) -> None:
        """Return when something has been released."""
        self._changed.clear()
        await self._changed.wait()

    def add(self, number: int, subject: str, payload: bytes, runs: list[Run]) -> None:
        """Keep a batch."""
        size = len(payload)
        place: bytes | Spilled | None = payload
        if self._in_memory + size > self._memory_bytes:
            # Where the disk has no room either, memory has to take it: it must not be lost. `full` then ends pulling.
            place = self._spill.put(payload) or payload
        if isinstance(place, bytes):
            self._in_memory += size
        self.bytes += size
        self._batches[number] = Batch(number, subject, place or payload, size, runs, time.monotonic())
        for run in runs:
            run.batches.append(number)
            if run.finish_batch == number:
                self._ended_runs += 1

    def message(self, number: int) -> Message | None:
        """The batch as it is published; None if it is not needed any more."""
        batch = self._batches.get(number)
        if batch is None:
            return None
        payload = batch.payload if isinstance(batch.payload, bytes) else self._spill.get(batch.payload)
        return Message(batch.subject, payload, f"{self._runner_id}:{number}:{batch.sends}")

    def recorded(self, number: int) -> None:
        """The owner has recorded all that is in this batch."""
        batch = self._batches.get(number)
        if batch is None:
            return
        self._release(batch)
        for run in batch.runs:
            if run.finish_batch == number:
                self._ended_runs -= 1
                self.forget(run)

    def run_recorded(self, holding: Holding) -> None:
        """The owner has recorded the end of this run, or does not want it."""
        batch = self._batches.get(holding.batch)
        for run in batch.runs if batch is not None else ():
            if run.run_id == holding.run_id and run.place == (holding.execution_id, holding.node_execution):
                self.forget(run)
                return

    def forget(self, run: Run) -> None:
        """Nothing of this run is needed any more."""
        self._table.remove(run.entry)
        run.entry = NO_ENTRY
        for number in tuple(run.batches):
            batch = self._batches[number]
            batch.runs.remove(run)
            run.batches.remove(number)
            if run.finish_batch == number:
                self._ended_runs -= 1
            if not batch.runs:
                self._release(batch)

    def resend(self, number: int) -> list[int]:
        """The batches to send again when the owner lacks this one: with it all that its runs have said."""
        batch = self._batches.get(number)
        if batch is None:
            return []
        numbers = sorted({each for run in batch.runs for each in run.batches})
        for each in numbers:
            self._batches[each].sends += 1
        return numbers

    def holdings(self, older_than: float) -> Iterator[Holding]:
        """Ended runs that have been kept for longer than so many seconds."""
        until = time.monotonic() - older_than
        for batch in self._batches.values():
            if batch.kept_since > until:
                return
            for run in batch.runs:
                if run.finish_batch == batch.number:
                    yield run.holding()

    def _release(self, batch: Batch) -> None:
        del self._batches[batch.number]
        self.bytes -= batch.size
        if isinstance(batch.payload, bytes):
            self._in_memory -= batch.size
        else:
            self._spill.remove()
        for run in batch.runs:
            run.batches.remove(batch.number)
        self._changed.set()
