"""Settings of the credentials service: environment variables with the prefix BLOCKYARD_."""

from services.common.config import DatabaseSettings, ServiceSettings


class CredentialsSettings(ServiceSettings, DatabaseSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""
