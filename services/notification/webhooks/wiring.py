"""Builds what webhooks need, for __main__."""

import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from services.common.derived_secrets import DerivedSecrets
from services.common.run import Process
from services.notification.clock import Clock, utc_now
from services.notification.config import NotificationSettings
from services.notification.feeds import Feeds
from services.notification.followers import Take
from services.notification.repository.deliveries import DeliveryRepository
from services.notification.repository.replays import ReplayRepository
from services.notification.repository.webhooks import WebhookRepository
from services.notification.webhooks.api import WebhookApi
from services.notification.webhooks.checking import Rules
from services.notification.webhooks.deliveries import Deliveries
from services.notification.webhooks.disabling import Patience
from services.notification.webhooks.replaying import Replayer
from services.notification.webhooks.sender import Sender
from services.notification.webhooks.sending import Poster
from services.notification.webhooks.signing import PURPOSE, Signer
from services.notification.webhooks.slots import Slots
from services.notification.webhooks.subscriptions import Subscriptions
from services.notification.webhooks.taking import Taking
from services.notification.webhooks.upkeep import keep_tidy

PINGS = 16
"""Under way at a time. They have places of their own: a test of a webhook must not wait for others that are slow."""


@dataclass(frozen=True, slots=True, eq=False)
class Webhooks:
    """All that is built."""

    api: WebhookApi
    subscriptions: Subscriptions
    deliveries: Deliveries
    taking: Taking
    sender: Sender

    @property
    def take(self) -> Take:
        """For the follower."""
        return self.taking.take

    def wake(self) -> None:
        """There may be something to send."""
        self.sender.wake()


async def open_webhooks(
    settings: NotificationSettings,
    resources: AsyncExitStack,
    process: Process,
    pool: "asyncpg.Pool[asyncpg.Record]",
    feeds: Feeds,
    clock: Clock = utc_now,
    tls: ssl.SSLContext | None = None,
) -> Webhooks:
    """Builds everything, top to bottom, and sends for as long as the process runs. `tls` has other certificates than
    the system's."""
    policy = settings.egress_policy()
    poster = await resources.enter_async_context(Poster(policy, settings.webhook_seconds, clock, tls))
    signer = Signer(DerivedSecrets(settings.webhook_keys, settings.service_secret, PURPOSE))
    slots = Slots(settings.webhook_requests)
    webhooks, rows = WebhookRepository(pool), DeliveryRepository(pool)
    patience = Patience(settings.webhook_failing_days, settings.webhook_failures)
    sender = Sender(rows, webhooks, poster, signer, slots, clock, patience, settings.webhook_requests_each)
    most, most_bytes = settings.webhook_backlog, settings.webhook_backlog_bytes
    replayer = Replayer(ReplayRepository(pool), webhooks, feeds, sender.wake, clock, most, most_bytes)
    rules = Rules(policy, settings.webhook_http)
    subscriptions = Subscriptions(webhooks, signer, rules, clock, settings.webhooks_of_user, sender.wake)
    deliveries = Deliveries(subscriptions, rows, replayer, poster, signer, Slots(PINGS), clock, sender.wake)
    process.hold("webhooks", sender.run())
    process.hold("replays of webhooks", replayer.run())
    process.hold("old deliveries", keep_tidy(rows, clock, timedelta(days=settings.webhook_retention_days)))
    api = WebhookApi(subscriptions, deliveries, settings.service_secret.get_secret_value())
    taking = Taking(clock, most, most_bytes)
    return Webhooks(api, subscriptions, deliveries, taking, sender)
