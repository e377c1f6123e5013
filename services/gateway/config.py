"""Settings of the edge: environment variables with the prefix BLOCKYARD_EDGE_, and the addresses of the services."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.config import PREFIX, Port

EDGE_PREFIX = f"{PREFIX}EDGE_"


def _addresses(text: str) -> str:
    for address in parse_list(text):
        _, separator, port = address.rpartition(":")
        if not separator or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{address!r} is no host:port")
    return text


def _origins(text: str) -> str:
    for origin in parse_list(text):
        if not re.fullmatch(r"\*|https?://[^/\s]+", origin):
            raise ValueError(f"{origin!r} is no origin, such as https://app.example without a path")
    return text


def parse_list(text: str) -> list[str]:
    """The parts of a list, parted by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


Addresses = Annotated[str, AfterValidator(_addresses)]
"""host:port of each replica, parted by commas, or of a name that stands for all; empty where there is none."""

Origins = Annotated[str, AfterValidator(_origins)]


class EdgeSettings(BaseSettings):
    """What an operator can set. Sizes in bytes, rates a second."""

    model_config = SettingsConfigDict(env_prefix=EDGE_PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Where the edge listens")
    port: Port = Field(8080, description="Its port, for REST, gRPC, gRPC-Web, WebSocket and SSE")
    metrics_port: Port = Field(9901, description="Port of `/ready` and `/metrics`")
    drain_port: Port | None = Field(
        None,
        description="Port of `/drain`, for the hook of a pod that ends; whoever reaches it can have the edge drain",
    )
    drain_seconds: int = Field(15, ge=0, le=3_600, description="What `/drain` takes to answer")
    admin_socket: str = Field("/tmp/edge.sock", description="Socket of Envoy's own administration, for its user alone")

    graph_endpoints: Addresses = Field("127.0.0.1:50051", description="The graph service")
    execution_endpoints: Addresses = Field("127.0.0.1:50052", description="The execution service")
    credentials_endpoints: Addresses = Field("", description="The vault")
    account_endpoints: Addresses = Field("", description="The account service")
    notification_endpoints: Addresses = Field("", description="The notification service")
    notification_web_endpoints: Addresses = Field("", description="Its port for HTTP")
    collector_endpoints: Addresses = Field("", description="OpenTelemetry collector (gRPC) that gets spans of calls")

    tls_certificate: Path | None = Field(None, description="Certificate (PEM, with its chain) that users are shown")
    tls_key: Path | None = Field(None, description="Its key")
    service_ca: Path | None = Field(
        None, description="With it, services and the collector are called over TLS, if it signed theirs"
    )
    service_certificate: Path | None = Field(None, description="Proves the edge to services")
    service_key: Path | None = Field(None, description="Its key")

    cors_origins: Origins = Field("", description="Origins of pages that may call (`https://app.example`), or `*`")
    trusted_hops: int = Field(0, ge=0, le=10, description="Proxies in front whose `x-forwarded-for` is believed")
    client_rate: int = Field(500, ge=1, description="Requests a second of one client address")
    client_burst: int = Field(1_000, ge=1, description="As many of them at once")
    total_rate: int = Field(10_000, ge=1, description="Requests a second of all clients")
    total_burst: int = Field(20_000, ge=1, description="As many of them at once")
    max_connections: int = Field(20_000, ge=1, description="Connections of clients")
    heap_bytes: int = Field(
        1 << 30, ge=64 << 20, description="Memory; while it is full, what comes is refused with 503"
    )
    timeout: int = Field(60, ge=1, le=86_400, description="Seconds that a call may take which sets no deadline")
    body_bytes: int = Field(8 << 20, ge=1024, le=64 << 20, description="Size of a request's body")
    hook_bytes: int = Field(1 << 20, ge=1024, le=16 << 20, description="The same for incoming webhooks")
    answer_bytes: int = Field(64 << 20, ge=1024, le=1 << 30, description="Size of an answer in JSON")

    @model_validator(mode="after")
    def _certificates_are_whole(self) -> Self:
        for certificate, key in (("tls_certificate", "tls_key"), ("service_certificate", "service_key")):
            if (getattr(self, certificate) is None) != (getattr(self, key) is None):
                names = f"{EDGE_PREFIX}{certificate.upper()} and {EDGE_PREFIX}{key.upper()}"
                raise ValueError(f"{names} must be set together: a certificate is of no use without its key.")
        if self.service_certificate is not None and self.service_ca is None:
            raise ValueError(
                f"{EDGE_PREFIX}SERVICE_CERTIFICATE needs {EDGE_PREFIX}SERVICE_CA: without it services are called in "
                "plain text."
            )
        return self
