"""The publisher's accounts, over a connection whose socket takes bytes when the test says so."""

import asyncio

from nats.aio.client import Client

from services.common.bus import Ack, Message, PublishRefused, Refusal
from services.common.bus.client import WRITE_BUFFER_LIMIT, BusClient
from services.common.bus.messages import Delivery
from services.common.bus.publishing import Publisher
from services.common.nats_access import NatsAccess
from tests.waiting import until

INBOX = "_INBOX.test"


class Socketless(BusClient):
    """Counts as connected; what is sent stays pending until the test takes it."""

    def __init__(self) -> None:
        super().__init__(NatsAccess())
        self._status = Client.CONNECTED
        self.refusals = 0
        self.take()

    def send_many(self, parts: list[bytes], size: int) -> bool:
        """As it is, and counted where it is refused."""
        sent = super().send_many(parts, size)
        self.refusals += not sent
        return sent

    def take(self) -> bytes:
        """What a socket would have written since the last time."""
        taken, self._pending, self._pending_data_size = b"".join(self._pending), [], 0
        return taken

    def ack(self, token: int) -> None:
        """As JetStream acknowledges the message that went out with this token."""
        ack = b'{"stream":"TASKS","seq":%d}' % (token + 1)
        self.dispatch(1, Delivery(f"{INBOX}.{token}", "", ack))


def messages(*names: str) -> list[Message]:
    return [Message("blockyard.task.default", name.encode()) for name in names]


async def test_what_was_refused_is_not_sent_later_though_earlier_messages_are_still_on_their_way() -> None:
    client = Socketless()
    publisher = Publisher(client, INBOX, max_in_flight=4)
    client.take()
    others = asyncio.create_task(publisher.publish_all(messages("o1", "o2"), 30))
    call = asyncio.create_task(publisher.publish_all(messages("a", "b", "c", "d", "e", "f"), 30))
    await until(lambda: client._pending_data_size, "the first four are on their way")
    assert client.take().count(b"PUB ") == 4

    # Room for two more, while the server has stopped reading: these, and all after them, are refused.
    client.send(b"x" * (WRITE_BUFFER_LIMIT + 1))
    client.ack(0)
    client.ack(1)
    assert await others == [Ack("TASKS", 1), Ack("TASKS", 2)]
    await until(lambda: client.refusals, "the refusal")
    client.take()
    client.ack(2)
    late = asyncio.create_task(publisher.publish_all(messages("l1", "l2"), 30))
    await until(lambda: b"l2" in b"".join(client._pending), "what is refused holds no room", 5)
    assert client.take().count(b"PUB ") == 2

    client.ack(3)
    first, second, *refused = await call
    assert (first, second) == (Ack("TASKS", 3), Ack("TASKS", 4))
    assert refused == [PublishRefused(Refusal.DISCONNECTED, "not connected")] * 4
    late.cancel()
    await asyncio.wait([late])
