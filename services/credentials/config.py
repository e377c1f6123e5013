"""Settings of the credentials service: environment variables with the prefix BLOCKYARD_."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from services.common.config import DatabaseSettings, ServiceSettings
from services.credentials.oauth.redirects import RedirectUris


class CredentialsSettings(ServiceSettings, DatabaseSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""

    vault_keys_url: str
    """Where the keys are that wrap secrets: "file:///folder", "env:", or a transit engine "https://host:8200/mount/name"."""
    vault_keys: SecretStr = SecretStr("")
    """The keys of "env:": {"<key id>": "<32 bytes in base64>"}."""
    vault_keys_token: SecretStr = SecretStr("")
    """The vault's token at a transit engine."""
    vault_keys_token_file: Path | None = None
    """A file with that token, read at each request; it wins over vault_keys_token."""
    vault_keys_ca: Path | None = None
    """Certificates that a transit engine's is checked by; the system's where it is not set."""
    vault_keys_timeout_seconds: float = Field(5.0, gt=0, le=30, description="For a question to a transit engine")
    canary_interval_seconds: float = Field(5.0, gt=0, le=60, description="How often the keys are looked at")
    data_key_seconds: float = Field(300.0, ge=0, description="How long data keys of a transit engine stay in memory")
    lease_retention_days: float = Field(30.0, gt=0, description="How long it is kept which run was given what")
    data_keys_kept: int = Field(10_000, ge=0, description="How many of them at most")

    credentials_of_user: int = Field(1_000, ge=1, description="Credentials that are kept for a user")

    provider_files: Path | None = None
    """A folder with files of providers (*.yaml) that add to those of the vault, or replace them by name."""
    oauth_clients: SecretStr = SecretStr("")
    """The vault's ids and secrets at the providers: {"github": {"client_id": "…", "client_secret": "…"}}."""
    oauth_clients_folder: Path | None = None
    """The same as files <provider>.json, as a mounted Secret has them. They win over oauth_clients."""
    oauth_redirect_uris: str = "http://127.0.0.1/callback"
    """Where providers may send browsers, with spaces between them. One on 127.0.0.1 without a port allows any port."""
    oauth_state_seconds: float = Field(600.0, ge=30, le=3600, description="How long an authorization may take")
    provider_timeout_seconds: float = Field(15.0, gt=0, le=60, description="For a whole request to a provider")
    refresh_ahead_seconds: float = Field(300.0, ge=0, description="Tokens that expire sooner are refreshed first")
    refresh_lease_seconds: float = Field(60.0, gt=0, description="How long a replica may take for a refresh")
    refresh_wait_seconds: float = Field(30.0, gt=0, description="How long a call waits for a refresh")
    refresh_pause_seconds: float = Field(5.0, ge=0, description="How long a provider that failed is not asked again")

    @field_validator("oauth_redirect_uris")
    @classmethod
    def _redirects(cls, text: str) -> str:
        RedirectUris.parse(text)
        return text

    @model_validator(mode="after")
    def _lease_outlasts_a_request(self) -> Self:
        if self.refresh_lease_seconds < 2 * self.provider_timeout_seconds:
            raise ValueError(
                "BLOCKYARD_REFRESH_LEASE_SECONDS: expected at least twice BLOCKYARD_PROVIDER_TIMEOUT_SECONDS; else "
                "two replicas could use one refresh token, which ends the grant at many providers."
            )
        return self
