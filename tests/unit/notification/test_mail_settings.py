"""Settings of the mail server: what cannot work is refused at the start, with what to do."""

import email
import email.policy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from services.notification.config import NotificationSettings
from services.notification.mail.kinds import MailKind
from services.notification.mail.letters import Letter
from services.notification.mail.messages import Envelope, compose
from services.notification.mail.records import Mail
from tests import signing

GOOD: dict[str, Any] = {
    **signing.SETTINGS,
    "database_url": "postgresql://nowhere",
    "account_address": "127.0.0.1:1",
    "smtp_host": "mail.example.org",
    "mail_sender": "Blockyard <by@example.org>",
    "public_url": "https://blockyard.example.org",
}
PASSWORD = Path("/run/secrets/smtp")


def test_mail_works_with_a_host_a_sender_and_an_address_for_links() -> None:
    settings = NotificationSettings(**GOOD, smtp_user="by", smtp_password_file=PASSWORD)
    assert (settings.smtp_port, settings.smtp_security) == (587, "starttls")


@pytest.mark.parametrize(
    "sender", ["by@bücher.example", "Bücher <by@bücher.example>", '"Bücher, Blöcke" <by@bücher.example>']
)
def test_mails_can_be_written_from_every_sender_that_is_taken(sender: str) -> None:
    settings = NotificationSettings(**{**GOOD, "mail_sender": sender})
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    mail = Mail(uuid4(), "anna", "key", MailKind.LOW_BALANCE, None, {}, noon)
    envelope = Envelope(settings.mail_sender, "Anna", "anna@example.org")

    message = compose(mail, Letter("subject", "text", "<p>text</p>"), envelope, noon, f"{settings.public_url}/end")

    written = email.message_from_bytes(message.data, policy=email.policy.default)
    assert written["From"].addresses[0].addr_spec == "by@xn--bcher-kva.example"
    assert written["From"].addresses[0].display_name == sender.rpartition("<")[0].strip(' "')
    assert written["Message-ID"].endswith("@xn--bcher-kva.example>")


def test_without_a_host_there_are_no_mails_and_nothing_more_is_needed() -> None:
    few: dict[str, Any] = {**signing.SETTINGS, "database_url": "postgresql://nowhere"}
    assert not NotificationSettings(**few).smtp_host


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mail_sender": ""}, "BLOCKYARD_MAIL_SENDER must name an address"),
        ({"mail_sender": "Blockyard"}, "BLOCKYARD_MAIL_SENDER must name an address"),
        ({"public_url": ""}, "BLOCKYARD_PUBLIC_URL must be set"),
        ({"public_url": "blockyard.example.org"}, "pattern"),
        ({"public_url": "https://bücher.example"}, "BLOCKYARD_PUBLIC_URL must be ASCII"),
        ({"public_url": "https://example.org/bücher"}, "BLOCKYARD_PUBLIC_URL must be ASCII"),
        ({"mail_sender": "bücher@example.org"}, "BLOCKYARD_MAIL_SENDER must name an address"),
        ({"account_address": ""}, "BLOCKYARD_ACCOUNT_ADDRESS must be set"),
        ({"smtp_user": "by"}, "must be set together"),
        ({"smtp_password_file": PASSWORD}, "must be set together"),
        ({"smtp_user": "by", "smtp_password_file": PASSWORD, "smtp_security": "none"}, "would be readable"),
        ({"smtp_security": "maybe"}, "starttls"),
        ({"mail_execution_url": "https://app.example.org/runs"}, "execution_id"),
        ({"mails_per_hour": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        NotificationSettings(**{**GOOD, **changes})
