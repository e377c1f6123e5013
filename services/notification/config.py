"""Settings of the notification service: environment variables with the prefix BLOCKYARD_."""

from pydantic import Field

from services.common.config import DatabaseSettings, ServiceSettings


class NotificationSettings(ServiceSettings, DatabaseSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""

    subscriptions_per_user: int = Field(
        1_000, ge=1, description="Open streams of a user on one replica at most, of whichever kind"
    )
