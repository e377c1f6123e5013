"""The settings that every service reads from its environment, and the sentences it ends with when they are wrong.

A service adds its own settings in a subclass in its config.py; nothing else reads the environment.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "BLOCKYARD_"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class ServiceSettings(BaseSettings):
    """What every process of Blockyard is told: where it listens, whom it trusts, and where the other parts are."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    host: str = "127.0.0.1"
    port: Port = 50051
    """The gRPC port; 0 takes a free one."""
    port_file: Path | None = None
    """Where the bound port is written once the server listens, for whoever started the process with port 0."""
    metrics_port: Port = 0
    """Prometheus metrics over HTTP; 0 turns them off."""

    jwt_secret: Annotated[SecretStr, Field(min_length=32)]
    """Signs the tokens of users and services (HS256), so it has at least 32 characters."""

    nats_url: str = "nats://127.0.0.1:4222"
    graph_address: str = "127.0.0.1:50051"
    execution_address: str = "127.0.0.1:50052"
    credentials_address: str = ""
    """Empty where there is no vault: nodes that name credentials then cannot run."""
    account_address: str = ""
    """Empty where there is no account service: tokens alone say who calls, and API keys are refused."""
    blob_url: str = "file:///var/lib/blockyard/blobs"

    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    log_format: Literal["json", "console"] = "json"
    otlp_endpoint: str = ""
    """Where spans are sent (host:port of an OTLP collector, gRPC); empty turns tracing off."""

    drain_seconds: Seconds = 0
    """How long a stopping service serves on after it reports NOT_SERVING, while endpoints lag behind."""
    grace_seconds: Seconds = 10
    """How long calls under way may take to end once the server stops."""
    max_concurrent_calls: Annotated[int, Field(ge=1)] = 5000
    """Calls under way at once, streams included; further ones are UNAVAILABLE. Health is always answered."""
    max_connection_age_seconds: Annotated[int, Field(ge=1)] = 120
    """Connections are renewed after this time, so that clients find new replicas."""

    @classmethod
    def service_name(cls) -> str:
        """The service these settings belong to: `services/<name>/config.py` declares them."""
        return cls.__module__.split(".")[-2] if "." in cls.__module__ else cls.__module__


class DatabaseSettings(BaseSettings):
    """What a service with a database adds: `class Settings(ServiceSettings, DatabaseSettings)`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: SecretStr
    """PostgreSQL, as the service's own role."""
    database_pool_size: Annotated[int, Field(ge=1, le=500)] = 10


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load(settings_class: type[AnySettings]) -> AnySettings:
    """Read the settings from the environment, or name everything that is wrong with them at once and exit with 2."""
    try:
        return settings_class()
    except ValidationError as error:
        sentences = [_sentence(detail) for detail in error.errors(include_url=False, include_context=False)]
        print("The configuration is not valid:", *sorted(sentences), sep="\n  ", file=sys.stderr)
        raise SystemExit(2) from None


def _sentence(detail: ErrorDetails) -> str:
    """The variable and what is wrong with it. The value itself stays unsaid: it may be a secret."""
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    variable = PREFIX + "_".join(str(part) for part in detail["loc"]).upper()
    if detail["type"] == "missing":
        return f"{variable} is not set, and there is no default."
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{variable}: {message[:1].lower()}{message[1:]}."
