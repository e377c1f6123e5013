"""Tells owners what is held here, and does what they answer: forget, drop, say again (rule 4)."""

import asyncio
import time

import structlog
from blockyard.runner.v1.heartbeat_pb2 import Heartbeat, Holding, Instruction
from google.protobuf.message import DecodeError

from services.common.bus import Bus, Delivery
from services.runner.kept import Kept
from services.runner.runs import Stop
from services.runner.scheduling import Scheduler
from services.runner.sending import Sender

UNRECORDED_SECONDS = 2.0
"""An ended run is listed when its result has been kept for longer; a quick one is recorded before."""

ASKED_SECONDS = 0.05
"""Owners that ask for a heartbeat within this time have one together: when NATS was away all of them do."""

log = structlog.stdlib.get_logger(__name__)


class Heartbeats:
    """One runner's."""

    def __init__(
        self, bus: Bus, runner_id: str, pool: str, interval: float, scheduler: Scheduler, kept: Kept, sender: Sender
    ) -> None:
        self._bus = bus
        self._runner_id = runner_id
        self._pool = pool
        self._interval = interval
        self._scheduler = scheduler
        self._kept = kept
        self._sender = sender
        self._number = 0
        self._beaten = 0.0
        """When the last heartbeat was sent."""
        self._asked = False
        self._draining = False

    async def run(self) -> None:
        """Beat until it is cancelled."""
        subscriptions = [
            await self._bus.subscribe(f"blockyard.runner.{told}", self._instructed) for told in (self._runner_id, "all")
        ]
        forget = self._bus.on_reconnect(self.beat)
        try:
            while True:
                self.beat()
                await asyncio.sleep(self._interval)
        finally:
            forget()
            for subscription in subscriptions:
                subscription.unsubscribe()

    def drain(self) -> None:
        """Say from now on that no more tasks are taken."""
        self._draining = True
        self.beat()

    def beat(self) -> None:
        """Tell of everything that is held."""
        self._number += 1
        holdings = [run.holding() for run in self._scheduler.held.values() if not run.ended]
        # Not two heartbeats in a row may leave it out, however soon the second comes: it would count as lost (rule 5).
        holdings += self._kept.holdings(min(UNRECORDED_SECONDS, self._interval, time.monotonic() - self._beaten))
        self._beaten = time.monotonic()
        heartbeat = Heartbeat(
            runner_id=self._runner_id,
            pool=self._pool,
            slots=self._scheduler.slots,
            free_slots=0 if self._draining else self._scheduler.room,
            number=self._number,
            holdings=holdings,
            draining=self._draining,
        )
        self._bus.publish_now("blockyard.heartbeat", heartbeat.SerializeToString())

    def _instructed(self, delivery: Delivery) -> None:
        try:
            told = Instruction.FromString(delivery.data)
        except DecodeError:
            log.error("an instruction cannot be read", bytes=len(delivery.data))
            return
        for number in told.recorded_batches:
            self._kept.recorded(number)
        for holding in told.recorded:
            self._kept.run_recorded(holding)
        for holding in told.drop:
            self._drop(holding)
        for number in told.resend_batches:
            self._sender.send_again(self._kept.resend(number))
        if told.beat and not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_later(ASKED_SECONDS, self._answer)

    def _answer(self) -> None:
        self._asked = False
        self.beat()

    def _drop(self, holding: Holding) -> None:
        run = self._scheduler.held.get((holding.execution_id, holding.node_execution))
        # 0 stands for any: an owner that stops an execution does not know which run there is.
        if run is not None and holding.attempt in (0, run.task.attempt) and holding.run_id in (0, run.run_id):
            self._scheduler.stop(run, Stop.DROPPED)
