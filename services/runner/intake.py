"""Pulls tasks as there is room for them. They are acknowledged on receipt: from then on heartbeats vouch for them."""

import time

import structlog
from blockyard.runner.v1.task_pb2 import TaskBatch
from google.protobuf.message import DecodeError

from services.common.bus import TASKS, Bus, Delivery, PullConsumer
from services.runner.kept import Kept
from services.runner.scheduling import Scheduler

PULL_SECONDS = 5.0
FIRST_PULL_SECONDS = 0.05
"""Until a pull was answered the runner is not ready, and one that waits hears nothing for a second. Where NATS takes
longer to answer, the next one is answered then."""
ANSWER_SECONDS = 5.0
"""A pull beats every second while it waits; without an answer for so long something is wrong."""

log = structlog.stdlib.get_logger(__name__)


class Intake:
    """One pool's tasks, for one runner."""

    def __init__(self, bus: Bus, pool: str, scheduler: Scheduler, kept: Kept) -> None:
        self._consumer = PullConsumer(bus, TASKS, f"pool-{pool}", f"blockyard.task.{pool}")
        self._scheduler = scheduler
        self._kept = kept
        self._tasks_a_message = 1.0
        self._waits_for_room = False
        self._pull_seconds = FIRST_PULL_SECONDS

    @property
    def is_well(self) -> bool:
        """Whether pulling works, as far as there is a reason to pull."""
        answered = self._consumer.last_answered
        return self._waits_for_room or (answered is not None and time.monotonic() - answered < ANSWER_SECONDS)

    async def run(self) -> None:
        """Pull until it is cancelled."""
        while True:
            await self._room()
            most = max(1, int(self._scheduler.room / self._tasks_a_message))
            deliveries = await self._consumer.fetch(most, self._pull_seconds)
            self._pull_seconds = PULL_SECONDS
            # Nothing awaits from here to the end: a cancel must not find messages that are neither taken nor left.
            self._consumer.ack_all(deliveries)
            for delivery in deliveries:
                self._take(delivery)

    async def close(self) -> None:
        """Hand back what has come and was not taken."""
        await self._consumer.close()

    async def _room(self) -> None:
        self._waits_for_room = True
        while self._scheduler.room <= 0:
            await self._scheduler.changed()
        if self._kept.full:
            log.warning("too many results are not recorded: nothing is pulled", kept_bytes=self._kept.bytes)
            while self._kept.full:
                await self._kept.changed()
        self._waits_for_room = False

    def _take(self, delivery: Delivery) -> None:
        try:
            tasks = TaskBatch.FromString(delivery.data).tasks
        except DecodeError:
            log.error("a message of tasks cannot be read", subject=delivery.subject, bytes=len(delivery.data))
            return
        self._tasks_a_message += 0.1 * (len(tasks) - self._tasks_a_message)
        for task in tasks:
            self._scheduler.take(task)
