"""Settings of the notification service: environment variables with the prefix BLOCKYARD_."""

from pathlib import Path
from typing import Annotated, Literal, Self

from blockyard.egress import EgressConfigurationError, EgressPolicy
from pydantic import AfterValidator, Field, SecretStr, model_validator

from services.common.config import DatabaseSettings, Port, ServiceSettings
from services.common.derived_secrets import DerivingKeys
from services.notification.mail.addresses import AddressUnusable, address_of, usable, with_ascii_address


class NotificationSettings(ServiceSettings, DatabaseSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""

    web_port: Port = Field(8081, description="WebSocket, server-sent events and pages over HTTP; 0 takes a free one")
    web_port_file: Path | None = Field(None, description="A file that the bound port is written to")
    subscriptions_per_user: int = Field(
        1_000, ge=1, description="Open streams of a user on one replica at most, of whichever kind"
    )
    web_connections: int = Field(
        10_000, ge=1, description="WebSockets and server-sent events open on one replica at most, some 50 KiB each"
    )
    egress_allow: str = ""
    """Internal addresses that webhooks may lead to all the same: hosts, *.domains and networks, parted by commas."""
    egress_ports: str = ""
    """Ports that webhooks may lead to, such as "443, 8000-8999"; empty means 80, 443 and those from 1024 on."""
    webhook_http: bool = False
    """Webhooks may lead to http:// too: what is sent can then be read and changed on its way."""
    webhook_keys: DerivingKeys = SecretStr("")
    """From which the secrets of webhooks are made, parted by commas, each of at least 32 characters: new ones from the
    first; the others still count. Empty means service_secret, whose change is then the end of these secrets too."""
    webhooks_of_user: int = Field(50, ge=1, description="Webhooks of a user at most")
    webhook_requests: int = Field(
        100, ge=4, le=180, description="Requests to webhooks under way on one replica; of one user a quarter of them"
    )
    webhook_requests_each: int = Field(4, ge=1, description="Requests to one webhook under way at a time")
    webhook_seconds: float = Field(15.0, gt=0, le=60, description="For a request to a webhook, the answer included")
    webhook_backlog: int = Field(
        100_000, ge=1, description="Deliveries that wait for a webhook at most; with more it is disabled"
    )
    webhook_backlog_bytes: int = Field(268_435_456, ge=1, description="Size of these deliveries at most")
    webhook_failing_days: float = Field(
        5.0, gt=0, description="A webhook is disabled when nothing was delivered for so long, though something waited"
    )
    webhook_failures: int = Field(
        100, ge=1, description="Or when so many deliveries in a row have failed on all their attempts"
    )
    webhook_retention_days: float = Field(7.0, gt=0, description="How long the log of deliveries is kept")

    def egress_policy(self) -> EgressPolicy:
        """Where webhooks may lead."""
        return EgressPolicy.parse(self.egress_allow, self.egress_ports)

    @model_validator(mode="after")
    def _egress_can_be_read(self) -> Self:
        try:
            self.egress_policy()
        except EgressConfigurationError as error:
            raise ValueError(f"{error}.") from None
        return self

    smtp_host: str = Field("", description="The mail server; empty sends no mails at all")
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="starttls or tls; none, in plain text, for a server on the same machine"
    )
    smtp_user: str = Field("", description="Whom we log in as; empty does not")
    smtp_password_file: Path | None = Field(None, description="A file with the password, read at each connection")
    smtp_ca: Path | None = Field(None, description="Authority of the server's certificate (PEM); the system's if empty")
    smtp_timeout: float = Field(30.0, gt=0, le=60, description="For each answer of the mail server")
    mail_sender: Annotated[str, AfterValidator(with_ascii_address)] = Field(
        "", description='Whom mails are from: "Blockyard <blockyard@example.org>"'
    )
    public_url: str = Field("", pattern=r"^(https?://[^\s?#]+)?$", description="The edge as users reach it, for links")
    mail_execution_url: str = Field(
        "", pattern=r"^(https?://\S*\{execution_id\}\S*)?$", description="Where people look at an execution"
    )
    mails_per_hour: int = Field(20, ge=1, description="Mails of a user about single things; the rest are told in one")
    mail_retention_days: float = Field(30.0, ge=1, description="It is kept for so long what became of a mail")

    @model_validator(mode="after")
    def _mail_is_complete(self) -> Self:
        if bool(self.smtp_user) != (self.smtp_password_file is not None):
            raise ValueError("BLOCKYARD_SMTP_USER and BLOCKYARD_SMTP_PASSWORD_FILE must be set together.")
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError("BLOCKYARD_SMTP_SECURITY must not be none with a user: the password would be readable.")
        if not self.smtp_host:
            return self
        try:
            usable(address_of(self.mail_sender))
        except AddressUnusable:
            raise ValueError(
                'BLOCKYARD_MAIL_SENDER must name an address where BLOCKYARD_SMTP_HOST is set: "Blockyard <a@b.org>".'
            ) from None
        if not self.public_url:
            raise ValueError("BLOCKYARD_PUBLIC_URL must be set with BLOCKYARD_SMTP_HOST: mails link to it.")
        if not self.public_url.isascii():
            raise ValueError(
                "BLOCKYARD_PUBLIC_URL must be ASCII, as headers of mails are: hosts as xn--..., letters in paths as %.."
            )
        if not self.account_address:
            raise ValueError("BLOCKYARD_ACCOUNT_ADDRESS must be set with BLOCKYARD_SMTP_HOST: it knows the addresses.")
        return self
