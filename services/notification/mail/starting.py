"""Builds what sends mails, where there is a mail server."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceStub
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from starlette.routing import BaseRoute

from services.common import grpc_client, run
from services.notification import followers, notices
from services.notification.clock import Clock, utc_now
from services.notification.config import NotificationSettings
from services.notification.mail import pages
from services.notification.mail.addresses import address_of
from services.notification.mail.api import PreferenceApi
from services.notification.mail.choices import Choices
from services.notification.mail.contacts import (
    IDEMPOTENT_OF_ACCOUNT,
    IDEMPOTENT_OF_GRAPH,
    Contacts,
    GraphNames,
)
from services.notification.mail.letters import Letters
from services.notification.mail.post import MailServer
from services.notification.mail.rounds import Rounds
from services.notification.mail.sending import Sender, Sending
from services.notification.mail.sorting import Sorter
from services.notification.mail.unsubscribing import Unsubscribing
from services.notification.repository.mail_preferences import PreferenceRepository
from services.notification.repository.mail_rounds import RoundRepository
from services.notification.repository.mails import MailRepository


@dataclass(frozen=True, slots=True)
class MailParts:
    """The parts of mail that the service puts in their places."""

    takes: Sequence[followers.Take]
    """Empty where no mails are sent."""
    notice_takes: Sequence[notices.Take]
    wake: Callable[[], None]
    """There may be something to send."""
    api: PreferenceApi
    routes: Sequence[BaseRoute]


@dataclass(frozen=True, slots=True)
class Mailing:
    """Takes in what is to be told, and sends it."""

    sorter: Sorter
    sender: Sender


async def open_mail(
    settings: NotificationSettings,
    resources: AsyncExitStack,
    process: run.Process,
    pool: "asyncpg.Pool[asyncpg.Record]",
    credentials: grpc_client.ServiceCredentials,
) -> MailParts:
    """Everything, as far as this installation sends mails."""
    choices = choices_of(settings, pool)
    mailing = await start_mailing(settings, pool, credentials, resources)
    api, routes = PreferenceApi(choices, mail_enabled=mailing is not None), pages.routes(choices)
    if mailing is None:
        return MailParts((), (), lambda: None, api, routes)
    process.hold("mails", mailing.sender.run())
    sorter = mailing.sorter
    return MailParts((sorter.take_turns,), (sorter.take_notices,), mailing.sender.wake, api, routes)


def choices_of(settings: NotificationSettings, pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock = utc_now) -> Choices:
    """What users choose. It is there without a mail server too: links in old mails still work."""
    return Choices(PreferenceRepository(pool), Unsubscribing(settings.service_secret.get_secret_value()), clock)


async def start_mailing(
    settings: NotificationSettings,
    pool: "asyncpg.Pool[asyncpg.Record]",
    credentials: grpc_client.ServiceCredentials,
    resources: AsyncExitStack,
    clock: Clock = utc_now,
) -> Mailing | None:
    """Builds it; None where there is no mail server. The sender runs when somebody holds it."""
    if not settings.smtp_host:
        return None
    account = await resources.enter_async_context(
        grpc_client.channel(settings.account_address, credentials, idempotent=IDEMPOTENT_OF_ACCOUNT)
    )
    graph = await resources.enter_async_context(
        grpc_client.channel(settings.graph_address, credentials, idempotent=IDEMPOTENT_OF_GRAPH)
    )
    contacts = Contacts(IdentityServiceStub(account))
    preferences, mails, rounds = PreferenceRepository(pool), MailRepository(pool), RoundRepository(pool)
    sender = Sender(
        mails,
        preferences,
        Rounds(rounds, mails, preferences, contacts),
        contacts,
        GraphNames(CatalogueServiceStub(graph)),
        Letters(settings.mail_execution_url),
        Unsubscribing(settings.service_secret.get_secret_value()),
        _sending(settings),
        clock,
    )
    return Mailing(Sorter(preferences, mails, rounds, settings.mails_per_hour, clock), sender)


def _sending(settings: NotificationSettings) -> Sending:
    server = MailServer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        security=settings.smtp_security,
        user=settings.smtp_user,
        password_file=settings.smtp_password_file,
        ca=settings.smtp_ca,
        sender=address_of(settings.mail_sender),
        timeout=settings.smtp_timeout,
    )
    return Sending(
        server=server,
        sender=settings.mail_sender,
        unsubscribe_url=settings.public_url.rstrip("/") + pages.PATH,
        retention=timedelta(days=settings.mail_retention_days),
    )
