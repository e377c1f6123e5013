"""A push consumer: the server sends what its subject has, up to a number of unacked messages, and beats in silence.

When the beats stop, or the consumer or its stream is gone, its owner is told once and makes another.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from services.common import tasks
from services.common.bus.errors import BusError
from services.common.bus.jetstream import NANOSECONDS
from services.common.bus.messages import Delivery

if TYPE_CHECKING:
    from services.common.bus.connection import Bus

MISSED_BEATS = 3

log = structlog.stdlib.get_logger(__name__)


class PushConsumer:
    """A durable push consumer that this process owns. Made by `Bus.push_consumer`."""

    def __init__(
        self,
        bus: "Bus",
        stream: str,
        name: str,
        subject: str,
        on_message: Callable[[Delivery], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.stream = stream
        self.name = name
        self._bus = bus
        self._subject = subject
        self._on_message = on_message
        self._on_lost = on_lost
        self._last_heard = 0.0
        self._check = asyncio.Event()
        self._subscription = 0
        self._watcher: asyncio.Task[None] | None = None
        self._forget_reconnects: Callable[[], None] = lambda: None

    async def start(self, max_ack_pending: int, ack_wait: float, idle_heartbeat: float) -> None:
        """Make the consumer on the server; from then on messages come."""
        inbox = self._bus.new_inbox()
        loop = asyncio.get_running_loop()
        self._subscription = self._bus.client.add_subscription(inbox, "", self._on_delivery)
        self._last_heard = loop.time()
        try:
            await self._bus.jetstream.create_consumer(
                self.stream,
                self.name,
                {
                    "deliver_subject": inbox,
                    "filter_subject": self._subject,
                    "ack_policy": "explicit",  # a work queue allows no other
                    "ack_wait": int(ack_wait * NANOSECONDS),
                    "max_ack_pending": max_ack_pending,
                    "idle_heartbeat": int(idle_heartbeat * NANOSECONDS),
                },
            )
        except BaseException:
            self._bus.client.remove_subscription(self._subscription)
            raise
        self._forget_reconnects = self._bus.on_reconnect(self._check.set)
        self._watcher = loop.create_task(self._watch(idle_heartbeat), name=f"consumer {self.name}")

    async def stop(self) -> None:
        """Delete the consumer, as far as the server can be reached; what it had not acked comes to the next one."""
        self._forget_reconnects()
        self._bus.client.remove_subscription(self._subscription)
        if self._watcher is not None:
            await tasks.end((self._watcher,))
        try:
            async with asyncio.timeout(1.0):
                await self._bus.jetstream.delete_consumer(self.stream, self.name)
        except (BusError, TimeoutError) as error:
            log.info("a consumer was left behind, its next owner deletes it", consumer=self.name, error=str(error))

    def ack(self, delivery: Delivery) -> None:
        """Take the message off the stream. Sent with this turn's write."""
        self._bus.publish_now(delivery.reply, b"+ACK")

    def ack_all(self, deliveries: Iterable[Delivery]) -> None:
        """Ack each of these messages."""
        for delivery in deliveries:
            self.ack(delivery)

    def _on_delivery(self, delivery: Delivery) -> None:
        self._last_heard = asyncio.get_running_loop().time()
        if delivery.reply and not delivery.status:
            self._on_message(delivery)
        elif delivery.status == 409:
            self._check.set()

    async def _watch(self, idle_heartbeat: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(idle_heartbeat):
                    await self._check.wait()
            silent = loop.time() - self._last_heard > MISSED_BEATS * idle_heartbeat
            if not self._bus.connected or not (silent or self._check.is_set()):
                continue
            self._check.clear()
            try:
                info = await self._bus.consumer_info(self.stream, self.name)
            except BusError:
                continue
            if info is None:
                return self._on_lost("the consumer is gone")
            if silent:
                return self._on_lost("the consumer's heartbeats have stopped")
