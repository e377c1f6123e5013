"""Commits turns: many executions in one transaction, and who asks learns what became of each."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import asyncpg
import structlog

from services.common.backoff import delays
from services.common.database import TROUBLE
from services.execution.engine import Effects
from services.execution.engine.effects import ExecutionStatus
from services.execution.feed import Publisher
from services.execution.leases import Leases
from services.execution.live import Arrival, Live
from services.execution.metrics import METRICS
from services.execution.repository.turns import LeaseLost, TurnBatch, TurnRepository

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Applied:
    """An execution's part of a turn, between apply and commit."""

    live: Live
    effects: Effects
    events: bytes
    """The EventBatch of the turn."""
    rows: TurnBatch
    facts: int
    arrivals: list[Arrival]
    """What it took in: acknowledged after the commit."""
    unload: bool
    feed_sequence: int = 0
    """Drawn when it is written."""


@dataclass(slots=True)
class Outcome:
    """What became of the parts of a turn."""

    stored: list[Applied] = field(default_factory=list)
    taken: list[Applied] = field(default_factory=list)
    """New executions that were not stored, since others have their request ids: stored ones, or some of this turn."""
    spoiled: list[tuple[Applied, str]] = field(default_factory=list)
    """Cannot be stored, however often it is tried, and why."""
    void: list[Applied] = field(default_factory=list)
    """Not stored, since the lease does not hold any more."""
    unknown: list[Applied] = field(default_factory=list)
    """Nobody knows: the rows do, when they can be asked again."""
    error: Exception | None = None
    """What leaves open whether new executions are among the stored; None if it is certain that they are not."""


@dataclass(slots=True, eq=False)
class Commits:
    """Writes turns, one after the other."""

    leases: Leases
    turns: TurnRepository
    publisher: Publisher
    _pauses: Iterator[float] = field(default_factory=delays)
    """After commits that were not confirmed, from the first of them on."""

    async def write(self, applied: Sequence[Applied]) -> Outcome:
        """Writes a turn. A data error is narrowed down to the execution that has it."""
        outcome = Outcome()
        await self._write(applied, outcome)
        _count(outcome.stored)
        return outcome

    async def _write(self, applied: Sequence[Applied], outcome: Outcome) -> None:
        if outcome.unknown:
            # Where the feed stands is not known either.
            outcome.unknown += applied
            return
        if not self.leases.valid:
            outcome.void += applied
            return
        for done in applied:
            done.feed_sequence = self.publisher.next_sequence(done.live.partition)
        try:
            with METRICS.commit_seconds.time():
                await self.turns.write(
                    self.leases.replica_id,
                    TurnBatch.merged([done.rows for done in applied]),
                    [done.feed_sequence for done in applied],
                )
        except LeaseLost as error:
            log.error("a turn was refused", reason=str(error))
            self.leases.lost.set()
            outcome.void += applied
        except asyncpg.DataError as error:
            for done in applied:
                self.publisher.take_back(done.live.partition)
            await self._narrow(applied, error, outcome)
        except asyncpg.UniqueViolationError as error:
            for done in applied:
                self.publisher.take_back(done.live.partition)
            await self._leave_out(applied, error, outcome)
        except TROUBLE as error:
            log.error("a commit was not confirmed", error=repr(error), executions=len(applied))
            outcome.unknown += applied
            outcome.error = error
        else:
            self._pauses = delays()
            outcome.stored += applied

    async def _narrow(self, applied: Sequence[Applied], error: asyncpg.DataError, outcome: Outcome) -> None:
        if len(applied) == 1:
            outcome.spoiled.append((applied[0], str(error)))
            return
        middle = len(applied) // 2
        await self._write(applied[:middle], outcome)
        await self._write(applied[middle:], outcome)

    async def _leave_out(
        self, applied: Sequence[Applied], error: asyncpg.UniqueViolationError, outcome: Outcome
    ) -> None:
        """Writes what is left without new executions whose request ids are taken, by others or by each other."""
        requests = [done.live.request for done in applied]
        try:
            taken = await self.turns.taken([request for request in requests if request is not None])
        except TROUBLE as away:
            log.error("a turn cannot be narrowed down", error=repr(away), executions=len(applied))
            outcome.unknown += applied
            return
        rest: list[Applied] = []
        for done, request in zip(applied, requests, strict=True):
            if request in taken:
                outcome.taken.append(done)
                continue
            rest.append(done)
            if request is not None:
                taken.add(request)
        if len(rest) == len(applied):
            log.error("a turn is there already", error=str(error))
            outcome.unknown += applied
        elif rest:
            await self._write(rest, outcome)

    async def find_out(self, partitions: set[int]) -> None:
        """After a commit that was not confirmed: returns when the rows can be asked, and knows where the feeds stand.

        A disk that is full lets rows be read, so the pauses grow from one failed commit to the next.
        """
        while not self.leases.lost.is_set():
            await asyncio.sleep(next(self._pauses))
            try:
                sequences = await self.turns.feed_sequences(self.leases.replica_id, list(partitions))
            except TROUBLE as error:
                log.warning("the rows cannot be asked what was committed", error=repr(error))
                continue
            for partition, sequence in sequences.items():
                self.publisher.restore(partition, sequence)
            return


def _count(committed: Sequence[Applied]) -> None:
    """For Prometheus."""
    statuses = Counter(outcome.status for done in committed for outcome in done.effects.outcomes)
    for status, count in statuses.items():
        METRICS.node_executions.labels(status.name.lower()).inc(count)
    for live in [done.live for done in committed]:
        state = live.machine.state
        if state.turn == 1:
            METRICS.executions_started.inc()
        if live.machine.ended:
            METRICS.executions_ended.labels(ExecutionStatus(state.status).name.lower()).inc()
            METRICS.execution_seconds.observe((live.last_ms - state.started_ms) / 1000)
