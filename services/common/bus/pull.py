"""A pull consumer that outlives what happens to it: restarts, reconnects, and a JetStream that lost its disk.

One request is open at a time. It is answered as soon as there is one message, with all that is there up to the
number asked for; the server beats while it waits, so a request that was lost is noticed and asked again.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from services.common.backoff import delays
from services.common.bus.errors import BusError
from services.common.bus.jetstream import NANOSECONDS
from services.common.bus.messages import Delivery

if TYPE_CHECKING:
    from services.common.bus.connection import Bus

HEARTBEAT_SECONDS = 1.0
LINGER_SECONDS = 0.05
"""How long the rest of an answer that has begun is waited for, should its end get lost."""

log = structlog.stdlib.get_logger(__name__)


class _Request:
    """One open request and what has come for it."""

    __slots__ = ("changed", "ended", "last_heard", "status", "status_text", "wanted")

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.ended = False
        self.status = 0
        self.status_text = ""
        self.last_heard = time.monotonic()
        self.changed = asyncio.Event()

    def message_came(self) -> None:
        self.last_heard = time.monotonic()
        self.wanted -= 1
        if self.wanted <= 0:
            self.ended = True
        self.changed.set()

    def end(self, status: int, text: str) -> None:
        self.ended, self.status, self.status_text = True, status, text
        self.changed.set()


class PullConsumer:
    """A durable pull consumer, shared with all who use its name. Not for concurrent fetches."""

    def __init__(
        self,
        bus: "Bus",
        stream: str,
        durable: str,
        subject: str,
        *,
        ack_wait: float = 60.0,
        max_ack_pending: int = 65536,
    ) -> None:
        self.stream = stream
        self.durable = durable
        self.last_answered: float | None = None
        """time.monotonic() of the server's last answer to a pull, an empty one included; for readiness."""
        self._bus = bus
        self._configuration = {
            "filter_subject": subject,
            "ack_policy": "explicit",
            "ack_wait": int(ack_wait * NANOSECONDS),
            "max_ack_pending": max_ack_pending,
        }
        self._known = False
        self._trouble = ""
        self._next_token = 0
        self._request: tuple[str, _Request] | None = None
        self._arrived: list[Delivery] = []
        self._delays = delays(0.05, 2.0)
        self._prefix = f"{bus.new_inbox()}."
        self._subscription = bus.client.add_subscription(f"{self._prefix}*", "", self._on_delivery)
        self._forget_reconnects: Callable[[], None] = bus.on_reconnect(self._on_reconnect)

    async def fetch(self, max_messages: int, wait: float) -> list[Delivery]:
        """At least one message as soon as there is one, or none after `wait` seconds, whatever happens to NATS."""
        deadline = time.monotonic() + wait
        while not self._arrived and (left := deadline - time.monotonic()) > 0:
            if not self._bus.connected or not await self._ensure_consumer():
                await asyncio.sleep(min(next(self._delays), left))
                continue
            request = self._ask(max_messages, left)
            try:
                await self._answered(request, deadline)
            finally:
                self._request = None
            if not self._arrived and not self._is_well(request):
                await asyncio.sleep(max(0.0, min(next(self._delays), deadline - time.monotonic())))
        arrived, self._arrived = self._arrived[:max_messages], self._arrived[max_messages:]
        return arrived

    def ack_all(self, deliveries: Iterable[Delivery]) -> None:
        """Take these messages off the stream. Sent with this turn's write; an ack that gets lost means a repetition."""
        for delivery in deliveries:
            self._bus.publish_now(delivery.reply, b"+ACK")

    def hand_back(self, deliveries: Iterable[Delivery]) -> None:
        """Give these messages to another runner, at once."""
        for delivery in deliveries:
            self._bus.publish_now(delivery.reply, b"-NAK")

    async def close(self) -> None:
        """Ask no more, and hand back what came and was not fetched. The consumer stays on the server."""
        self._forget_reconnects()
        # In this order: what the server sent before it knew is still received, and would else wait for its deadline.
        self._bus.client.end_subscription(self._subscription)
        with suppress(BusError):
            if self._bus.connected:
                await self._bus.flush()
        self._bus.client.remove_subscription(self._subscription)
        self.hand_back(self._arrived)
        self._arrived = []

    def _ask(self, max_messages: int, wait: float) -> _Request:
        self._next_token += 1
        token = str(self._next_token)
        request = _Request(max_messages)
        self._request = (token, request)
        body: dict[str, object] = {"batch": max_messages, "expires": int(wait * NANOSECONDS), "no_wait": True}
        if wait > 2 * HEARTBEAT_SECONDS:
            body["idle_heartbeat"] = int(HEARTBEAT_SECONDS * NANOSECONDS)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.durable}"
        self._bus.publish_now(subject, json.dumps(body).encode(), self._prefix + token)
        return request

    async def _answered(self, request: _Request, deadline: float) -> None:
        """Return when the request has ended, one way or another."""
        while not request.ended:
            now = time.monotonic()
            if self._arrived:
                until = request.last_heard + LINGER_SECONDS
            else:
                until = min(deadline + LINGER_SECONDS, request.last_heard + 3 * HEARTBEAT_SECONDS)
            if now >= until:
                return
            request.changed.clear()
            try:
                async with asyncio.timeout(until - now):
                    await request.changed.wait()
            except TimeoutError:
                continue

    def _on_delivery(self, delivery: Delivery) -> None:
        status = delivery.status
        token, request = self._request or ("", None)
        if not status:
            # It may belong to a request that was given up: it is this consumer's to handle all the same, and
            # counting it for the open one ends that a little early at worst.
            self._arrived.append(delivery)
            self.last_answered = time.monotonic()
            if request is not None:
                request.message_came()
        elif request is not None and delivery.subject == self._prefix + token:
            request.last_heard = time.monotonic()
            if status in (100, 404, 408):
                self.last_answered = request.last_heard
            if status != 100:
                request.end(status, delivery.status_text)

    def _is_well(self, request: _Request) -> bool:
        """Whether to ask on at once: nothing came, but nothing is wrong either."""
        if request.status in (404, 408) and "pending" not in request.status_text.lower():
            self._delays = delays(0.05, 2.0)
            return True
        if not request.status and self._bus.connected:
            return True
        if request.status in (409, 503):
            self._known = False
            log.info("a pull was refused, asking again", consumer=self.durable, answer=request.status_text)
        return False

    async def _ensure_consumer(self) -> bool:
        if self._known:
            return True
        try:
            await self._bus.jetstream.create_consumer(self.stream, self.durable, self._configuration)
        except BusError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                log.warning("cannot pull yet, trying on", consumer=self.durable, error=self._trouble)
            return False
        self._known, self._trouble = True, ""
        return True

    def _on_reconnect(self) -> None:
        self._known = False
        if self._request is not None:
            self._request[1].end(0, "")
