"""Publishes results into the stream RESULTS, again and again until each is stored or not needed any more."""

import asyncio
from collections import deque

import structlog

from services.common.backoff import delays
from services.common.bus import Ack, Bus, Message
from services.runner.kept import Kept

AT_ONCE = 64
"""Messages of one publish."""
SENDERS = 4
"""Publishes on their way at once: while that many wait for their acks, what is said gathers into larger messages."""

log = structlog.stdlib.get_logger(__name__)


class Sender:
    """Takes the numbers of kept batches."""

    def __init__(self, bus: Bus, kept: Kept) -> None:
        self._bus = bus
        self._kept = kept
        self._waiting: deque[int] = deque()
        self._work = asyncio.Semaphore(0)
        self._delays = delays()
        self._trouble = ""

    def send(self, number: int) -> None:
        """Publish this batch soon."""
        self._waiting.append(number)
        self._work.release()

    def send_again(self, numbers: list[int]) -> None:
        """Publish batches again, unless they wait for it anyway."""
        for number in numbers:
            if number not in self._waiting:
                self.send(number)

    async def run(self) -> None:
        """Publish until it is cancelled."""
        async with asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(self._publish())

    async def _publish(self) -> None:
        while True:
            await self._work.acquire()
            messages = self._take()
            if messages:
                refused = await self._publish_once(messages)
                if refused:
                    await asyncio.sleep(next(self._delays))
                    for number in refused:
                        self.send(number)

    def _take(self) -> dict[int, Message]:
        messages: dict[int, Message] = {}
        while self._waiting and len(messages) < AT_ONCE:
            number = self._waiting.popleft()
            message = self._kept.message(number)
            if message is not None:
                messages[number] = message
        return messages

    async def _publish_once(self, messages: dict[int, Message]) -> list[int]:
        """Publish these; answers the numbers of those that the stream does not have."""
        answers = await self._bus.publish_all(tuple(messages.values()))
        refused = []
        for number, answer in zip(messages, answers, strict=True):
            if isinstance(answer, Ack):
                continue
            refused.append(number)
            if self._trouble != answer.refusal.value:
                self._trouble = answer.refusal.value
                log.warning("results cannot be published, trying on", why=self._trouble, detail=answer.description)
        if not refused:
            self._delays = delays()
            if self._trouble:
                self._trouble = ""
                log.info("results are published again")
        return refused
