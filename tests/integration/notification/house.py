"""The notification service in this process, beside the execution service of tests.integration.execution."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventBatch
from blockyard.notification.v1 import notification_service_pb2 as messages
from blockyard.notification.v1.notification_service_pb2_grpc import NotificationServiceStub
from blockyard.runner.v1.feed_service_pb2_grpc import FeedServiceStub

from services.common import bus as nats
from services.common import grpc_client, identity, run, tasks
from services.notification.__main__ import start
from services.notification.config import NotificationSettings
from services.notification.feeds import Feeds
from services.notification.following import Following
from services.notification.hub import Hub
from services.notification.tail import Tail
from tests import signing
from tests.integration.execution.house import House, house
from tests.stack.postgres import as_role


@dataclass(eq=False)
class Notifier:
    """A running notification service."""

    resources: AsyncExitStack
    channel: grpc.aio.Channel
    address: str
    web: str
    """host:port of HTTP."""

    async def close(self) -> None:
        await self.channel.close()
        await self.resources.aclose()


async def notifier(built: House, **settings: Any) -> Notifier:
    """A notification service for the executions of this house, which must have a replica."""
    port_file = built.folder / f"port-{os.urandom(4).hex()}"
    web_port_file = built.folder / f"web-port-{os.urandom(4).hex()}"
    values: dict[str, Any] = {
        "port": 0,
        "port_file": port_file,
        "web_port": 0,
        "web_port_file": web_port_file,
        **signing.SETTINGS,
        "nats_url": built.nats.url,
        "execution_address": built.replicas[0].address,
        "database_url": as_role(built.database_url, "notification"),
        "grace_seconds": 0,
        **settings,
    }
    resources = AsyncExitStack()
    await start(NotificationSettings(**values), resources, run.Process(resources))
    address = f"127.0.0.1:{int(port_file.read_text())}"
    web = f"127.0.0.1:{int(web_port_file.read_text())}"
    return Notifier(resources, grpc.aio.insecure_channel(address), address, web)


@asynccontextmanager
async def notifying(postgres: PostgresServer, **settings: Any) -> AsyncIterator[tuple[House, Notifier]]:
    """A house with a replica of the execution service, and a notification service."""
    async with house(postgres, ["execution", "notification"]) as built:
        await built.add_replica()
        told = await notifier(built, **settings)
        try:
            yield built, told
        finally:
            await told.close()


@asynccontextmanager
async def tailing(built: House, most_entries: int = 1000) -> AsyncIterator[Following]:
    """What subscriptions are made of, without a service around it."""
    credentials = grpc_client.ServiceCredentials(signing.SERVICE_SECRET, "test")
    async with (
        nats.connect(built.nats.url, "test") as bus,
        grpc_client.channel(built.replicas[0].address, credentials) as channel,
    ):
        feeds, hub = Feeds(FeedServiceStub(channel)), Hub(most_entries)
        tail = Tail(bus, feeds, hub.tell, hub.end)
        work = asyncio.create_task(tail.run())
        try:
            yield Following(tail, hub, feeds)
        finally:
            await tasks.end([work])


@dataclass(eq=False)
class Subscriber:
    """A subscription, and what it was told."""

    sequences: dict[str, list[int]] = field(default_factory=dict)
    """By execution, as they came."""
    batches: list[EventBatch] = field(default_factory=list)
    cursor: str = ""
    """The last one."""
    live: bool = False
    error: grpc.aio.AioRpcError | None = None

    def take(self, answer: messages.SubscribeResponse) -> None:
        for batch in answer.batches:
            self.batches.append(batch)
            self.sequences.setdefault(batch.execution_id, []).extend(event.sequence for event in batch.events)
        self.cursor = answer.cursor or self.cursor
        self.live = answer.live

    def complete(self, lengths: dict[str, int]) -> bool:
        """Whether each of these executions was told from its first event to its last, once and in order."""
        return all(self.sequences.get(key) == list(range(1, length + 1)) for key, length in lengths.items())


def metadata(user_id: str = "anna", role: str = "user", life: float = 300) -> list[tuple[str, str]]:
    """Who calls."""
    return [("authorization", f"Bearer {identity.user_token(signing.JWT_SECRET, user_id, role, life)}")]


@asynccontextmanager
async def subscribed(
    told: Notifier, user_id: str = "anna", role: str = "user", life: float = 300, **fields: Any
) -> AsyncIterator[Subscriber]:
    """A subscription over gRPC, read in the background until the block is left or it ends by itself."""
    stub: Any = NotificationServiceStub(told.channel)  # Any: its type depends on the kind of channel
    subscriber = Subscriber()
    call = stub.Subscribe(messages.SubscribeRequest(**fields), metadata=metadata(user_id, role, life))

    async def read() -> None:
        try:
            async for answer in call:
                subscriber.take(answer)
        except grpc.aio.AioRpcError as error:
            subscriber.error = error

    reading = asyncio.create_task(read())
    try:
        yield subscriber
    finally:
        call.cancel()
        await asyncio.wait({reading})
