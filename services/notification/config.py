"""Settings of the notification service: environment variables with the prefix BLOCKYARD_."""

from pathlib import Path

from pydantic import Field

from services.common.config import DatabaseSettings, Port, ServiceSettings


class NotificationSettings(ServiceSettings, DatabaseSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""

    web_port: Port = Field(8081, description="WebSocket, server-sent events and pages over HTTP; 0 takes a free one")
    web_port_file: Path | None = Field(None, description="A file that the bound port is written to")
    subscriptions_per_user: int = Field(
        1_000, ge=1, description="Open streams of a user on one replica at most, of whichever kind"
    )
