"""The mail server: one connection at a time, and what its answers mean for a mail.

5xx about the mail or its recipient     it will never be taken
5xx about whom the mail is from, and    the operator's business: tried again, as all others would go the same way
what this server takes from us
4xx, and all trouble with connections   tried again
"""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiosmtplib

from services.notification.mail.messages import Message

Security = Literal["starttls", "tls", "none"]

MOST_SECONDS = 100.0
"""For a connection, and for a mail, however many steps answer in time: whoever claims mails must be done with them
before the lease is over."""

_ENHANCED = re.compile(r"(?:^|\(#)5\.(\d{1,3})\.(\d{1,3})\b")
"""The code of RFC 3463, where most servers put it and where some do: "(#5.1.1)"."""
_OF_SENDERS = ("0", "7", "8")
"""Of the codes 5.1.x about addresses: those of the sender's, and one that Postfix says of both."""


class ServerAway(Exception):
    """The server cannot be reached, or takes no mail from us now; the message says why. The connection is of no use."""


class TakenLater(Exception):
    """The server does not take this mail now. Others may be."""


class RefusedForGood(Exception):
    """The server will never take this mail."""


class AddressRefused(RefusedForGood):
    """Nor another one to this address."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where it is, and who we are."""

    host: str
    port: int
    security: Security
    user: str
    password_file: Path | None
    """Read for each connection, so that it may change."""
    ca: Path | None
    """Authority of its certificate (PEM); the system's where there is none."""
    sender: str
    """The bare address."""
    timeout: float
    """Seconds for each step."""
    most_seconds: float = MOST_SECONDS
    """For all steps of a connection, and of a mail."""

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["Line"]:
        """A connection, for as long as the block lasts. Raises ServerAway."""
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.security == "tls",
            start_tls=self.security == "starttls",
            tls_context=self._tls(),
            username=self.user or None,
            password=self._password(),
            # The library would ask the name server for it, and block until that answers.
            local_hostname=socket.gethostname() or "localhost",
            timeout=self.timeout,
        )
        try:
            async with asyncio.timeout(self.most_seconds):
                await client.connect()
        except aiosmtplib.SMTPAuthenticationError as error:
            client.close()
            raise ServerAway(f"the mail server refuses our user or password: {told(error)}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            client.close()
            raise ServerAway(told(error)) from error
        try:
            yield Line(client, self.sender, self.most_seconds)
        finally:
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=2)
            client.close()

    def _tls(self) -> ssl.SSLContext | None:
        if self.security == "none":
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:  # SSLError is one
            raise ServerAway(f"the authority {self.ca} cannot be read: {error}") from error

    def _password(self) -> str | None:
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ServerAway(f"the password cannot be read: {error}") from error


class Line:
    """A connection to the mail server."""

    def __init__(self, client: aiosmtplib.SMTP, sender: str, most_seconds: float) -> None:
        self._client = client
        self._sender = sender
        self._most_seconds = most_seconds

    async def send(self, message: Message) -> None:
        """Returns once the server has it. Raises ServerAway, TakenLater, RefusedForGood or AddressRefused."""
        try:
            async with asyncio.timeout(self._most_seconds):
                await self._client.sendmail(self._sender, message.recipient, message.data)
        except aiosmtplib.SMTPRecipientsRefused as error:
            refusal = error.recipients[0]
            if refuses_address(refusal.code, refusal.message):
                raise AddressRefused(told(refusal)) from error
            raise TakenLater(told(refusal)) from error
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPHeloError) as error:
            raise ServerAway(told(error)) from error
        except aiosmtplib.SMTPResponseException as error:
            if error.code >= 500:
                raise RefusedForGood(told(error)) from error
            raise (ServerAway if error.code == 421 else TakenLater)(told(error)) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise ServerAway(told(error)) from error


def refuses_address(code: int, message: str) -> bool:
    """Whether an answer to RCPT is about the recipient's address: it does not exist, or its mailbox takes nothing.

    Servers keep other refusals until then too. By default Postfix says only there that it does not know the sender,
    that it takes nothing from this client, or that it sends nothing on: an address is not to suffer for that.
    """
    if code < 500:
        return False
    if found := _ENHANCED.search(message):
        subject, detail = found.groups()
        return subject == "2" or (subject == "1" and detail not in _OF_SENDERS)
    # Exim says "550 relay not permitted" of an address that may well exist.
    return code in (550, 553) and "relay" not in message.lower()


def told(error: Exception) -> str:
    """What a server said, or what became of the connection, in one line."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return " ".join(f"{error.code} {error.message}".split())[:500]
    return (" ".join(str(error).split()) or type(error).__name__)[:500]
