"""Which executions are in memory: those that something came for, those that are due. The rows are looked at by the
clock too, so that lost memory and lost hints are found (rule 17).
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import structlog

from services.common.database import TROUBLE
from services.execution.children import is_child
from services.execution.commands import CommandUnreadable, command_fact
from services.execution.dispatch import Dispatcher
from services.execution.driver import LATER_SECONDS, Driver
from services.execution.engine import RULES, Continued
from services.execution.engine.effects import ExecutionStatus
from services.execution.engine.state import LiveStatus
from services.execution.leases import Leases
from services.execution.live import Arrival, Beginning, Live
from services.execution.loading import CannotLoad, Loader, started
from services.execution.metrics import METRICS
from services.execution.records import CommandRow, ExecutionRow, Head, NewExecution
from services.execution.repository.turns import TurnRepository
from services.execution.unsent import Unsent

log = structlog.get_logger()

LOADS_AT_ONCE = 100
"""Executions that one query begins to load."""

RECENT = 60.0
"""Seconds: what became due lately is looked for every second, all that is due every half RECENT."""

OVERDUE = 60.0
"""Seconds after which an execution that is due and not in memory is an alert."""

MOST_OVERDUE = 1_000
"""As many of them are counted at most."""

SOON_SECONDS = 0.02
"""After so long, what came for another owner comes again. Not at once: a runner may go on calling it this one's."""

TOO_MANY_LOADS = 5
"""An execution that was loaded so often, and never came to a commit or stayed for SETTLED, is parked."""

SETTLED = 3.0
"""Seconds in memory after which a load counts as good."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """An execution as rows have it, and the commands that it has not taken."""

    live: Live
    row: ExecutionRow
    commands: list[Arrival] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Residence:
    """Loads and sweeps for a driver."""

    driver: Driver
    leases: Leases
    turns: TurnRepository
    dispatcher: Dispatcher
    loader: Loader
    unsent: Unsent
    most: int
    """Executions in memory at most; those that something came for are loaded all the same."""
    _fresh: deque[tuple[float, UUID]] = field(default_factory=deque)
    _hinted: set[UUID] = field(default_factory=set)
    _hints: asyncio.Event = field(default_factory=asyncio.Event)

    # Loading

    async def load_absent(self) -> None:
        """Loads executions that something has come for, until it is cancelled."""
        driver = self.driver
        while True:
            await driver.absent_work.wait()
            driver.absent_work.clear()
            while driver.absent:
                waiting: dict[bytes, list[Arrival]] = {}
                while driver.absent and len(waiting) < LOADS_AT_ONCE:
                    arrival = driver.absent.popleft()
                    if arrival.key in driver.live:
                        driver.arrive(arrival)
                    else:
                        waiting.setdefault(arrival.key, []).append(arrival)
                if waiting:
                    await self._load_for(waiting)

    async def _load_for(self, waiting: dict[bytes, list[Arrival]]) -> None:
        try:
            loaded = await self._load(list(waiting))
            missing = [UUID(bytes=key) for key in waiting if key not in loaded]
            alive = await self.turns.unended(missing) if missing else {}
        except TROUBLE as error:
            log.warning("executions cannot be loaded", error=repr(error))
            self.driver.excused.update(waiting)
            for arrivals in waiting.values():
                self.driver.absent.extend(arrivals)
            await asyncio.sleep(0.5)
            self.driver.absent_work.set()
            return
        for key, arrivals in waiting.items():
            useful = [arrival for arrival in arrivals if type(arrival.fact) is not Continued]
            if key in self.driver.live:
                # Its start took it up meanwhile.
                for arrival in useful:
                    self.driver.arrive(arrival)
            elif key in loaded and loaded[key].live.partition in self.leases.held:
                live = loaded[key].live
                self.driver.place(live, [*self._begin(live, loaded[key].row), *loaded[key].commands, *useful])
                self.driver.look_at_timer(live)
            elif key in loaded or UUID(bytes=key) in alive:
                partition = loaded[key].live.partition if key in loaded else alive[UUID(bytes=key)]
                # It is parked; or belongs to another owner by now, to whom what comes again is passed on.
                self.driver.leave(arrivals, LATER_SECONDS if partition in self.leases.held else SOON_SECONDS)
            else:
                self.driver.settle(arrivals)
        # Tasks that the owner before had not sent.
        self.driver.parts.sender.send()

    async def _load(self, keys: list[bytes]) -> dict[bytes, Loaded]:
        """Those of these executions that can be driven here."""
        driver = self.driver
        excused = [UUID(bytes=key) for key in keys if key in driver.excused]
        driver.excused.difference_update(keys)
        rows = await self.turns.begin_loading([UUID(bytes=key) for key in keys], list(self.leases.held), excused)
        heads = await self.turns.heads([row.execution_id for row in rows], RULES) if rows else {}
        loaded: dict[bytes, Loaded] = {}
        marks: dict[UUID, int] = {}
        for row in rows:
            # Turns of others go on between two loads.
            await asyncio.sleep(0)
            live = await self._load_one(row, heads.get(row.execution_id))
            if live is not None:
                loaded[live.key] = Loaded(live, row)
                self._fresh.append((time.monotonic(), row.execution_id))
                if row.commands > live.commands_through:
                    marks[row.execution_id] = live.commands_through
        for command in await self.turns.commands_after(marks) if marks else ():
            key = command.execution_id.bytes
            try:
                if key in loaded:
                    loaded[key].commands.append(_arrival(command))
            except CommandUnreadable as error:
                await self._park(loaded.pop(key).live.execution_id, str(error))
        return loaded

    async def _load_one(self, row: ExecutionRow, head: Head | None) -> Live | None:
        if row.loads > TOO_MANY_LOADS:
            await self._park(row.execution_id, f"it was loaded {row.loads - 1} times and never came to a commit")
            return None
        try:
            return await self.loader.load(row, head)
        except CannotLoad as error:
            await self._park(row.execution_id, str(error))
            return None

    async def _park(self, execution_id: UUID, reason: str) -> None:
        log.error("an execution is parked", execution_id=str(execution_id), reason=reason)
        await self.driver.park_row(execution_id, reason)

    def _begin(self, live: Live, row: ExecutionRow) -> list[Arrival]:
        """What an execution that comes into memory begins with: its start, or its tasks, most of which may be out."""
        state = live.machine.state
        if state.turn == 0:
            return [Arrival(live.key, started(row.inputs))]
        now = asyncio.get_running_loop().time()
        unsent = self.unsent.of(live)
        for execution in state.live.values():
            if execution.status in (LiveStatus.QUEUED, LiveStatus.RUNNING) and execution.number not in state.passing:
                if unsent.get(execution.number) == execution.attempt:
                    self.dispatcher.queue(live, execution.number, execution.attempt)
                else:
                    self.dispatcher.adopt(live, execution, now)
            elif is_child(live, execution):
                self.driver.parts.children.want(live, execution)
        # What only waits leaves memory with the turn that this causes, should nothing else come of it.
        goes_on = state.ending or state.status == ExecutionStatus.WAITING
        return [Arrival(live.key, Continued())] if goes_on else []

    # Commands

    def hint(self, execution_id: UUID) -> None:
        """There is a command for an execution, or it is new."""
        self._hinted.add(execution_id)
        self._hints.set()

    async def follow_hints(self) -> None:
        """Takes commands of executions that hints have come for, until it is cancelled. The sweep finds lost hints."""
        while True:
            await self._hints.wait()
            self._hints.clear()
            hinted, self._hinted = self._hinted, set()
            live = self.driver.live
            marks = {id_: live[id_.bytes].commands_through for id_ in hinted if id_.bytes in live}
            self._want(hinted - marks.keys())
            try:
                if marks:
                    await self._take_commands(marks)
            except TROUBLE as error:
                log.warning("commands cannot be read", error=repr(error))

    def take_new(self, row: ExecutionRow) -> None:
        """Takes up an execution that was stored a moment ago: it need not be read again."""
        if row.execution_id.bytes in self.driver.live:
            # The sweep has found it already.
            return
        topology = self.loader.knows(row.plan_hash)
        if topology is None:
            self.hint(row.execution_id)
            return
        live = self.loader.fresh(row, topology)
        self.driver.place(live, self._begin(live, row))

    def begin(self, new: NewExecution) -> asyncio.Future[ExecutionRow] | None:
        """Stores a new execution with its first turn; None if its plan is not known here."""
        topology = self.loader.knows(new.plan_hash)
        if topology is None:
            return None
        row = ExecutionRow.accepted(new, datetime.now(UTC))
        live = self.loader.fresh(row, topology)
        live.beginning = Beginning(new, asyncio.get_running_loop().create_future())
        self.driver.place(live, self._begin(live, row))
        return live.beginning.stored

    def _want(self, ids: Iterable[UUID]) -> None:
        for execution_id in ids:
            self.driver.absent.append(Arrival(execution_id.bytes, Continued()))
            self.driver.absent_work.set()

    async def _take_commands(self, marks: dict[UUID, int]) -> None:
        for command in await self.turns.commands_after(marks):
            try:
                self.driver.arrive(_arrival(command))
            except CommandUnreadable as error:
                async with self.driver.lock:
                    live = self.driver.live.get(command.execution_id.bytes)
                    if live is not None:
                        await self.driver.park(live, str(error))

    # Sweeping

    async def sweep(self) -> None:
        """Looks at the rows every second until it is cancelled."""
        try:
            await self._sweep()
        finally:
            # Nothing is driven here from now on, and nobody else says so.
            METRICS.loaded.set(0)
            METRICS.partitions.set(0)
            METRICS.overdue.set(0)
            for pool in self.dispatcher.waiting():
                METRICS.runnable.labels(pool).set(0)
                METRICS.oldest_task.labels(pool).set(0)

    async def _sweep(self) -> None:
        full = 0.0
        while True:
            held = list(self.leases.held)
            whole = bool(held) and time.monotonic() >= full
            if whole:
                full = time.monotonic() + RECENT / 2
            try:
                await self.look(held, None if whole else RECENT)
                await self._confirm_loads()
                if whole:
                    await self._count_overdue()
            except TROUBLE as error:
                log.warning("the rows cannot be looked at", error=repr(error))
            METRICS.loaded.set(len(self.driver.live))
            METRICS.partitions.set(len(self.leases.held))
            for pool, waiting in self.dispatcher.waiting().items():
                METRICS.runnable.labels(pool).set(waiting)
            for pool, seconds in self.dispatcher.waiting_longest().items():
                METRICS.oldest_task.labels(pool).set(seconds)
            await asyncio.sleep(1.0)

    async def look(self, partitions: list[int], within: float | None) -> None:
        """Loads what is due in these partitions, as far as there is room, and takes the commands of what is loaded."""
        driver = self.driver
        if not partitions:
            return
        due = await self.turns.due(partitions, within, self.most)
        here = {id_: driver.live[id_.bytes].commands_through for id_ in due if id_.bytes in driver.live}
        if here:
            await self._take_commands(here)
        room = self.most - len(driver.live)
        absent = [id_ for id_ in due if id_.bytes not in driver.live][: max(0, room)]
        self._want(absent)
        for live in list(driver.live.values()) if within is None else ():
            driver.look_at_timer(live)

    async def _count_overdue(self) -> None:
        """Those that are due for long and that nobody drives: an alert, however they came to be so (rule 17)."""
        driver = self.driver
        partitions = [*self.leases.held, *await self.leases.orphans()]
        overdue = await self.turns.overdue(partitions, OVERDUE, self.most + MOST_OVERDUE)
        METRICS.overdue.set(sum(1 for id_ in overdue if id_.bytes not in driver.live))

    async def _confirm_loads(self) -> None:
        before = time.monotonic() - SETTLED
        good: list[UUID] = []
        while self._fresh and self._fresh[0][0] < before:
            good.append(self._fresh.popleft()[1])
        if good:
            await self.turns.loaded_well(good)


def _arrival(command: CommandRow) -> Arrival:
    return Arrival(command.execution_id.bytes, command_fact(command), command=command.number)
