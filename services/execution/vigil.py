"""Finds tasks that are lost: known, not guessed (rule 5).

A task counts as lost when it was delivered, or its stream is gone, and all live runners have then left it out of two
heartbeats. It is sent again under a new message, within the window like any other; after too many sends its run counts
as lost, and the engine decides what that means.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import structlog

from services.common.bus import Bus, ConsumerInfo
from services.common.bus.errors import BusError
from services.execution.dispatch import UNKNOWN_SEQUENCE, Dispatcher, Sent
from services.execution.driver import Driver
from services.execution.engine import NodeExecution, RunLost
from services.execution.engine.plan import Effect
from services.execution.live import Arrival
from services.execution.metrics import METRICS
from services.execution.runners import Runners
from services.execution.sending import TaskSender

log = structlog.get_logger()

LOOK_SECONDS = 1.0
EVERYTHING = 2**63
"""A sequence above all others."""


@dataclass(slots=True, eq=False)
class Vigil:
    """Watches over what is in flight. Times are those of the event loop's clock."""

    driver: Driver
    dispatcher: Dispatcher
    sender: TaskSender
    runners: Runners
    bus: Bus
    interval: float
    """Of heartbeats, in seconds."""
    most_sends: int
    stream_created: datetime
    """Of TASKS, as far as is known: another value means that the stream was lost."""
    quiet_until: float
    """No verdicts before: after a take-over or an outage runners need time to be heard."""

    def outage(self) -> None:
        """NATS was away: nobody could be heard."""
        self.quiet_until = asyncio.get_running_loop().time() + 2 * self.interval

    async def run(self) -> None:
        """Looks every second until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            for runner_id in self.runners.bury(now):
                log.warning("a runner is silent", runner=runner_id)
            if not self.bus.connected:
                self.outage()
                continue
            if now < self.quiet_until:
                continue
            old = [sent for sent in self.dispatcher.in_flight.values() if self._is_old(sent, now)]
            if old:
                try:
                    await self._judge(old, now)
                except BusError as error:
                    log.warning("streams cannot be looked at", error=str(error))

    def _is_old(self, sent: Sent, now: float) -> bool:
        return not sent.answered and now - sent.sent_at > 2 * self.interval

    async def _judge(self, old: list[Sent], now: float) -> None:
        delivered: dict[str, int] = {}
        for pool in {sent.pool for sent in old}:
            info = await self.bus.consumer_info("TASKS", f"pool-{pool}")
            # Without a consumer nothing is delivered; runners of the pool make it.
            delivered[pool] = delivered_through(info) if info is not None else -1
        for sent in old:
            self._look_at(sent, delivered[sent.pool], now)
        self.sender.send()

    def _look_at(self, sent: Sent, delivered: int, now: float) -> None:
        place = (sent.live.key, sent.number)
        if self.dispatcher.in_flight.get(place) is not sent:
            return
        if self.runners.holder(place) is not None or sent.sequence == UNKNOWN_SEQUENCE or delivered < sent.sequence:
            sent.missing_since = 0.0
        elif not sent.missing_since:
            sent.missing_since = now
        elif now - sent.missing_since >= 2 * self.interval and self.runners.two_rounds_since(sent.missing_since):
            self._lost(sent)

    def _lost(self, sent: Sent) -> None:
        METRICS.lost_tasks.inc()
        execution = sent.live.machine.state.live.get(sent.number)
        log.warning(
            "a task is lost", execution_id=str(sent.live.execution_id), node_execution=sent.number, sends=sent.sends
        )
        if execution is None:
            self.dispatcher.forget((sent.live.key, sent.number))
        elif self._must_not_repeat(sent, execution):
            self.driver.arrive(
                Arrival(sent.live.key, RunLost(sent.number, sent.attempt, "its runner went silent during the run"))
            )
        elif sent.sends >= self.most_sends:
            message = f"its task was sent {sent.sends} times, and no runner that took it gave a result"
            self.driver.arrive(Arrival(sent.live.key, RunLost(sent.number, sent.attempt, message)))
        else:
            self.dispatcher.again(sent)

    def _must_not_repeat(self, sent: Sent, execution: NodeExecution) -> bool:
        once = sent.live.machine.topology.plan.nodes[execution.node].effect is Effect.ONCE
        return once and execution.claimed_run != 0

    def stream_lost(self, created: datetime) -> None:
        """TASKS was made anew: all that was in it is gone, what runners hold is not."""
        self.stream_created = created
        for sent in self.dispatcher.in_flight.values():
            sent.sequence = 0


def delivered_through(info: ConsumerInfo) -> int:
    """Up to where the consumer has delivered.

    A NATS that was killed comes back with its consumers as they were some time ago (seen: 258 where 386 were
    delivered), and what was acked since is no longer in the stream to move them on. With nothing pending all that was
    sent is delivered, or was lost with the end of the stream.
    """
    return EVERYTHING if info.num_pending == 0 else info.delivered_stream_sequence
