"""A mail server in this process that does what a test tells it to: takes mails, refuses, hangs, and breaks off."""

import asyncio
import email
import email.policy
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HANG, DROP = "HANG", "DROP"
"""Instead of an answer: none at all, or the end of the connection."""
TAKE = ""
"""What a server answers that takes everything."""


@dataclass(eq=False)
class Receiver:
    """The server, what it has taken, and what it answers next."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    """Every mail, in order."""
    recipients: list[str] = field(default_factory=list)
    """Of all that were tried."""
    answers: dict[str, deque[str]] = field(default_factory=dict)
    """By command: what is answered the next times. Then everything is taken again."""
    connections: int = 0

    def answer(self, command: str, *answers: str) -> None:
        """What is answered to the next commands of this name: MAIL, RCPT or DATA."""
        self.answers.setdefault(command, deque()).extend(answers)

    def subjects(self) -> list[str]:
        return [str(message["Subject"]) for message in self.taken]

    def of(self, address: str) -> list[EmailMessage]:
        """What was taken for an address."""
        return [one for one in self.taken if one["To"].addresses[0].addr_spec == address]

    async def _next(self, server: SMTP, command: str) -> str:
        waiting = self.answers.get(command)
        answer = waiting.popleft() if waiting else TAKE
        if answer == HANG:
            await asyncio.Event().wait()
        if answer == DROP:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return answer

    # What aiosmtpd calls, by these names.

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = await self._next(server, "MAIL")
        envelope.mail_from = address
        return answer or "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.recipients.append(address)
        answer = await self._next(server, "RCPT")
        if not answer:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = await self._next(server, "DATA")
        if answer in (TAKE, DROP):
            # A server may take a mail and break off before it says so.
            assert isinstance(envelope.content, bytes)
            parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(parsed, EmailMessage)
            self.taken.append(parsed)
        return answer or "250 OK"


@asynccontextmanager
async def receiving(
    *, tls: ssl.SSLContext | None = None, implicit: bool = False, user: str = "", password: str = ""
) -> AsyncIterator[Receiver]:
    """A server; with `tls` it demands STARTTLS, or is TLS from the start; with a user it demands a password."""
    receiver = Receiver()

    def checked(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=good, handled=False)

    def protocol() -> SMTP:
        receiver.connections += 1
        return SMTP(
            receiver,
            hostname="mail.test",
            tls_context=None if implicit else tls,
            require_starttls=tls is not None and not implicit,
            authenticator=checked if user else None,
            auth_required=bool(user),
            auth_require_tls=False,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls if implicit else None)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
