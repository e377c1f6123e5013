"""Settings of the account service: environment variables with the prefix BLOCKYARD_."""

from services.common.config import DatabaseSettings, ServiceSettings


class AccountSettings(ServiceSettings, DatabaseSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""
