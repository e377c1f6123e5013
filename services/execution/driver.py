"""Drives the executions of the partitions held here: take what has come, apply, commit, then tell (DESIGN 5).

One turn handles many executions in one transaction. Only after its commit are tasks and events published and results
acknowledged; after one that was not confirmed, all that it touched leaves memory and is loaded again from rows. So a
turn is safe to lose at any point, and each arrival is safe to come twice.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import structlog
from blockyard.runner.v1.heartbeat_pb2 import Instruction
from blockyard.runner.v1.task_pb2 import Task

from services.common.backoff import delays
from services.common.blobs import BlobStoreAway
from services.common.bus import Ack, Bus, Message, Refusal
from services.execution import telling
from services.execution.dispatch import Dispatcher, Outgoing, Sent
from services.execution.engine import Claimed, Continued, Effects, Fact, Reported, RunLost, Started, Ticked
from services.execution.engine.effects import ExecutionStatus
from services.execution.engine.plan import Reason
from services.execution.feed import Publisher, Told, message_of
from services.execution.large_values import LIMIT, LargeValues
from services.execution.leases import Leases
from services.execution.live import Arrival, Inbox, Live, Receipt
from services.execution.loading import encode_facts
from services.execution.metrics import METRICS
from services.execution.repository.errors import DATABASE_ERRORS
from services.execution.repository.turns import LeaseLost, TurnBatch, TurnRepository
from services.execution.runners import Runners
from services.execution.snapshots import Snapshots
from services.execution.watching import Watchers

log = structlog.get_logger()

NEAR_MS = 60_000
"""Timers that are due within this time are kept in a heap; the sweep finds the others in time."""

PARKED_SECONDS = 3_600.0
"""When an execution that cannot be driven is looked at again."""

RECORDED_PAUSE = 0.02
"""Seconds for which recorded results are gathered before their runners are told."""

REFUSED_PAUSE = 0.25
"""Seconds before tasks that the stream refused are sent again."""


@dataclass(slots=True, eq=False)
class Applied:
    """An execution's part of a turn, between apply and commit."""

    live: Live
    effects: Effects
    events: bytes
    feed_sequence: int
    rows: TurnBatch
    facts: int
    settled: list[Arrival]
    unload: bool = False


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
    dispatcher: Dispatcher
    publisher: Publisher
    runners: Runners
    bus: Bus
    watchers: Watchers
    snapshots: Snapshots
    large_values: LargeValues
    stream_missing: Callable[[], None]
    """Told when a stream that is published into is not there."""


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
    in_turn: set[bytes] = field(default_factory=set)
    """Executions whose states have a turn behind them that is not committed yet."""
    turns: int = 0
    _turn_done: asyncio.Event = field(default_factory=asyncio.Event)
    _inbox: Inbox = field(default_factory=Inbox)
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _timers: list[tuple[int, bytes]] = field(default_factory=list)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)
    _most: int = 0
    """Arrivals of a turn at most, fewer than the limit after a commit that was not confirmed; 0 is the limit."""
    _refused: bool = False
    """True while tasks wait for REFUSED_PAUSE to be over: whatever else comes, nothing is sent before."""
    _recorded: dict[str, Instruction] = field(default_factory=dict)
    """By runner: which of its results are recorded and not yet told to be."""
    _failed_commits: Iterator[float] = field(default_factory=delays)
    """Pauses after commits that were not confirmed, from the first of them on."""

    # In

    def arrive(self, arrival: Arrival) -> None:
        """Something has come for an execution."""
        self._inbox.add(arrival)
        self._work.set()

    def place(self, live: Live, arrivals: Sequence[Arrival]) -> None:
        """An execution comes into memory, with what has come for it."""
        self.live[live.key] = live
        self._inbox.add_first(live.key, arrivals)
        self._work.set()

    def remove(self, live: Live) -> None:
        """An execution leaves memory; rows have it."""
        if self.live.get(live.key) is live:
            del self.live[live.key]
        live.gone = True
        for number in live.machine.state.live:
            self.parts.dispatcher.forget((live.key, number))

    async def caught_up(self) -> None:
        """Returns when all that has arrived so far has had its turn."""
        newest = self._inbox.newest
        while self._inbox.oldest <= newest:
            await self._turn_done.wait()

    @property
    def backlog(self) -> int:
        """Arrivals that wait for a turn."""
        return len(self._inbox)

    def look_at_timer(self, live: Live) -> None:
        """Keeps the execution's next timer in mind if it is near."""
        due = live.machine.wake_ms
        if live.partition in self.catching_up:
            return
        if due is not None and due != live.timer_ms and due - self.parts.leases.now_ms() < NEAR_MS:
            live.timer_ms = due
            heapq.heappush(self._timers, (due, live.key))
            self._work.set()

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
        if self._inbox:
            return
        self._work.clear()
        pause = None
        if self._timers:
            pause = max(0.0, (self._timers[0][0] - self.parts.leases.now_ms()) / 1000)
        try:
            async with asyncio.timeout(pause):
                await self._work.wait()
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
                    self._inbox.add(Arrival(key, Ticked()))

    async def _turn(self) -> None:
        groups = self._gather()
        if not groups:
            return
        now_ms = self.parts.leases.now_ms()
        applied: list[Applied] = []
        self.in_turn = {live.key for live in groups}
        for live, arrivals in groups.items():
            done = await self._apply(live, arrivals, now_ms)
            if done is not None:
                applied.append(done)
        committed = await self._commit(applied) if applied else []
        self.in_turn = set()
        self._tell(committed)
        self.turns += 1

    def _gather(self) -> dict[Live, list[Arrival]]:
        groups: dict[Live, list[Arrival]] = {}
        count = size = 0
        most = min(self.limits.arrivals, self._most or self.limits.arrivals)
        while self._inbox and count < most and size < self.limits.bytes:
            arrival = self._inbox.take()
            live = self.live.get(arrival.key)
            if live is None:
                self.absent.append(arrival)
                self.absent_work.set()
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

    async def _apply(self, live: Live, arrivals: list[Arrival], now_ms: int) -> Applied | None:
        facts = [arrival.fact for arrival in arrivals if self._becomes_fact(live, arrival)]
        if not facts:
            self.settle(arrivals)
            return None
        now_ms = max(now_ms, live.last_ms)
        live.last_ms = now_ms
        try:
            effects = live.machine.apply(facts, now_ms)
            checksum = effects.checksum()
            if any(len(event.value) > LIMIT for event in effects.events):
                await self.parts.large_values.shorten_events(live.execution_id, effects)
            done = self._record(live, facts, effects, checksum, now_ms)
        except BlobStoreAway as error:
            log.error("a large value cannot be kept", execution_id=str(live.execution_id), error=str(error))
            self._forsake(live, arrivals)
            self.parts.dispatcher.forget_all_of([live])
            return None
        except Exception as error:
            log.exception("an execution cannot go on: it is parked", execution_id=str(live.execution_id))
            await self.park(live, f"the engine failed: {error!r}")
            self.leave(arrivals)
            return None
        done.settled = arrivals
        return done

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

    def _record(self, live: Live, facts: list[Fact], effects: Effects, checksum: int, now_ms: int) -> Applied:
        """The rows of an execution's turn."""
        state = live.machine.state
        rows = TurnBatch()
        events = telling.event_batch(live, effects, now_ms)
        feed_sequence = self.parts.publisher.next_sequence(live.partition)
        rows.turns.append(
            (
                live.execution_id,
                state.turn,
                live.partition,
                feed_sequence,
                state.events - len(effects.events) + 1,
                state.events,
                state.numbers,
                live.commands_through,
                now_ms,
                encode_facts(facts),
                events,
                checksum,
            )
        )
        telling.add_rows(rows, live, effects, now_ms)
        done = Applied(live, effects, events, feed_sequence, rows, len(facts), [])
        wake_ms = live.machine.wake_ms
        done.unload = (
            state.status == ExecutionStatus.WAITING
            and not effects.more
            and wake_ms is not None
            and wake_ms - now_ms > self.limits.unload_after_ms
        )
        if live.reloaded or state.status != live.stored_status or done.unload:
            rows.executions.append(
                (
                    live.execution_id,
                    int(state.status),
                    telling.scrub(state.message),
                    state.numbers,
                    state.events,
                    state.started_ms,
                    now_ms,
                    wake_ms if done.unload else None,
                    live.commands_through,
                    "a timer, or a decision" if done.unload else "in memory",
                )
            )
        return done

    # Commit

    async def _commit(self, applied: list[Applied]) -> list[Applied]:
        """Writes the turn; returns what is committed. A data error is narrowed down to the execution that has it."""
        if not self.parts.leases.valid:
            self._forsake_all(applied)
            return []
        try:
            with METRICS.commit_seconds.time():
                await self.parts.turns.write(
                    self.parts.leases.replica_id, TurnBatch.merged([done.rows for done in applied])
                )
        except LeaseLost as error:
            log.error("a turn was refused", reason=str(error))
            self.parts.leases.lost.set()
            self._forsake_all(applied)
            return []
        except asyncpg.DataError as error:
            return await self._narrow(applied, error)
        except DATABASE_ERRORS as error:
            log.error("a commit was not confirmed", error=repr(error), executions=len(applied))
            await self._unconfirmed(applied)
            return []
        self._failed_commits = delays()
        self._most = 0 if self._most >= self.limits.arrivals else 2 * self._most
        return applied

    async def _narrow(self, applied: list[Applied], error: asyncpg.DataError) -> list[Applied]:
        if len(applied) == 1:
            live = applied[0].live
            log.error("an execution's turn cannot be stored", execution_id=str(live.execution_id), error=str(error))
            await self._restore_feed(applied)
            await self.park(live, f"its turn cannot be stored: {error}")
            self.leave(applied[0].settled)
            return []
        middle = len(applied) // 2
        return [*await self._commit(applied[:middle]), *await self._commit(applied[middle:])]

    async def _unconfirmed(self, applied: list[Applied]) -> None:
        """Nobody knows whether it was committed: the rows do. Waits until they can be asked.

        A disk that is full lets rows be read, so the pauses grow from one failed commit to the next.
        """
        self._forsake_all(applied)
        # It may have taken too long, and would again: what comes back together is then stored in parts.
        self._most = max(1, sum(len(done.settled) for done in applied) // 2)
        while self.parts.leases.valid:
            await asyncio.sleep(next(self._failed_commits))
            try:
                await self._restore_feed(applied)
                return
            except DATABASE_ERRORS as error:
                log.warning("the rows cannot be asked what was committed", error=repr(error))

    def _forsake_all(self, applied: list[Applied]) -> None:
        for done in applied:
            self._forsake(done.live, done.settled)
        # Their states have the turn behind them: what ended in it is not alive there, and yet in flight.
        self.parts.dispatcher.forget_all_of({done.live for done in applied})

    def _forsake(self, live: Live, arrivals: list[Arrival]) -> None:
        """Drops an execution whose turn was not committed, to be loaded again; its messages are handed back."""
        self.excused.add(live.key)
        self.remove(live)
        for arrival in arrivals:
            if arrival.receipt is not None:
                arrival.receipt.hand_back()
            elif not arrival.answer and not isinstance(arrival.fact, Started | Ticked | Continued):
                # Those three come anew with the load.
                self.absent.append(arrival)
        # Loaded at once, though nothing else may come for it.
        self.absent.append(Arrival(live.key, Continued()))
        self.absent_work.set()

    async def _restore_feed(self, applied: list[Applied]) -> None:
        partitions = {done.live.partition for done in applied}
        for partition, sequence in (
            await self.parts.turns.feed_sequences(self.parts.leases.replica_id, list(partitions))
        ).items():
            self.parts.publisher.restore(partition, sequence)

    async def park(self, live: Live, reason: str) -> None:
        """Puts an execution aside that cannot be driven. Others go on."""
        self.remove(live)
        self.parts.dispatcher.forget_all_of([live])
        await self.park_row(live.execution_id, reason)

    async def park_row(self, execution_id: UUID, reason: str) -> None:
        """Parks an execution that is not in memory."""
        METRICS.parked.inc()
        try:
            await self.parts.turns.park(execution_id, telling.scrub(reason)[:2000], PARKED_SECONDS)
        except DATABASE_ERRORS as error:
            log.error("an execution could not be parked", execution_id=str(execution_id), error=repr(error))

    # Tell

    def _tell(self, committed: list[Applied]) -> None:
        for done in committed:
            live = done.live
            live.facts += done.facts
            live.reloaded = False
            live.stored_status = live.machine.state.status
            self._hand_out(done)
            if done.events:
                self._publish(done)
            if live.machine.ended or done.unload:
                self.remove(live)
            else:
                if done.effects.more:
                    self.arrive(Arrival(live.key, Continued()))
                self.look_at_timer(live)
                self.parts.snapshots.consider(live)
        self.settle([arrival for done in committed for arrival in done.settled])
        METRICS.node_executions.inc(sum(len(done.effects.outcomes) for done in committed))
        self.send_tasks()

    def _hand_out(self, done: Applied) -> None:
        """Tasks to the dispatcher; runs that go on in vain are told to their runners."""
        live, dispatcher = done.live, self.parts.dispatcher
        ended = {
            arrival.fact.number
            for arrival in done.settled
            if isinstance(arrival.fact, Reported) and arrival.fact.finish is not None
        }
        for number in done.effects.dropped:
            place = (live.key, number)
            if dispatcher.forget(place) is not None and number not in ended:
                holder = self.parts.runners.holder(place)
                if holder is not None:
                    self._drop_run(holder, live, number)
        alive = live.machine.state.live
        for execution in done.effects.queued:
            if execution.number in alive:
                dispatcher.queue(live, execution.number, execution.attempt)

    def _drop_run(self, runner_id: str, live: Live, number: int) -> None:
        told = Instruction(owner=self.parts.leases.replica_id)
        told.drop.add(execution_id=live.key, node_execution=number, partition=live.partition)
        self.instruct(runner_id, told)

    def instruct(self, runner_id: str, instruction: Instruction) -> None:
        """Tells a runner something; the answers to its heartbeats repeat what got lost."""
        self.parts.bus.publish_now(f"blockyard.runner.{runner_id}", instruction.SerializeToString())

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
                    self._note_recorded(receipt)

    def leave(self, arrivals: Sequence[Arrival]) -> None:
        """What cannot be taken in now is neither recorded nor void: results come again, and claims are asked again."""
        for receipt in {id(arrival.receipt): arrival.receipt for arrival in arrivals if arrival.receipt}.values():
            receipt.hand_back_later()

    def _note_recorded(self, receipt: Receipt) -> None:
        """Runners may forget these results; nothing waits for that, so many turns are told together."""
        if not self._recorded:
            asyncio.get_running_loop().call_later(RECORDED_PAUSE, self._tell_recorded)
        told = self._recorded.get(receipt.runner_id)
        if told is None:
            told = self._recorded[receipt.runner_id] = Instruction(owner=self.parts.leases.replica_id)
        told.recorded_batches.append(receipt.batch)

    def _tell_recorded(self) -> None:
        recorded, self._recorded = self._recorded, {}
        for runner_id, instruction in recorded.items():
            self.instruct(runner_id, instruction)

    def _answer_claim(self, arrival: Arrival) -> None:
        assert arrival.answer is not None
        assert isinstance(arrival.fact, Claimed)
        live = self.live.get(arrival.key)
        execution = live.machine.state.live.get(arrival.fact.number) if live is not None else None
        if execution is None or execution.attempt != arrival.fact.attempt:
            arrival.answer(False, "the node execution is not wanted any more")
        elif execution.claimed_run != arrival.fact.run:
            arrival.answer(False, "another run has claimed it")
        else:
            arrival.answer(True, "")

    # Tasks

    def send_tasks(self) -> None:
        """Sends what may go out now."""
        if self._refused or not self.parts.leases.valid:
            return
        outgoing = self.parts.dispatcher.take(asyncio.get_running_loop().time())
        large = [message for message in outgoing if any(len(task.inputs) > LIMIT for task in message.batch.tasks)]
        # Large inputs go to the blob store first; nothing else waits for that.
        for together in ([message for message in outgoing if message not in large], *([message] for message in large)):
            if together:
                task = asyncio.create_task(self._send(together), name="send tasks")
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def _shorten(self, sent: Sent, task: Task) -> None:
        live = sent.live
        execution = live.machine.state.live.get(sent.number)
        if execution is None:
            return
        for pause in delays():
            try:
                task.inputs = await self.parts.large_values.shortened_inputs(
                    live.execution_id, live.machine.topology, execution
                )
                return
            except BlobStoreAway as error:
                log.error("a large input cannot be kept", execution_id=str(live.execution_id), error=str(error))
                await asyncio.sleep(pause)

    def _lose_as_too_large(self, message: Outgoing) -> None:
        """It would be refused however often it was sent."""
        for sent, task in zip(message.sent, message.batch.tasks, strict=True):
            why = f"its inputs make a message of {task.ByteSize()} bytes, which NATS does not take"
            lost = RunLost(sent.number, sent.attempt, why, Reason.INPUT_INVALID)
            self.arrive(Arrival(sent.live.key, lost))

    async def _send(self, outgoing: list[Outgoing]) -> None:
        for message in outgoing:
            for sent, task in zip(message.sent, message.batch.tasks, strict=True):
                if len(task.inputs) > LIMIT:
                    await self._shorten(sent, task)
        messages = [
            Message(f"blockyard.task.{message.pool}", message.batch.SerializeToString()) for message in outgoing
        ]
        answers = await self.parts.bus.publish_all(messages)
        refused = missing = False
        for message, answer in zip(outgoing, answers, strict=True):
            if isinstance(answer, Ack):
                for sent in message.sent:
                    sent.sequence = answer.sequence
                dispatcher = self.parts.dispatcher
                dispatcher.newest_sequence = max(dispatcher.newest_sequence, answer.sequence)
                continue
            if answer.refusal is Refusal.TOO_LARGE:
                self._lose_as_too_large(message)
                continue
            refused = True
            missing |= answer.refusal is Refusal.NO_STREAM
            for sent in message.sent:
                # Nothing is known to be wrong with the task: this does not count as a send.
                sent.sends -= 1
                self.parts.dispatcher.again(sent)
        if missing:
            self.parts.stream_missing()
        if refused and not self._refused:
            log.warning("tasks were refused by the stream, they will be sent again")
            self._refused = True
            asyncio.get_running_loop().call_later(REFUSED_PAUSE, self._try_again)

    def _try_again(self) -> None:
        self._refused = False
        self.send_tasks()
