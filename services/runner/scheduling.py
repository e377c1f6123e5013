"""Which run goes when: those that only compute at once and one after the other, the others in slots.

Every run that is held here is in `held` from its arrival until it has ended; heartbeats tell of them.
"""

import asyncio
import time
from collections import deque
from functools import partial

import structlog
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.runner.v1.task_pb2 import Task

from services.runner import outcomes
from services.runner.blocks_here import BlocksHere
from services.runner.casualty import HeldRuns
from services.runner.driving import Driver
from services.runner.inline import Inline
from services.runner.outbox import Outbox
from services.runner.runs import Place, Run, Stop

SLICE_SECONDS = 0.001
"""Runs that only compute give the event loop to others after this time, and their results go out."""
TICK_SECONDS = 0.05
UNFIT_SECONDS = 0.5
"""How long a task that this runner cannot run as it is configured stays here: without a pause it would go to its owner
and come back in circles, until a runner of the pool that can run it is free."""
RUNNING_SECONDS = 0.1
"""A run that goes on for longer is told of."""
CANCEL_SECONDS = 5.0
"""A run that was cancelled has so long for its cleanup before it is cancelled again."""

log = structlog.stdlib.get_logger(__name__)


class Scheduler:
    """Takes tasks, and sees every run to its end."""

    def __init__(
        self, slots: int, blocks: BlocksHere, inline: Inline, driver: Driver, outbox: Outbox, table: HeldRuns
    ) -> None:
        self.slots = slots
        self.held: dict[Place, Run] = {}
        self._blocks = blocks
        self._inline = inline
        self._driver = driver
        self._outbox = outbox
        self._table = table
        self._quick: deque[Run] = deque()
        self._waiting: deque[Run] = deque()
        self._unfit: deque[tuple[float, Run]] = deque()
        """Runs of blocks that are not configured here, and when they are handed back."""
        self._running: set[Run] = set()
        self._pumping = False
        self._changed = asyncio.Event()

    @property
    def room(self) -> int:
        """How many more tasks could be begun soon."""
        return max(0, self.slots - len(self._running) - len(self._waiting) - len(self._quick) - len(self._unfit))

    @property
    def running(self) -> int:
        """Runs in slots."""
        return len(self._running)

    async def changed(self) -> None:
        """Return when a run has ended or a slot has become free."""
        self._changed.clear()
        await self._changed.wait()

    def take(self, task: Task) -> None:
        """A task has come."""
        place = (task.execution_id, task.node_execution)
        held = self.held.get(place)
        if held is not None:
            if held.task.attempt >= task.attempt:
                # Delivered again, or sent again since a heartbeat was lost: it is being run.
                return
            self.stop(held, Stop.DROPPED)
        block = self._blocks.find(task.block_id, task.schema_hash)
        run = Run(task, block, place)
        if self._blocks.is_for_others(task.block_id, task.schema_hash):
            self.held[place] = run
            self._unfit.append((time.monotonic() + UNFIT_SECONDS, run))
            return
        if block is None:
            why = self._blocks.why_not(task.block_id)
            reason = NodeErrorReason.NODE_ERROR_REASON_BLOCK_UNAVAILABLE
            log.warning("a task goes back", why=why, block_id=task.block_id, pool_of_task=task.node_id)
            self._outbox.say(run, finish=outcomes.returned(why, reason))
            return
        self.held[place] = run
        run.entry = self._table.add(run.once, *place, task.attempt, task.partition, run.run_id)
        (self._quick if self._inline.takes(run) else self._waiting).append(run)
        if not self._pumping:
            self._pumping = True
            # A turn of the loop later than could be: the acknowledgement of the task's message is on its way then. A
            # task that takes the whole process down must not come back from the stream by itself, again and again.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._pump)

    def stop(self, run: Run, why: Stop) -> None:
        """End a run from outside. What is to be said of it is said now; what it still does counts no more."""
        if run.ended:
            return
        if why is Stop.TIMEOUT:
            log.info("a run timed out", block=run.block.name, timeout_ms=run.task.timeout_ms, node_id=run.task.node_id)
            self._outbox.say(run, finish=outcomes.timed_out(run))
        elif why is Stop.RETURNED and not (run.once and run.claimed):
            self._outbox.say(run, finish=outcomes.returned())
        else:
            # Dropped; or cut short though it must not be repeated: only its owner's silence towards it is right then.
            self._outbox.retract(run)
        run.stopped = time.monotonic()
        if run.cancel is not None:
            run.cancel()
        else:
            self._end(run)

    def stop_waiting(self) -> None:
        """Hand back what has not begun."""
        for run in (*self._waiting, *self._quick, *(run for _, run in self._unfit)):
            self.stop(run, Stop.RETURNED)
        self._unfit.clear()
        self._waiting.clear()
        self._quick.clear()

    def stop_all(self) -> None:
        """Hand back everything."""
        self.stop_waiting()
        for run in tuple(self._running):
            self.stop(run, Stop.RETURNED)

    async def tick(self) -> None:
        """Tell of runs that go on, and end those that take too long, until it is cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            while self._unfit and self._unfit[0][0] <= now:
                self.stop(self._unfit.popleft()[1], Stop.RETURNED)
            for run in tuple(self._running):
                self._look_at(run, now)

    def _look_at(self, run: Run, now: float) -> None:
        if run.stopped:
            if now - run.stopped > CANCEL_SECONDS and run.cancel is not None:
                # A block that swallows a cancel gets another one.
                run.stopped = now
                run.cancel()
            return
        if not run.started:
            return
        if run.task.timeout_ms and (now - run.started) * 1000 > run.task.timeout_ms:
            self.stop(run, Stop.TIMEOUT)
        elif not run.told_running and now - run.started > RUNNING_SECONDS:
            self._outbox.running(run)

    def _pump_soon(self) -> None:
        # From a callback of the loop and not from a task: a block that is run here must find no task around it.
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        until = time.monotonic() + SLICE_SECONDS
        while self._quick:
            run = self._quick.popleft()
            if not run.ended:
                self._run_inline(run)
                if time.monotonic() > until:
                    break
        while self._waiting and len(self._running) < self.slots:
            run = self._waiting.popleft()
            if not run.ended:
                self._start(run)
        if self._quick:
            self._pump_soon()
        self._changed.set()

    def _run_inline(self, run: Run) -> None:
        run.begin()
        done = self._inline.run(run)
        if done is None:
            run.started = 0.0
            self._waiting.append(run)
            return
        self._outbox.say(run, *done)
        self._end(run)

    def _start(self, run: Run) -> None:
        task = asyncio.create_task(self._driver.drive(run), name="run")
        run.cancel = task.cancel
        self._running.add(run)
        task.add_done_callback(partial(self._done, run))

    def _done(self, run: Run, task: "asyncio.Task[None]") -> None:
        self._running.discard(run)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not the block's fault, but a run about which nothing is said would be one that nobody ends.
            log.error("driving a run failed", exc_info=error)
            self._outbox.say(run, finish=outcomes.failed(run, error))
        self._end(run)
        if self._waiting:
            self._pump_soon()

    def _end(self, run: Run) -> None:
        if self.held.get(run.place) is run:
            del self.held[run.place]
        if run.leased is not None:
            run.leased.forget()
            run.leased = None
        self._changed.set()
