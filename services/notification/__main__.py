"""Starts the notification service: subscribers are told what executions do."""

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial

from blockyard.notification.v1.notification_service_pb2_grpc import add_NotificationServiceServicer_to_server
from blockyard.notification.v1.preference_service_pb2_grpc import add_PreferenceServiceServicer_to_server
from blockyard.notification.v1.webhook_service_pb2_grpc import add_WebhookServiceServicer_to_server
from blockyard.runner.v1.feed_service_pb2_grpc import FeedServiceStub
from starlette.routing import Route, WebSocketRoute

from services.common import bus as nats
from services.common import database, grpc_client, grpc_server, run
from services.common.admission import admitting
from services.common.notice_rows import NoticeRepository
from services.common.notices import NoticePublisher
from services.notification.api import NotificationApi
from services.notification.config import NotificationSettings
from services.notification.feeds import IDEMPOTENT, Feeds
from services.notification.followers import Follower
from services.notification.following import Following
from services.notification.hub import Hub
from services.notification.mail.starting import open_mail
from services.notification.notices import NoticeIntake
from services.notification.places import Places
from services.notification.repository.followers import FollowerRepository
from services.notification.repository.notices_taken import TakenNoticeRepository
from services.notification.tail import Tail
from services.notification.web import documentation
from services.notification.web import server as web
from services.notification.web.health import HealthPage
from services.notification.web.sockets import Sockets
from services.notification.web.streams import Streams
from services.notification.web.visitors import Gate
from services.notification.webhooks.wiring import open_webhooks

START_SECONDS = 3.0
"""Waited for the execution service before calls are taken."""


async def start(settings: NotificationSettings, resources: AsyncExitStack, process: run.Process) -> None:
    """Builds everything, top to bottom."""
    url = settings.database_url.get_secret_value()
    pool = await resources.enter_async_context(
        database.connect(url, "notification", pool_size=settings.database_pool_size)
    )
    await database.wait_for_schema(pool, "notification")
    bus = await resources.enter_async_context(nats.connect(settings.nats_url, "notification", settings.nats_access()))
    secret = settings.service_secret.get_secret_value()
    credentials = grpc_client.ServiceCredentials(secret, "notification", settings.tls())
    execution = await resources.enter_async_context(
        grpc_client.channel(settings.execution_address, credentials, idempotent=IDEMPOTENT)
    )
    feeds = Feeds(FeedServiceStub(execution))
    hub = Hub()
    tail = Tail(bus, feeds, hub.tell, hub.end)
    process.hold("tail", tail.run())
    with suppress(TimeoutError):
        # Whoever starts everything at once finds it ready; without the execution service it serves all the same.
        async with asyncio.timeout(START_SECONDS):
            await tail.begun.wait()
    following = Following(tail, hub, feeds)
    webhooks = await open_webhooks(settings, resources, process, pool, feeds)
    mail = await open_mail(settings, resources, process, pool, credentials)

    def wake() -> None:
        webhooks.wake()
        mail.wake()

    follower = Follower(FollowerRepository(pool), following, takes=[webhooks.take, *mail.takes], taken=wake)
    process.hold("outgoing", follower.run())
    connect_for_notices = partial(nats.connect, settings.nats_url, "notification", settings.nats_access())
    process.hold("notices", NoticePublisher(NoticeRepository(pool), connect_for_notices).run())
    intake = NoticeIntake(bus, TakenNoticeRepository(pool), mail.notice_takes, wake)
    process.hold("notices of all services", intake.run())
    places = Places(settings.subscriptions_per_user, settings.web_connections)
    admission = await resources.enter_async_context(admitting(settings))
    gate = Gate(admission)
    others = {
        "graph": settings.graph_address,
        "execution": settings.execution_address,
        "credentials": settings.credentials_address,
        "account": settings.account_address,
    }
    channels = {
        name: await resources.enter_async_context(grpc_client.channel(address, credentials))
        for name, address in others.items()
        if address
    }
    routes = [
        WebSocketRoute("/ws", Sockets(gate, following, places).serve),
        Route("/api/events", Streams(gate, following, places).stream),
        Route("/health", HealthPage(channels).show),
        *documentation.routes(),
        *mail.routes,
    ]
    await resources.enter_async_context(web.serve(settings, routes))
    checks = {"postgresql": lambda: database.is_healthy(pool), "feeds": tail.is_healthy}
    servicers: list[grpc_server.Registration] = [
        (add_NotificationServiceServicer_to_server, NotificationApi(following, places)),
        (add_WebhookServiceServicer_to_server, webhooks.api),
        (add_PreferenceServiceServicer_to_server, mail.api),
    ]
    await resources.enter_async_context(grpc_server.serve(settings, servicers, checks))


if __name__ == "__main__":
    run.main(NotificationSettings, start)
