"""Drives the executions of the partitions held here: take what has come, apply, commit, then tell (DESIGN 5).

One turn handles many executions in one transaction. Only after its commit are tasks and events published and results
acknowledged; after one that was not confirmed, all that it touched leaves memory and is loaded again from rows. So a
turn is safe to lose at any point, and each arrival is safe to come twice.

An execution whose turn has large values waits for the blob store between apply and commit (keeping.py).
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from services.common.database import TROUBLE
from services.common.errors import Unavailable
from services.execution import telling
from services.execution.charges import Charges
from services.execution.children import Children, is_child
from services.execution.commits import Applied, Commits
from services.execution.dispatch import Dispatcher
from services.execution.engine import Claimed, Continued, Reported, RunLost, Started, Ticked
from services.execution.engine.effects import ExecutionStatus
from services.execution.feed import Publisher, Told, message_of
from services.execution.instructions import Instructions
from services.execution.keeping import Keepings, Step
from services.execution.leases import Leases
from services.execution.live import Arrival, Inbox, Live, NotBegun
from services.execution.metrics import METRICS
from services.execution.recording import row_of, rows_of
from services.execution.repository.turns import TurnRepository
from services.execution.runners import Runners
from services.execution.sending import TaskSender
from services.execution.snapshots import Snapshots
from services.execution.watching import Watchers

log = structlog.get_logger()

NEAR_MS = 60_000
"""Timers that are due within this time are kept in a heap; the sweep finds the others in time."""

LATER_SECONDS = 5.0
"""After so long, what cannot be taken in now comes again."""

PARKED_SECONDS = 3_600.0
"""When an execution that cannot be driven is looked at again."""


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Bounds of a turn, and when a waiting execution leaves memory."""

    arrivals: int
    bytes: int
    unload_after_ms: int


@dataclass(slots=True, eq=False)
class Parts:
    """What the driver works with."""

    leases: Leases
    turns: TurnRepository
    commits: Commits
    inbox: Inbox
    dispatcher: Dispatcher
    sender: TaskSender
    publisher: Publisher
    runners: Runners
    instructions: Instructions
    watchers: Watchers
    snapshots: Snapshots
    keepings: Keepings
    children: Children
    charges: Charges


@dataclass(slots=True, eq=False)
class Driver:
    """The turn loop and the executions in memory."""

    parts: Parts
    limits: TurnLimits
    live: dict[bytes, Live] = field(default_factory=dict)
    absent: deque[Arrival] = field(default_factory=deque)
    """Arrivals for executions that are not in memory: the loader's work."""
    absent_work: asyncio.Event = field(default_factory=asyncio.Event)
    excused: set[bytes] = field(default_factory=set)
    """Executions whose next load has a cause outside of them."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held during a turn."""
    catching_up: set[int] = field(default_factory=set)
    """Partitions whose results of before the take-over have not all come: no timer of theirs fires yet (rule 18)."""
    in_doubt: bool = False
    """While rows cannot be asked what became of a commit: there are no turns meanwhile."""
    _turn_done: asyncio.Event = field(default_factory=asyncio.Event)
    _timers: list[tuple[int, bytes]] = field(default_factory=list)
    _in_turn: set[bytes] = field(default_factory=set)
    _most: int = 0
    """Arrivals of a turn at most, fewer than the limit after a commit that was not confirmed; 0 is the limit."""

    # In

    def arrive(self, arrival: Arrival) -> None:
        """Something has come for an execution."""
        self.parts.inbox.add(arrival)

    def place(self, live: Live, arrivals: Sequence[Arrival]) -> None:
        """An execution comes into memory, with what has come for it."""
        self.live[live.key] = live
        self.parts.inbox.add_first(live.key, arrivals)

    def remove(self, live: Live) -> None:
        """An execution leaves memory; rows have it."""
        if self.live.get(live.key) is live:
            del self.live[live.key]
        live.gone = True
        # Unless something else was said before.
        live.fail_to_begin(NotBegun())
        for number in live.machine.state.live:
            self.parts.dispatcher.forget((live.key, number))
        self._hand_back(self.parts.keepings.give_up(live))

    def begin_none(self) -> None:
        """Drops new executions that wait for their first turn: whoever waits for it need not wait on."""
        for live in [live for live in self.live.values() if live.beginning is not None]:
            self.remove(live)

    async def caught_up(self) -> None:
        """Returns when all that has arrived so far has had its turn."""
        inbox = self.parts.inbox
        newest = inbox.newest
        while inbox.oldest <= newest:
            await self._turn_done.wait()

    @property
    def backlog(self) -> int:
        """Arrivals that wait for a turn."""
        return len(self.parts.inbox)

    def is_uncommitted(self, key: bytes) -> bool:
        """True if the execution's state has a turn behind it that may not come to be."""
        return key in self._in_turn or key in self.parts.keepings

    def look_at_timer(self, live: Live) -> None:
        """Keeps the execution's next timer in mind if it is near."""
        due = live.machine.wake_ms
        if live.partition in self.catching_up:
            return
        if due is not None and due != live.timer_ms and due - self.parts.leases.now_ms() < NEAR_MS:
            live.timer_ms = due
            heapq.heappush(self._timers, (due, live.key))
            self.parts.inbox.work.set()

    # The loop

    async def run(self) -> None:
        """Takes turns until it is cancelled."""
        while True:
            await self._wait()
            self._fire_timers()
            async with self.lock:
                await self._turn()
            self._turn_done.set()
            self._turn_done.clear()
            # Lets what has come in meanwhile be read before the next turn gathers.
            await asyncio.sleep(0)

    async def _wait(self) -> None:
        inbox = self.parts.inbox
        if inbox or self.parts.keepings.ready:
            return
        inbox.work.clear()
        pause = None
        if self._timers:
            pause = max(0.0, (self._timers[0][0] - self.parts.leases.now_ms()) / 1000)
        try:
            async with asyncio.timeout(pause):
                await inbox.work.wait()
        except TimeoutError:
            return

    def _fire_timers(self) -> None:
        now = self.parts.leases.now_ms()
        while self._timers and self._timers[0][0] <= now:
            _, key = heapq.heappop(self._timers)
            live = self.live.get(key)
            if live is not None:
                live.timer_ms = 0
                due = live.machine.wake_ms
                if due is not None and due <= now:
                    self.arrive(Arrival(key, Ticked()))

    async def _turn(self) -> None:
        groups = self._gather()
        kept = self.parts.keepings.take()
        if not groups and not kept:
            return
        self._in_turn = {live.key for live in groups} | {keeping.step.live.key for keeping in kept}
        applied: list[Applied] = []
        for keeping in kept:
            if keeping.error is not None:
                await self._park_as_failed(keeping.step.live, keeping.step.arrivals, keeping.error)
            else:
                await self._record(keeping.step, applied)
        now_ms = self.parts.leases.now_ms()
        for live, arrivals in groups.items():
            step = await self._apply(live, arrivals, now_ms)
            if step is None:
                continue
            if not step.has_large_values:
                await self._record(step, applied)
            elif live.beginning is None:
                self.parts.keepings.add(step)
            else:
                # Who starts an execution does not wait for the blob store: it is stored without its first turn.
                self.remove(live)
        if applied:
            await self._commit(applied)
        self._in_turn = set()

    def _gather(self) -> dict[Live, list[Arrival]]:
        groups: dict[Live, list[Arrival]] = {}
        count = size = 0
        most = min(self.limits.arrivals, self._most or self.limits.arrivals)
        inbox = self.parts.inbox
        while inbox and count < most and size < self.limits.bytes:
            arrival = inbox.take()
            live = self.live.get(arrival.key)
            if live is None:
                self.absent.append(arrival)
                self.absent_work.set()
                continue
            if arrival.key in self.parts.keepings:
                if not self.parts.keepings.hold(arrival):
                    self.leave([arrival])
                continue
            groups.setdefault(live, []).append(arrival)
            count += 1
            fact = arrival.fact
            if type(fact) is Reported:
                size += sum(len(output.value) for output in fact.outputs)
            elif type(fact) is Started:
                size += sum(len(value) for value in fact.inputs.values())
        return groups

    # Apply

    async def _apply(self, live: Live, arrivals: list[Arrival], now_ms: int) -> Step | None:
        facts = [arrival.fact for arrival in arrivals if self._becomes_fact(live, arrival)]
        if not facts:
            self.settle(arrivals)
            return None
        now_ms = max(now_ms, live.last_ms)
        live.last_ms = now_ms
        try:
            effects = live.machine.apply(facts, now_ms)
            return Step(live, facts, effects, effects.checksum(), now_ms, arrivals)
        except Exception as error:
            log.exception("an execution cannot go on: it is parked", execution_id=str(live.execution_id))
            await self._park_as_failed(live, arrivals, error)
            return None

    def _becomes_fact(self, live: Live, arrival: Arrival) -> bool:
        """False for what would change nothing: late duplicates, commands taken before."""
        fact = arrival.fact
        if type(fact) is Started:
            begins, live.begun = not live.begun, True
            return begins
        if type(fact) is Reported:
            if not live.machine.wants(fact):
                return False
            if fact.finish is not None and not fact.finish.failed:
                node = live.machine.state.live[fact.number].node
                block_id = live.machine.topology.plan.nodes[node].block_id
                self.parts.dispatcher.took(block_id, fact.finish.duration_us)
            return True
        if type(fact) is Claimed:
            execution = live.machine.state.live.get(fact.number)
            return execution is not None and execution.attempt == fact.attempt and not execution.claimed_run
        if arrival.command:
            if arrival.command <= live.commands_through:
                return False
            live.commands_through = arrival.command
        return True

    async def _record(self, step: Step, applied: list[Applied]) -> None:
        """Adds the rows of an execution's part of the turn."""
        live, effects, state = step.live, step.effects, step.live.machine.state
        wake_ms = live.machine.wake_ms
        unload = (
            state.status == ExecutionStatus.WAITING
            and not effects.more
            and wake_ms is not None
            and wake_ms - step.now_ms > self.limits.unload_after_ms
            and not any(is_child(live, execution) for execution in effects.awaited)
            and not self.parts.children.holds(live)
        )
        try:
            events = telling.event_batch(live, effects, step.now_ms)
            rows = rows_of(live, step.facts, effects, step.checksum, events, step.now_ms, unload)
        except Exception as error:
            log.exception("an execution cannot go on: it is parked", execution_id=str(live.execution_id))
            await self._park_as_failed(live, step.arrivals, error)
            return
        applied.append(Applied(live, effects, events, rows, len(step.facts), step.arrivals, unload))

    async def _park_as_failed(self, live: Live, arrivals: list[Arrival], error: Exception) -> None:
        await self.park(live, f"the engine failed: {error!r}")
        self.leave(arrivals)

    # Commit

    async def _commit(self, applied: list[Applied]) -> None:
        try:
            outcome = await self.parts.commits.write(applied)
        except BaseException:
            # The replica ends in the middle of it.
            for done in applied:
                done.live.fail_to_begin(Unavailable("It is not known whether the execution was stored. Try again."))
            raise
        self._tell(outcome.stored)
        for done in outcome.taken:
            # What has its request id may not be stored in the end either: who stores it without a turn finds out.
            self.remove(done.live)
        self._forsake(outcome.void, NotBegun())
        self._forsake(outcome.unknown, outcome.error or NotBegun())
        # After all others know: the replica may end while the database is asked.
        for done, reason in outcome.spoiled:
            log.error("an execution's turn cannot be stored", execution_id=str(done.live.execution_id), error=reason)
            await self.park(done.live, f"its turn cannot be stored: {reason}")
            self.leave(done.arrivals)
        if outcome.unknown:
            self.begin_none()
            # It may have taken too long, and would again: what comes back together is then stored in parts.
            self._most = max(1, sum(len(done.arrivals) for done in outcome.unknown) // 2)
            self.in_doubt = True
            partitions = {done.live.partition for done in applied}
            await self.parts.commits.find_out(partitions)
            for partition in partitions:
                self.parts.charges.doubt(partition, self.parts.publisher.committed(partition))
            self.in_doubt = False
        elif outcome.stored:
            self._most = 0 if self._most >= self.limits.arrivals else 2 * self._most

    def _forsake(self, applied: list[Applied], error: Exception) -> None:
        """Drops executions whose turn was not committed, to be loaded again; their messages are handed back.

        The error is for those who wait for a first turn.
        """
        for done in applied:
            key = done.live.key
            self.excused.add(key)
            done.live.fail_to_begin(error)
            self.remove(done.live)
            self._hand_back(done.arrivals)
            # Loaded at once, though nothing else may come for it.
            self.absent.append(Arrival(key, Continued()))
            self.absent_work.set()
        # Their states have the turn behind them: what ended in it is not alive there, and yet in flight.
        self.parts.dispatcher.forget_all_of({done.live for done in applied})

    def _hand_back(self, arrivals: Sequence[Arrival]) -> None:
        """What was taken in and not committed: messages come again, claims are asked again, and with the load come its
        start, its timers and its commands. What the owner itself has found out is the loader's to bring."""
        for arrival in arrivals:
            if arrival.receipt is not None:
                arrival.receipt.hand_back()
            elif isinstance(arrival.fact, RunLost):
                self.absent.append(arrival)
                self.absent_work.set()

    async def park(self, live: Live, reason: str) -> None:
        """Puts an execution aside that cannot be driven. Others go on."""
        self.remove(live)
        self.parts.dispatcher.forget_all_of([live])
        # A new one has no row yet: it is stored without its first turn now, and is parked when it comes to that again.
        if live.beginning is None:
            await self.park_row(live.execution_id, reason)

    async def park_row(self, execution_id: UUID, reason: str) -> None:
        """Parks an execution that is not in memory."""
        METRICS.parked.inc()
        try:
            await self.parts.turns.park(
                self.parts.leases.replica_id, execution_id, telling.scrub(reason)[:2000], PARKED_SECONDS
            )
        except TROUBLE as error:
            log.error("an execution could not be parked", execution_id=str(execution_id), error=repr(error))

    # Tell

    def _tell(self, committed: list[Applied]) -> None:
        for done in committed:
            live = done.live
            live.facts += done.facts
            live.reloaded = False
            live.stored_status = live.machine.state.status
            if live.beginning is not None:
                live.beginning.done(row_of(live, live.beginning.new))
                live.beginning = None
            self._hand_out(done)
            if done.events:
                self._publish(done)
            if live.machine.ended:
                self.parts.children.ended(live)
            if live.machine.ended or done.unload:
                self.remove(live)
            else:
                if done.effects.more:
                    self.arrive(Arrival(live.key, Continued()))
                self.look_at_timer(live)
                self.parts.snapshots.consider(live)
        self.settle([arrival for done in committed for arrival in done.arrivals])
        self.parts.charges.note(committed)
        self.parts.sender.send()

    def _hand_out(self, done: Applied) -> None:
        """Tasks to the dispatcher; runs that go on in vain are told to their runners."""
        live, dispatcher = done.live, self.parts.dispatcher
        ended = {
            arrival.fact.number
            for arrival in done.arrivals
            if isinstance(arrival.fact, Reported) and arrival.fact.finish is not None
        }
        unknown: list[int] = []
        for number in done.effects.dropped:
            place = (live.key, number)
            if dispatcher.forget(place) is not None and number not in ended:
                holder = self.parts.runners.holder(place)
                if holder is not None:
                    self.parts.instructions.drop(holder, live, number)
                else:
                    unknown.append(number)
        if unknown:
            # Its runner may have begun with it since its last heartbeat.
            self.parts.instructions.drop_anywhere(self.parts.runners.ids(), live, unknown)
        alive = live.machine.state.live
        for execution in done.effects.queued:
            if execution.number in alive:
                dispatcher.queue(live, execution.number, execution.attempt)
        for execution in done.effects.awaited:
            if execution.number in alive and is_child(live, execution):
                self.parts.children.want(live, execution)

    def _publish(self, done: Applied) -> None:
        live, state = done.live, done.live.machine.state
        first, last = state.events - len(done.effects.events) + 1, state.events
        message = message_of(
            user_id=live.user_id,
            graph_id=live.graph_id,
            execution_id=str(live.execution_id),
            payload=done.events,
            first=first,
            last=last,
            kinds=telling.kinds(done.effects),
            time=telling.time_text(live.last_ms),
            place=self.parts.publisher.place(live.partition, done.feed_sequence),
        )
        self.parts.publisher.offer(Told(live.partition, done.feed_sequence, message, live.machine.ended))
        self.parts.watchers.tell(live.key, done.events)
        self.parts.watchers.recent.add(live.key, done.events, first, last)

    def settle(self, arrivals: Sequence[Arrival]) -> None:
        """What was committed, or is void, is acknowledged; runners may forget it."""
        for arrival in arrivals:
            if arrival.answer is not None:
                self._answer_claim(arrival)
            receipt = arrival.receipt
            if receipt is None:
                continue
            receipt.remaining -= 1
            if receipt.remaining == 0:
                receipt.acknowledge()
                if receipt.batch:
                    self.parts.instructions.recorded(receipt)

    def leave(self, arrivals: Sequence[Arrival], seconds: float = LATER_SECONDS) -> None:
        """What cannot be taken in now is neither recorded nor void: results come again then, claims are asked again."""
        for receipt in {id(arrival.receipt): arrival.receipt for arrival in arrivals if arrival.receipt}.values():
            receipt.hand_back_later(seconds)

    def _answer_claim(self, arrival: Arrival) -> None:
        assert arrival.answer is not None
        assert isinstance(arrival.fact, Claimed)
        live = self.live.get(arrival.key)
        execution = live.machine.state.live.get(arrival.fact.number) if live is not None else None
        if execution is None or execution.attempt != arrival.fact.attempt:
            arrival.answer(False, "the node execution is not wanted any more")
        elif not execution.claimed_run:
            arrival.answer(False, "it has been stopped or given up")
        elif execution.claimed_run != arrival.fact.run:
            arrival.answer(False, "another run has claimed it")
        else:
            arrival.answer(True, "")
