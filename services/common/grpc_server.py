"""A service's gRPC server with all that surrounds its methods: health, reflection, limits, and an orderly end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health as health_names
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common import tasks, tls
from services.common.addresses import host_and_port
from services.common.admission import admitting
from services.common.audit import Recorder
from services.common.callers import Identities
from services.common.config import ProcessSettings, ServiceSettings
from services.common.errors import StartRefused
from services.common.grpc_client import MESSAGE_BYTES
from services.common.health import Health, HealthCheck
from services.common.interceptors import CallInterceptor

log = structlog.stdlib.get_logger(__name__)

METADATA_BYTES = 64 << 10
"""Of a call, each header with 32 bytes more: twice what the edge takes of headers (services/gateway/envoy.yaml), where
the address of a call of REST is one of them. By default the library refuses some calls from 8 KiB on, and all from 16,
in words of its own, or closes the connection."""

HEALTH_CALLS = 100
"""Calls under way at once on the port for health alone."""

# The generated `add_…Servicer_to_server` and the servicer it adds; each pair has types of its own.
Registration = tuple[Callable[..., None], Any]


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server can be reached."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """As gRPC clients take it."""
        return host_and_port(self.host, self.port)


@asynccontextmanager
async def serve(
    settings: ProcessSettings,
    registrations: Sequence[Registration],
    health_checks: Mapping[str, HealthCheck],
    *,
    identities: Identities | None = None,
    recorder: Recorder | None = None,
) -> AsyncIterator[Listening]:
    """Serve while the context is open; `registrations` are pairs `(add_GraphServiceServicer_to_server, servicer)`.

    `identities` and `recorder` are what the account service has in itself, and all others ask it for.
    At the end: NOT_SERVING, then `drain_seconds` of serving on while endpoints lag, then `grace_seconds` for calls.
    """
    async with _interceptors(settings, registrations, identities, recorder) as interceptors:
        server = grpc.aio.server(interceptors=interceptors, options=_options(settings))
        services = _register(server, registrations)
        health = Health(services, health_checks)
        health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
        reflection.enable_server_reflection([*services, health_names.SERVICE_NAME, reflection.SERVICE_NAME], server)
        await health.refresh()
        port = _bind(server, settings)
        await server.start()
        beside = await _serve_health_alone(settings, health)
        keeping = asyncio.create_task(health.keep(), name="health")
        log.info("listening", host=settings.host, port=port)
        if settings.port_file is not None:
            await asyncio.to_thread(write_port, settings.port_file, port)
        try:
            yield Listening(settings.host, port)
        finally:
            await tasks.end((keeping,))
            await health.end()
            await asyncio.sleep(settings.drain_seconds)
            await server.stop(settings.grace_seconds)
            if beside is not None:
                await beside.stop(0)


@asynccontextmanager
async def _interceptors(
    settings: ProcessSettings,
    registrations: Sequence[Registration],
    identities: Identities | None,
    recorder: Recorder | None,
) -> AsyncIterator[list[grpc.aio.ServerInterceptor]]:
    """What surrounds every method. A runner has health alone, which is open to all, and no secret to check with."""
    if isinstance(settings, ServiceSettings):
        async with admitting(settings, identities, recorder) as admission:
            yield [CallInterceptor(admission, settings.max_concurrent_calls)]
    elif registrations:
        raise TypeError("methods cannot be served without the secrets that say who may call them")
    else:
        yield []


def _options(settings: ProcessSettings) -> list[tuple[str, int]]:
    """gRPC adds a jitter of 10 % to the age of connections by itself."""
    age = settings.max_connection_age_seconds * 1000
    return [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ("grpc.max_connection_age_ms", age),
        # Streams of a renewed connection may go on for as long as that again; watchers then resume where they were.
        ("grpc.max_connection_age_grace_ms", age),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # By default a server closes connections that ping more often than every five minutes without data.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
        # Two processes on one port would share its connections without anybody having asked for it.
        ("grpc.so_reuseport", 0),
    ]


def _bind(server: grpc.aio.Server, settings: ProcessSettings) -> int:
    address = host_and_port(settings.host, settings.port)
    try:
        if settings.tls_certificate is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, tls.server_credentials(settings.tls()))
    except RuntimeError:
        port = 0
    if not port:
        raise StartRefused(f"The server cannot listen on {address}: the port is taken, or the address is not local.")
    return port


async def _serve_health_alone(settings: ProcessSettings, health: Health) -> grpc.aio.Server | None:
    """Health in plain text on a port of its own, which says nothing else: probes of Kubernetes know no TLS."""
    if not settings.health_port:
        return None
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=HEALTH_CALLS)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    address = host_and_port(settings.host, settings.health_port)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartRefused(f"Health cannot be served on {address}: the port is taken.") from error
    await server.start()
    return server


def write_port(path: Path, port: int) -> None:
    """All at once: whoever waits for the file must not read half a number."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(f"{port}\n")
    partial.replace(path)


def _register(server: grpc.aio.Server, registrations: Sequence[Registration]) -> list[str]:
    naming = _Naming(server)
    for add, servicer in registrations:
        add(servicer, naming)
    return naming.services


class _Naming:
    """Passes on what generated code registers, and notes the names of the services: nothing else tells them."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.services.append(service)
        self._server.add_registered_method_handlers(service, handlers)
