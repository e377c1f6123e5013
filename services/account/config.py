"""Settings of the account service: environment variables with the prefix BLOCKYARD_."""

from pydantic import Field

from services.common.config import DatabaseSettings, ServiceSettings


class AccountSettings(ServiceSettings, DatabaseSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""

    identity_seconds: float = Field(
        3.0, gt=0, le=4, description="What a service was told of a caller holds for so long: a revoked key, at most"
    )
    api_keys_per_user: int = Field(100, ge=1, description="API keys of a user that can be used, at most")
    audit_retention_days: int = Field(
        365, ge=30, description="Audit entries are dropped by the month, once all of it is older than this"
    )
    credits_enabled: bool = Field(False, description="Executions cost credits; the execution service is told the same")
    hold_seconds: float = Field(30.0, ge=1, description="Credits held for a replica come free after so long in silence")
    undivided_credits: int = Field(20, ge=1, description="Up to so many free credits go to the first replica that asks")
    charges_retention_days: float = Field(
        400.0, ge=14, description="A repeated charge is known as such for so long after the start of its execution"
    )
