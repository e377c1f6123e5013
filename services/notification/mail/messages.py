"""A letter as the message that goes to the mail server."""

from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, parseaddr

from services.notification.mail.addresses import domain_of, usable
from services.notification.mail.letters import Letter, one_line
from services.notification.mail.records import Mail

WHOLE = ("list-unsubscribe", "message-id")
"""Headers whose value is read by programs that know nothing of encoded words."""
LONGEST_NAME = 60


class _Policy(EmailPolicy):
    def fold_binary(self, name: str, value: str) -> bytes:
        """As usual, but for what must stay in one piece."""
        if name.lower() in WHOLE:
            return f"{name}: {value}\r\n".encode("ascii")
        return super().fold_binary(name, value)


_POLICY = _Policy(linesep="\r\n", cte_type="7bit")


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes for a mail server."""

    recipient: str
    """In ASCII."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who a mail is from and to."""

    sender: str
    """An address, or "Name <address>"."""
    name: str
    email: str


def compose(mail: Mail, letter: Letter, envelope: Envelope, now: datetime, unsubscribe_url: str) -> Message:
    """The message of a mail: the same each time but for its date, with the same Message-ID. Raises AddressUnusable."""
    recipient = usable(envelope.email)
    message = EmailMessage(policy=_POLICY)
    message["From"] = _from(envelope.sender)
    message["To"] = Address(one_line(envelope.name, LONGEST_NAME), addr_spec=recipient)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{mail.mail_id}@{domain_of(envelope.sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    if unsubscribe_url:
        message["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(letter.text, cte="quoted-printable")
    message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    return Message(recipient, message.as_bytes())


def _from(sender: str) -> Address:
    name, address = parseaddr(sender)
    return Address(name, addr_spec=address)
