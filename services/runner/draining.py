"""The end of a runner: nothing more is pulled, what runs may end, the rest is handed back, and results get home."""

import asyncio
import time
from collections.abc import Callable

import structlog

from services.common import tasks
from services.runner.heartbeats import Heartbeats
from services.runner.intake import Intake
from services.runner.kept import Kept
from services.runner.outbox import Outbox
from services.runner.scheduling import Scheduler

RECORDED_SECONDS = 5.0
"""How long owners may take to record the last results. The others lie in the stream, or are run again."""
CLEANUP_SECONDS = 1.0
"""How long runs that were handed back may take for their cleanup."""
LOOK_SECONDS = 0.02

log = structlog.stdlib.get_logger(__name__)


class Drain:
    """Everything an orderly end touches."""

    def __init__(
        self,
        intake: Intake,
        pulling: "asyncio.Task[None]",
        heartbeats: Heartbeats,
        scheduler: Scheduler,
        outbox: Outbox,
        kept: Kept,
        grace: float,
    ) -> None:
        self._intake = intake
        self._pulling = pulling
        self._heartbeats = heartbeats
        self._scheduler = scheduler
        self._outbox = outbox
        self._kept = kept
        self._grace = grace

    async def __call__(self) -> None:
        """Drain."""
        log.info("draining", running=self._scheduler.running, held=len(self._scheduler.held))
        await tasks.end((self._pulling,))
        await self._intake.close()
        self._scheduler.stop_waiting()
        self._heartbeats.drain()
        if not await _until(lambda: not self._scheduler.running, self._grace):
            log.warning("runs are handed back", running=self._scheduler.running)
            self._scheduler.stop_all()
            await _until(lambda: not self._scheduler.running, CLEANUP_SECONDS)
        self._outbox.flush()
        if not await _until(lambda: not len(self._kept), RECORDED_SECONDS):
            log.warning("results are not known to be recorded", batches=len(self._kept))
        self._heartbeats.beat()


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came to hold within this time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(LOOK_SECONDS)
    return True
