"""The settings that every service reads from its environment, and the sentences it ends with when they are wrong.

A service adds its own settings in a subclass in its config.py; nothing else reads the environment.
"""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from services.common.addresses import parse_networks
from services.common.identity import Secrets
from services.common.nats_access import NatsAccess
from services.common.rate_limits import parse_rate
from services.common.tls import TlsFiles

PREFIX = "BLOCKYARD_"
_UNREADABLE = re.compile(r'field "(\w+)"')

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Secret = Annotated[SecretStr, Field(min_length=32)]
"""Signs tokens (HS256), so it has at least 32 characters."""


UserRole = Literal["admin", "user", "viewer"]


def _rate(text: str) -> str:
    parse_rate(text)
    return text


def _stream_replicas(number: int) -> int:
    # Of an even number one more must agree, and no more may be away.
    if number not in (1, 3, 5):
        raise ValueError("streams are kept by 1, 3 or 5 servers")
    return number


def _networks(text: str) -> str:
    parse_networks(text)
    return text


RateText = Annotated[str, AfterValidator(_rate)]
"""As rate_limits.py reads it; empty limits nothing."""


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class LogSettings(BaseSettings):
    """What is logged, and how."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    log_format: Literal["json", "console"] = "json"


class ProcessSettings(LogSettings):
    """What every process of Blockyard is told: where it listens, and where the other parts are."""

    host: str = "127.0.0.1"
    port: Port = 50051
    """The gRPC port; 0 takes a free one."""
    port_file: Path | None = None
    """Where the bound port is written once the server listens, for whoever started the process with port 0."""
    metrics_port: Port = 0
    """Prometheus metrics over HTTP; 0 turns them off."""

    nats_url: Annotated[str, Field(repr=False)] = "nats://127.0.0.1:4222"
    """tls://… demands TLS. It may name a user and a password."""
    nats_user: str = ""
    """The user, where the URL names none; its password stands in a file."""
    nats_password_file: Path | None = None
    nats_ca: Path | None = None
    """Authority that must have signed the certificate of NATS (PEM); the system's where there is none."""
    nats_certificate: Path | None = None
    """Proves this process to NATS (PEM)."""
    nats_key: Path | None = None
    nats_stream_replicas: Annotated[int, AfterValidator(_stream_replicas)] = 1
    """Servers of NATS that keep each stream: 1, 3 or 5. Nothing is lost with one, but waits for it."""

    tls_certificate: Path | None = None
    """This process's certificate (PEM, with its chain): for its server, and to prove itself to other services."""
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    """With it, only those with a certificate of this authority are served; others are not even told of errors."""
    tls_ca: Path | None = None
    """With it, other services are called over TLS, and only those with a certificate of this authority."""
    health_port: Port = 0
    """Health, and nothing else, in plain text, for probes that know no TLS; 0 leaves it to the port of the service."""

    graph_address: str = "127.0.0.1:50051"
    execution_address: str = "127.0.0.1:50052"
    credentials_address: str = ""
    """Empty where there is no vault: nodes that name credentials then cannot run."""
    account_address: str = ""
    """Empty where there is no account service: tokens alone say who calls, and API keys are refused."""
    blob_url: str = "file:///var/lib/blockyard/blobs"

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

    def tls(self) -> TlsFiles:
        """The certificates of this process, and whom it trusts."""
        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_ca, self.tls_client_ca)

    def nats_access(self) -> NatsAccess:
        """As whom this process connects to NATS, and whom it takes for NATS."""
        files = TlsFiles(self.nats_certificate, self.nats_key, self.nats_ca)
        return NatsAccess(self.nats_user, self.nats_password_file, files, self.nats_stream_replicas)

    @model_validator(mode="after")
    def _files_are_complete(self) -> Self:
        for certificate, key in (("tls_certificate", "tls_key"), ("nats_certificate", "nats_key")):
            if (getattr(self, certificate) is None) != (getattr(self, key) is None):
                names = f"{PREFIX}{certificate.upper()} and {PREFIX}{key.upper()}"
                raise ValueError(f"{names} must be set together: a certificate is of no use without its key.")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("BLOCKYARD_TLS_CLIENT_CA needs BLOCKYARD_TLS_CERTIFICATE: without it there is no TLS.")
        if bool(self.nats_user) != (self.nats_password_file is not None):
            raise ValueError("BLOCKYARD_NATS_USER and BLOCKYARD_NATS_PASSWORD_FILE must be set together.")
        return self

    @model_validator(mode="after")
    def _nats_is_as_safe_as_it_looks(self) -> Self:
        """An authority is given for TLS; without tls:// whoever sits in between could do without it."""
        plain = [url for url in self.nats_url.split(",") if not url.strip().startswith("tls://")]
        if self.nats_ca is not None and plain:
            raise ValueError("BLOCKYARD_NATS_URL must begin with tls:// where BLOCKYARD_NATS_CA is set, in each part.")
        return self

    @classmethod
    def service_name(cls) -> str:
        """The service these settings belong to: `services/<name>/config.py` declares them."""
        return cls.__module__.split(".")[-2] if "." in cls.__module__ else cls.__module__


class ServiceSettings(ProcessSettings):
    """What a service adds: whom it trusts. A runner has none of it but its own secret, as it runs blocks of others."""

    jwt_secret: Secret | None = None
    """Signs the tokens of users (HS256). It may be left out where jwks_url is set: then no such token is taken."""
    service_secret: Secret
    """Signs the tokens with which services call each other."""
    runner_secret: Secret
    """Signs the tokens of runners, and is good for nothing else."""

    jwks_url: str = Field("", pattern=r"^(https?://.*)?$")
    """Public keys of an identity provider whose tokens are taken (RS256, ES256, EdDSA); empty takes none."""
    jwt_issuer: str = ""
    """What "iss" of the provider's tokens must be; needed with jwks_url."""
    jwt_audience: str = "blockyard"
    """What "aud" of the provider's tokens must hold."""
    jwt_role_claim: str = "role"
    """Where the provider's tokens name the role, for example "realm_access.roles"."""
    jwt_roles: dict[str, UserRole] = {}
    """Role by value of that claim, as JSON; the highest of several counts. Without any, the roles' own names."""
    jwt_default_role: Literal["admin", "user", "viewer", "none"] = "user"
    """Role of the provider's tokens that name none; "none" refuses them."""

    rate_limit_read: RateText = ""
    """Calls of a user that only read: "600/minute", or "10/second burst 100"; empty limits nothing."""
    rate_limit_write: RateText = ""
    """Calls that change something."""
    rate_limit_start: RateText = ""
    """Calls that start an execution."""
    rate_limit_admin: RateText = ""
    """Calls that only administrators may make."""
    rate_limit_replicas: Annotated[int, Field(ge=1)] = 1
    """Replicas of this service over which the calls of a user spread: each lets its part through."""

    trusted_proxies: Annotated[str, AfterValidator(_networks)] = ""
    """Networks, parted by commas, of proxies whose x-forwarded-for is believed: "10.0.0.0/8, fd00::/8"."""
    audit_queue: Annotated[int, Field(ge=1)] = 10_000
    """Audit entries that wait for the account service at most; further ones are counted, logged and dropped."""

    def secrets(self) -> Secrets:
        """All three, for whoever checks tokens."""
        return Secrets(
            self.jwt_secret.get_secret_value() if self.jwt_secret else "",
            self.service_secret.get_secret_value(),
            self.runner_secret.get_secret_value(),
        )

    @model_validator(mode="after")
    def _secrets_differ(self) -> Self:
        """One that signs two kinds of tokens lets the holder of one make the other."""
        secrets = [secret for secret in (self.jwt_secret, self.service_secret, self.runner_secret) if secret]
        if len({secret.get_secret_value() for secret in secrets}) < len(secrets):
            raise ValueError(
                "BLOCKYARD_JWT_SECRET, BLOCKYARD_SERVICE_SECRET and BLOCKYARD_RUNNER_SECRET must differ: "
                "who holds one could sign for the others."
            )
        return self

    @model_validator(mode="after")
    def _users_can_be_known(self) -> Self:
        if self.jwt_secret is None and not self.jwks_url:
            raise ValueError(
                "BLOCKYARD_JWT_SECRET is not set, and BLOCKYARD_JWKS_URL is not either: one of them must say how the "
                "tokens of users are checked."
            )
        if self.jwks_url and not self.jwt_issuer:
            raise ValueError(
                "BLOCKYARD_JWT_ISSUER must be set with BLOCKYARD_JWKS_URL: the provider may sign tokens for others."
            )
        return self


class DatabaseSettings(BaseSettings):
    """What a service with a database adds: `class Settings(ServiceSettings, DatabaseSettings)`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: SecretStr
    """PostgreSQL, as the service's own role."""
    database_pool_size: Annotated[int, Field(ge=1, le=500)] = 10


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load(settings_class: type[AnySettings]) -> AnySettings:
    """Read the settings from the environment, or name everything that is wrong with them at once and exit with 2."""
    settings, problems = read(settings_class)
    if settings is None:
        print("The configuration is not valid:", *problems, sep="\n  ", file=sys.stderr)
        raise SystemExit(2)
    return settings


def read(settings_class: type[AnySettings]) -> tuple[AnySettings | None, list[str]]:
    """The settings of the environment, or a sentence for everything that is wrong with them."""
    try:
        return settings_class(), []
    except (ValidationError, SettingsError) as error:
        return None, sorted(_sentences(error, settings_class.model_config.get("env_prefix", PREFIX)))


def _sentences(error: ValidationError | SettingsError, prefix: str) -> list[str]:
    if isinstance(error, ValidationError):
        return [_sentence(detail, prefix) for detail in error.errors(include_url=False, include_context=False)]
    # Its message names the field and nothing else, and it comes before all others are looked at.
    field = _UNREADABLE.search(str(error))
    name = f"{prefix}{field[1].upper()}" if field else str(error)
    return [f'{name}: is not JSON, such as ["one", "two"] for a list or {{"name": "value"}} for names with values.']


def _sentence(detail: ErrorDetails, prefix: str) -> str:
    """The variable and what is wrong with it. The value itself stays unsaid: it may be a secret."""
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    variable = prefix + "_".join(str(part) for part in detail["loc"]).upper()
    if detail["type"] == "missing":
        return f"{variable} is not set, and there is no default."
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{variable}: {message[:1].lower()}{message[1:]}."
