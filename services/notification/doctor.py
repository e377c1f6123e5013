"""`python -m services.notification.doctor`: what is wrong where a replica of the notification service is to run."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from services.common.bus import NOTICES_CONFIGURATION
from services.common.doctor.findings import Check, Told, ok, wrong
from services.common.doctor.peers import peers_of
from services.common.doctor.program import Patient, main
from services.common.doctor.tokens import identity_provider
from services.notification.config import NotificationSettings

LISTENED = ("blockyard.event.*.*.*",)
MAIL_SECONDS = 4.0


def checks(settings: NotificationSettings, patient: Patient) -> list[Check]:
    """What only the notification service needs."""
    mail = [Check("mail server", partial(_mail, settings), ["settings"])] if settings.smtp_host else []
    return [
        *patient.messaging.checks([NOTICES_CONFIGURATION], LISTENED),
        *peers_of(settings, "notification").checks("graph", "execution", "credentials", "account"),
        *identity_provider(settings),
        *mail,
    ]


async def _mail(settings: NotificationSettings) -> AsyncIterator[Told]:
    """Whether it is there; whether it takes mails, only a mail would show."""
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        async with asyncio.timeout(MAIL_SECONDS):
            _, writer = await asyncio.open_connection(settings.smtp_host, settings.smtp_port)
            writer.close()
    except (OSError, TimeoutError) as error:
        yield wrong(
            f"{where} cannot be reached: {error or 'no answer'}",
            "Correct BLOCKYARD_SMTP_HOST and BLOCKYARD_SMTP_PORT, or let the network pass: mails wait meanwhile.",
        )
    else:
        yield ok(f"{where} is there")


if __name__ == "__main__":
    main(NotificationSettings, checks)
