"""Sends mails over SMTP, to servers that egress allows, and never without TLS."""

import asyncio
import base64
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from enum import Enum
from functools import cache

import aiosmtplib
from blockyard.block import (
    Block,
    BlockCategory,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    SchemaField,
    UserPasswordCredentials,
)
from blockyard.block.resources import Factory
from blockyard.egress import Egress, EgressTimeout, open_egress
from pydantic import BaseModel, Field

from blocks.mail.messages import Mail, write_mail
from blocks.network.server_words import without

COMMAND_SECONDS = 30.0
"""For one answer of the server."""
TOTAL_SECONDS = 120.0
"""For a mail with all that belongs to it."""
SENT = "Email sent successfully"


class Encryption(Enum):
    """When TLS begins."""

    STARTTLS = "on request, before anything that is secret"
    AT_ONCE = "with the connection"


# What serves mail; anything else could be another service of somebody's network.
PORTS: Mapping[int, Encryption] = {
    25: Encryption.STARTTLS,
    465: Encryption.AT_ONCE,
    587: Encryption.STARTTLS,
    2525: Encryption.STARTTLS,
}


class SMTPConfig(BaseModel):
    """The server that takes the mail."""

    smtp_server: str = Field(description="Host of the mail server.", min_length=1)
    smtp_port: int = Field(description="Its port: 25, 465, 587 or 2525.", default=25)
    sender: str = Field(description="Address of the sender; the user name if empty.", default="")


@cache
def _system_tls() -> ssl.SSLContext:
    # To read all certificates takes long.
    return ssl.create_default_context()


async def _test_send(_: Context, config: SMTPConfig, account: UserPasswordCredentials, mail: Mail) -> None:
    if "nobody@example.com" in mail.recipients:
        raise BlockExecutionError("nobody@example.com: is refused by the server (550): no such user")


class SendEmailBlock(Block):
    class Input(BlockSchema):
        to_email: str = SchemaField(
            description="Address of the recipient; several with commas between them.", placeholder="ada@example.com"
        )
        subject: str = SchemaField(description="Subject of the mail.", placeholder="Report of the day")
        body: str = SchemaField(description="The mail: plain text, or HTML.", placeholder="Good morning!")
        config: SMTPConfig = SchemaField(description="The server that takes the mail.")
        credentials: CredentialsReference = CredentialsField(
            provider="smtp",
            types=["user_password"],
            named_only=True,
            description="User name and password for the mail server.",
        )

    class Output(BlockSchema):
        status: str = SchemaField(description="That the server has taken the mail.")
        error: str = SchemaField(description="Why the mail was not sent.")

    def __init__(
        self,
        open_client: Factory[Egress] = open_egress,
        tls: Callable[[], ssl.SSLContext] = _system_tls,
        ports: Mapping[int, Encryption] = PORTS,
        command_seconds: float = COMMAND_SECONDS,
    ) -> None:
        """`tls` gives the certificates that are trusted; `ports` may be sent to, with when TLS begins there."""
        self._open_client = open_client
        self._tls = tls
        self._ports = ports
        self._command_seconds = command_seconds
        reference = {"id": "b7d4a1de-7f7e-4d1c-8a60-3b1f4a1c9f52", "provider": "smtp", "type": "user_password"}
        mail = {
            "to_email": "ada@example.com",
            "subject": "Hello",
            "body": "Good morning!",
            "config": {"smtp_server": "smtp.example.com", "smtp_port": 587},
            "credentials": reference,
        }
        super().__init__(
            id="4335878a-394e-4e67-adf2-919877ff49ae",
            description="Sends a mail over an SMTP server, with TLS.",
            categories={BlockCategory.COMMUNICATION},
            input_schema=self.Input,
            output_schema=self.Output,
            # A mail that was sent twice has two readers' attention.
            effect=Effect.ONCE,
            timeout=TOTAL_SECONDS + 30,
            test_input=[
                mail,
                {**mail, "to_email": "Ada <ada@example.com>, bob@example.com", "body": "<p>Good morning!</p>"},
                {**mail, "to_email": "nobody@example.com"},
                {**mail, "subject": "Hello\r\nBcc: others@example.com"},
                {**mail, "config": {"smtp_server": "smtp.example.com", "smtp_port": 22}},
            ],
            test_output=[
                ("status", SENT),
                ("status", SENT),
                ("error", "nobody@example.com: is refused by the server (550): no such user"),
                ("error", "subject: holds a line break or a control character, which headers must not have"),
                ("error", "config.smtp_port: 22 is no port of mail servers: 25, 465, 587 and 2525 are"),
            ],
            test_mock={"send": _test_send},
            test_credentials={"credentials": {"username": "me@example.com", "password": "example password"}},
        )

    async def send(self, context: Context, config: SMTPConfig, account: UserPasswordCredentials, mail: Mail) -> None:
        """Hands the mail to the server, for all recipients or for none."""
        tls = await asyncio.to_thread(self._tls)
        at_once = self._ports[config.smtp_port] is Encryption.AT_ONCE
        try:
            async with context.resource(self._open_client) as egress, asyncio.timeout(TOTAL_SECONDS):
                connection = await egress.connect(config.smtp_server, config.smtp_port)
                smtp = aiosmtplib.SMTP(
                    hostname=config.smtp_server,
                    sock=connection,
                    use_tls=at_once,
                    start_tls=False,
                    tls_context=tls,
                    # The name of this machine is nobody's business.
                    local_hostname="[127.0.0.1]",
                    timeout=self._command_seconds,
                )
                with closing(smtp), _told(config, account):
                    # From here on the connection is the client's to close.
                    await smtp.connect()
                    if not at_once:
                        await _begin_tls(smtp)
                    await _log_in(smtp, account)
                    await _hand_over(smtp, mail)
        except TimeoutError as error:
            raise EgressTimeout(f"{_place(config)}: not done within {TOTAL_SECONDS:g} s") from error

    async def run(self, input_data: Input, context: Context, credentials: UserPasswordCredentials) -> BlockOutput:
        config = input_data.config
        if config.smtp_port not in self._ports:
            *others, last = [str(port) for port in self._ports]
            allowed = f"{', '.join(others)} and {last} are" if others else f"{last} is"
            raise BlockExecutionError(f"config.smtp_port: {config.smtp_port} is no port of mail servers: {allowed}")
        # A repeat by hand has the same Message-ID, by which mailboxes know that it is the same mail.
        key = context.task_id or uuid.uuid4().hex
        sender = config.sender or credentials.name
        # In a thread: a long body in HTML takes long to read.
        mail = await asyncio.to_thread(
            write_mail, sender, input_data.to_email, input_data.subject, input_data.body, key
        )
        await self.send(context, config, credentials, mail)
        yield "status", SENT


async def _begin_tls(smtp: aiosmtplib.SMTP) -> None:
    await smtp.ehlo()
    if not smtp.supports_extension("starttls"):
        raise _Refusal("offers no TLS (STARTTLS), and a password is not sent without it; use port 465 if it has that")
    await smtp.starttls()


async def _log_in(smtp: aiosmtplib.SMTP, account: UserPasswordCredentials) -> None:
    try:
        await smtp.login(account.name, account.key)
    except aiosmtplib.SMTPAuthenticationError as error:
        raise _Refusal(f"does not take the user name and password{_said(error)}") from None
    except aiosmtplib.SMTPNotSupported:
        raise _Refusal("takes no user names and passwords (AUTH)") from None


async def _hand_over(smtp: aiosmtplib.SMTP, mail: Mail) -> None:
    if mail.needs_unicode and not smtp.supports_extension("smtputf8"):
        raise _Refusal("takes no addresses with other letters than those of ASCII before the @ (SMTPUTF8)")
    encoding, options = ("utf-8", ["SMTPUTF8", "BODY=8BITMIME"]) if mail.needs_unicode else ("ascii", [])
    try:
        await smtp.mail(mail.sender, options=options, encoding=encoding)
    except aiosmtplib.SMTPSenderRefused as error:
        raise _Refusal(f"refuses the sender {mail.sender}{_said(error)}") from None
    for recipient in mail.recipients:
        try:
            await smtp.rcpt(recipient, encoding=encoding)
        except aiosmtplib.SMTPRecipientRefused as error:
            raise _Refusal(f"refuses the recipient {recipient}{_said(error)}; nobody was sent the mail") from None
    try:
        await smtp.data(mail.encode())
    except aiosmtplib.SMTPDataError as error:
        raise _Refusal(f"refuses the mail{_said(error)}") from None
    except (aiosmtplib.SMTPTimeoutError, aiosmtplib.SMTPServerDisconnected):
        raise _Refusal("has not said whether it has taken the mail: it may be sent or not") from None
    with suppress(aiosmtplib.SMTPException):
        # The mail is taken; how the server says goodbye is no matter.
        await smtp.quit()


class _Refusal(Exception):
    """What the server does, without its name."""


def _said(error: aiosmtplib.SMTPResponseException) -> str:
    return f" ({error.code}): {error.message}"


def _place(config: SMTPConfig) -> str:
    return f"{config.smtp_server}:{config.smtp_port}"


@contextmanager
def _told(config: SMTPConfig, account: UserPasswordCredentials) -> Iterator[None]:
    """Turns what the client raises into errors of ours; the password, and what stands for it, is never in them."""
    try:
        yield
    except _Refusal as error:
        raise _failure(config, account, str(error)) from None
    except aiosmtplib.SMTPTimeoutError:
        raise EgressTimeout(f"{_place(config)}: does not answer") from None
    except aiosmtplib.SMTPResponseException as error:
        # What is no answer of SMTP has a number below 0.
        what = f"does not go on{_said(error)}" if error.code > 0 else "speaks no proper SMTP"
        raise _failure(config, account, what) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _failure(config, account, _trouble(error)) from None


def _failure(config: SMTPConfig, account: UserPasswordCredentials, message: str) -> BlockExecutionError:
    plain = f"\0{account.name}\0{account.key}"
    forms = (base64.b64encode(text.encode()).decode() for text in (plain, account.key))
    return BlockExecutionError(f"{_place(config)}: {without(message, account.key, *forms)}")


def _trouble(error: BaseException) -> str:
    """A sentence for a connection that failed. The library's own sentences name addresses."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS cannot be agreed on"
    if any(isinstance(cause, aiosmtplib.SMTPServerDisconnected | ConnectionError) for cause in causes):
        return "the connection broke"
    return f"speaks no proper SMTP ({type(error).__name__})"
