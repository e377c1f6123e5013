"""Replicas that send webhooks, on tables of their own, with a clock that is moved, and endpoints that are told."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import grpc
from aiohttp import web
from blockyard.event.v1.event_pb2 import EVENT_KIND_NODE_COMPLETED, Event, EventBatch
from blockyard.notification.v1.webhook_pb2 import Webhook as WebhookMessage
from blockyard.notification.v1.webhook_pb2 import WebhookFilter
from blockyard.runner.v1.feed_service_pb2_grpc import FeedServiceStub

from services.common import database, run
from services.common.identity import Caller
from services.common.permissions import Role
from services.notification.config import NotificationSettings
from services.notification.entries import Entry
from services.notification.feeds import Feeds
from services.notification.repository.deliveries import DeliveryRepository
from services.notification.webhooks.records import Delivery, Webhook
from services.notification.webhooks.wiring import Webhooks, open_webhooks
from tests import signing
from tests.unit.egress.network import http_server
from tests.waiting import until

TOGETHER = 0.15
"""Part of a pause by which `play_on` comes later than it must."""
ANNA = Caller("anna", Role.USER)


class MovedClock:
    """The time, moved on as a test wants it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move_to(self, time: datetime) -> None:
        """It is that time now, if it was earlier."""
        self.ahead += max(timedelta(), time - self() + timedelta(milliseconds=1))


@dataclass(eq=False)
class Replica:
    """One that sends."""

    webhooks: Webhooks
    resources: AsyncExitStack

    async def close(self) -> None:
        await self.resources.aclose()


@dataclass(eq=False)
class Office:
    """What a test works with."""

    url: str
    pool: "asyncpg.Pool[asyncpg.Record]"
    settings: dict[str, Any]
    tls: ssl.SSLContext | None = None
    clock: MovedClock = field(default_factory=MovedClock)
    replicas: list[Replica] = field(default_factory=list)
    _told: Counter[str] = field(default_factory=Counter)

    @property
    def first(self) -> Webhooks:
        return self.replicas[0].webhooks

    @property
    def rows(self) -> DeliveryRepository:
        return DeliveryRepository(self.pool)

    async def add_replica(self, **settings: Any) -> Replica:
        resources = AsyncExitStack()
        pool = await resources.enter_async_context(database.connect(self.url, "notification", pool_size=8))
        channel = await resources.enter_async_context(grpc.aio.insecure_channel("127.0.0.1:1"))
        values = NotificationSettings(database_url=self.url, **signing.SETTINGS, **self.settings, **settings)  # type: ignore[arg-type]  # text becomes a secret
        feeds, process = Feeds(FeedServiceStub(channel)), run.Process(resources)
        webhooks = await open_webhooks(values, resources, process, pool, feeds, self.clock, self.tls)
        replica = Replica(webhooks, resources)
        self.replicas.append(replica)
        return replica

    async def webhook(self, url: str, caller: Caller = ANNA, **filter: Any) -> tuple[Webhook, str]:
        """A new webhook and its secret."""
        return await self.first.subscriptions.create(caller, WebhookMessage(url=url, filter=WebhookFilter(**filter)))

    async def happen(self, many: int = 1, user_id: str = "anna", execution_id: str = "e1", size: int = 0) -> None:
        """So many events come to be, and are taken in as the follower does."""
        batch = EventBatch(execution_id=execution_id, graph_id="g1", graph_version=1, user_id=user_id)
        for _ in range(many):
            self._told[execution_id] += 1
            batch.events.append(
                Event(
                    sequence=self._told[execution_id], kind=EVENT_KIND_NODE_COMPLETED, node_id="n", message="x" * size
                )
            )
        async with self.pool.acquire() as connection, connection.transaction():
            await self.first.taking.take(connection, [Entry.of_turn(0, 1, batch.SerializeToString())])
        for replica in self.replicas:
            replica.webhooks.wake()

    async def settled(self) -> None:
        """All that is due was sent, and recorded."""

        async def idle() -> bool:
            return not await self.pool.fetchval(
                """
                SELECT count(*) FROM webhook_queues q JOIN webhooks w USING (webhook_id)
                WHERE q.holder <> '' OR (w.state = 1 AND q.due_time <= $1 AND q.not_before <= $1)
                """,
                self.clock(),
            )

        await until(idle, "nothing is due")

    async def next_due(self) -> datetime | None:
        """When something is sent next, of active webhooks."""
        due: datetime | None = await self.pool.fetchval(
            """
            SELECT min(greatest(d.due_time, q.not_before)) FROM webhook_deliveries d
            JOIN webhook_queues q USING (webhook_id) JOIN webhooks w USING (webhook_id)
            WHERE d.state = 1 AND w.state = 1
            """
        )
        return due

    async def play_on(self) -> None:
        """Moves the clock on until nothing waits any more. What is due at nearly the same time is sent together."""
        await self.settled()
        while (due := await self.next_due()) is not None:
            self.clock.move_to(due + (due - self.clock()) * TOGETHER)
            for replica in self.replicas:
                replica.webhooks.wake()
            await self.settled()

    async def log(self, webhook_id: UUID) -> list[Delivery]:
        """The deliveries of a webhook, oldest first."""
        return list(reversed(await self.rows.page(webhook_id, None, None, 10_000)))

    async def notices(self) -> list[asyncpg.Record]:
        return list(await self.pool.fetch("SELECT user_id, notice FROM notices ORDER BY create_time"))


@asynccontextmanager
async def office(
    tables: str, replicas: int = 1, tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[Office]:
    """Replicas that may send to loopback, each request within a second."""
    values = {"egress_allow": "127.0.0.1", "webhook_http": True, "webhook_seconds": 1.0, **settings}
    async with database.connect(tables, "notification", pool_size=4) as pool:
        await pool.execute("TRUNCATE webhooks, webhook_queues, webhook_replays, notices, followers")
        await pool.execute("TRUNCATE webhook_deliveries, webhook_attempts")
        built = Office(tables, pool, values, tls)
        try:
            for _ in range(replicas):
                await built.add_replica()
            yield built
        finally:
            for replica in built.replicas:
                await replica.close()


@dataclass(frozen=True)
class Post:
    """What an endpoint received."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(eq=False)
class Endpoint:
    """Takes whatever comes; waits before each answer until `open` is set."""

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.posts.append(Post(dict(request.headers), await request.read()))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        return web.Response(status=204)


@asynccontextmanager
async def endpoint(*, opened: bool = True) -> AsyncIterator[Endpoint]:
    """One that answers 204, at once or when the test lets it."""
    built = Endpoint()
    if opened:
        built.open.set()
    async with http_server(built.handle) as built.port:
        yield built
        built.open.set()
