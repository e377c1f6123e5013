"""The bus: one connection to NATS, with what the services do over it.

It waits for NATS at the start and connects again for ever; what a caller must know of that comes back as refusals
(publish_all), errors (request) or calls (on_reconnect).
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import structlog
from nats import errors as nats_errors

from services.common import tls
from services.common.bus.client import BusClient, Handler
from services.common.bus.errors import NoResponders, NotConnected, RequestTimeout
from services.common.bus.jetstream import JetStream, StreamLimits
from services.common.bus.messages import Ack, ConsumerInfo, Delivery, Message, PublishRefused, StreamInfo
from services.common.bus.publishing import DEFAULT_MAX_IN_FLIGHT, Publisher
from services.common.bus.push import PushConsumer
from services.common.errors import StartRefused
from services.common.nats_access import NatsAccess

PUBLISH_SECONDS = 10.0
REPEAT_LOG_SECONDS = 10.0
RECONNECT_WAIT_SECONDS = 0.25
PING_SECONDS = 5.0
"""A server that leaves two pings unanswered is given up for the next one, or tried anew."""
PAYLOAD_BYTES = 8 << 20
"""Messages of this size must pass. Values travel as references from 256 KiB on, but a message holds many of them."""

log = structlog.stdlib.get_logger(__name__)


class Subscription:
    """Messages of a subject, handed to a handler until `unsubscribe`."""

    def __init__(self, client: BusClient, number: int) -> None:
        self._client = client
        self._number = number

    def unsubscribe(self) -> None:
        """No further message is handed over."""
        self._client.remove_subscription(self._number)


INBOXES = "_INBOX."
"""What subjects of answers begin with."""


class Bus:
    """One connection to NATS. Made by `connect`."""

    def __init__(self, client: BusClient, max_in_flight: int, user: str = "", stream_replicas: int = 1) -> None:
        self.client = client
        self.jetstream = JetStream(self, stream_replicas)
        # A user of NATS may listen below its own name alone: nobody else can, so nobody reads its answers.
        self._inbox = ".".join(filter(None, ("_INBOX", user, secrets.token_hex(10))))
        self._inboxes = 0
        self._publisher = Publisher(client, self.new_inbox(), max_in_flight)
        self._reconnect_callbacks: list[Callable[[], None]] = []
        self._answers: dict[str, asyncio.Future[Delivery]] = {}
        self._next_request = 0
        self._request_prefix = f"{self.new_inbox()}."
        client.add_subscription(f"{self._request_prefix}*", "", self._on_answer)

    # -- the connection

    @property
    def connected(self) -> bool:
        """Whether NATS is reachable at the moment."""
        return self.client.is_connected

    def new_inbox(self) -> str:
        """A subject that nobody else uses, for answers."""
        self._inboxes += 1
        return f"{self._inbox}.{self._inboxes}"

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called after every reconnect; answers a function that ends this."""
        self._reconnect_callbacks.append(callback)
        return lambda: self._reconnect_callbacks.remove(callback)

    def disconnected(self) -> None:
        """The connection was lost: whoever waits for an answer over it is told."""
        self._publisher.disconnected()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(NotConnected("the connection to NATS was lost"))

    def reconnected(self) -> None:
        """There is a connection again."""
        for callback in tuple(self._reconnect_callbacks):
            callback()

    # -- streams and consumers

    async def ensure_streams(self, limits: StreamLimits | None = None) -> dict[str, StreamInfo]:
        """Make or update TASKS, RESULTS and EVENTS. A changed `created` says that a stream was lost and made anew."""
        configurations = (limits or StreamLimits()).configurations()
        return {str(each["name"]): await self.jetstream.ensure_stream(each) for each in configurations}

    async def stream_info(self, name: str) -> StreamInfo | None:
        """A stream's state; None when it is not there."""
        return await self.jetstream.stream_info(name)

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """How far a consumer is; None when it is not there."""
        return await self.jetstream.consumer_info(stream, name)

    async def delete_consumers(self, stream: str, prefix: str) -> int:
        """Delete the consumers whose names start with `prefix`; answers how many. Unacked messages come again."""
        names = [name for name in await self.jetstream.consumer_names(stream) if name.startswith(prefix)]
        return sum([await self.jetstream.delete_consumer(stream, name) for name in names])

    @asynccontextmanager
    async def push_consumer(
        self,
        stream: str,
        name: str,
        subject: str,
        on_message: Handler,
        *,
        on_lost: Callable[[str], None],
        max_ack_pending: int = 4096,
        ack_wait: float = 60.0,
        idle_heartbeat: float = 5.0,
    ) -> AsyncIterator[PushConsumer]:
        """A push consumer for as long as the block lasts. `on_message` is called in order, from the read loop."""
        consumer = PushConsumer(self, stream, name, subject, on_message, on_lost)
        await consumer.start(max_ack_pending, ack_wait, idle_heartbeat)
        try:
            yield consumer
        finally:
            await consumer.stop()

    # -- publishing, subscribing, asking

    async def publish_all(
        self, messages: Sequence[Message], timeout: float = PUBLISH_SECONDS
    ) -> list[Ack | PublishRefused]:
        """Publish into streams, all in one go; one answer for each message, in order. Never raises for a refusal."""
        return await self._publisher.publish_all(messages, timeout)

    def publish_now(self, subject: str, payload: bytes, reply: str = "") -> bool:
        """Publish without streams and without waiting; False when there is no connection and nothing was sent."""
        return self.client.send(f"PUB {subject} {reply} {len(payload)}\r\n".encode(), payload, b"\r\n")

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Publish without streams, and return when the server has it."""
        if not self.publish_now(subject, payload, reply):
            raise NotConnected(f"cannot publish to {subject}: NATS is away")
        await self.flush()

    async def flush(self, timeout: float = 5.0) -> None:
        """Return when the server has handled everything sent so far."""
        try:
            await self.client.flush_to_server(timeout)
        except nats_errors.ConnectionClosedError as error:
            raise NotConnected("the bus is closed") from error
        except TimeoutError as error:
            raise RequestTimeout(f"NATS did not answer in {timeout:g} s") from error

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        """Have `handler` called in order for each message of a subject, now and after every reconnect."""
        number = self.client.add_subscription(subject, queue, handler)
        try:
            if self.connected:
                await self.flush()
        except BaseException:
            # Who subscribes again would hear everything twice, and could end only one of the two.
            self.client.remove_subscription(number)
            raise
        return Subscription(self.client, number)

    async def request(self, subject: str, payload: bytes, timeout: float) -> Delivery:
        """The answer of whoever listens to a subject. Raises NoResponders, RequestTimeout or NotConnected."""
        self._next_request += 1
        token = str(self._next_request)
        answer: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._answers[token] = answer
        try:
            if not self.publish_now(subject, payload, self._request_prefix + token):
                raise NotConnected(f"cannot ask {subject}: NATS is away")
            async with asyncio.timeout(timeout):
                delivery = await answer
        except TimeoutError as error:
            raise RequestTimeout(f"no answer on {subject} in {timeout:g} s") from error
        finally:
            del self._answers[token]
        if delivery.status == 503:
            raise NoResponders(f"nobody listens on {subject}")
        return delivery

    def _on_answer(self, delivery: Delivery) -> None:
        answer = self._answers.get(delivery.subject[len(self._request_prefix) :])
        if answer is not None and not answer.done():
            answer.set_result(delivery)


class _ConnectionLog:
    """Says once that NATS went away and once that it is back, and repeats itself only now and then in between."""

    def __init__(self, url: str) -> None:
        self._where = ",".join(urlsplit(part).netloc.rpartition("@")[2] for part in url.split(","))
        self._last = 0.0
        self._bus: Bus | None = None

    def watch(self, bus: Bus) -> None:
        """Tell this bus about its connection from now on."""
        self._bus = bus

    async def error(self, error: Exception) -> None:
        if "permissions violation" in str(error):
            # The connection stands, and the same would be refused again: somebody has to change the rights.
            log.error("NATS does not let this process do something", server=self._where, reason=str(error))
            return
        now = time.monotonic()
        if now - self._last >= REPEAT_LOG_SECONDS:
            self._last = now
            log.warning("NATS is not reachable, trying on", server=self._where, error=str(error) or repr(error))

    async def disconnected(self) -> None:
        if self._bus is not None:
            self._bus.disconnected()

    async def reconnected(self) -> None:
        self._last = 0.0
        log.info("connected to NATS again", server=self._where)
        if self._bus is not None:
            if why := too_small(self._bus.client.max_payload):
                # What is running goes on: all that fits into its messages still does.
                log.error("NATS has come back with another configuration", server=self._where, reason=why)
            self._bus.reconnected()


@asynccontextmanager
async def connect(
    url: str,
    name: str,
    access: NatsAccess = NatsAccess(),  # noqa: B008 - a frozen value
    *,
    max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
    ping_seconds: float = PING_SECONDS,
) -> AsyncIterator[Bus]:
    """The bus for as long as the block lasts. Waits while NATS is away; `url` may name several servers, with commas.

    It refuses a server that does not take messages of PAYLOAD_BYTES, and files of certificates that are of no use.
    """
    tls.read(access.tls)
    client = BusClient(access)
    connection_log = _ConnectionLog(url)
    await client.connect(
        servers=url.split(","),
        name=name,
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type]  # annotated int, used as seconds
        connect_timeout=5,
        ping_interval=ping_seconds,  # type: ignore[arg-type]  # as above
        max_outstanding_pings=2,
        error_cb=connection_log.error,
        disconnected_cb=connection_log.disconnected,
        reconnected_cb=connection_log.reconnected,
    )
    try:
        if why := too_small(client.max_payload):
            raise StartRefused(why)
        bus = Bus(client, max_in_flight, access.user or user_of(url), access.stream_replicas)
        connection_log.watch(bus)
        yield bus
    finally:
        await client.close()


def user_of(url: str) -> str:
    """The user as whom this URL connects; none when it names none."""
    return unquote(urlsplit(url.partition(",")[0]).username or "")


def too_small(max_payload: int) -> str:
    """What is wrong with a NATS that takes messages of this size: nothing, or that larger ones would never be sent."""
    if max_payload >= PAYLOAD_BYTES:
        return ""
    return (
        f"NATS runs with max_payload = {max_payload} bytes, so large tasks, results and events could not be sent. "
        "Set max_payload = 8MB or more (and max_pending at least as much) at every server, then start again."
    )
