"""A service's gRPC server with all that surrounds its methods: health, reflection, limits, and an orderly end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health as health_names
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.config import ServiceSettings
from services.common.errors import StartRefused
from services.common.health import Health, HealthCheck
from services.common.interceptors import CallInterceptor

MESSAGE_BYTES = 16 * 1024 * 1024

log = structlog.stdlib.get_logger(__name__)

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
        return f"{self.host}:{self.port}"


@asynccontextmanager
async def serve(
    settings: ServiceSettings, registrations: Sequence[Registration], health_checks: Mapping[str, HealthCheck]
) -> AsyncIterator[Listening]:
    """Serve while the context is open; `registrations` are pairs `(add_GraphServiceServicer_to_server, servicer)`.

    At the end: NOT_SERVING, then `drain_seconds` of serving on while endpoints lag, then `grace_seconds` for calls.
    """
    interceptor = CallInterceptor(settings.jwt_secret.get_secret_value(), settings.max_concurrent_calls)
    server = grpc.aio.server(interceptors=[interceptor], options=_options(settings))
    services = _register(server, registrations)
    health = Health(services, health_checks)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection([*services, health_names.SERVICE_NAME, reflection.SERVICE_NAME], server)
    await health.refresh()
    port = _bind(server, settings)
    await server.start()
    keeping = asyncio.create_task(health.keep(), name="health")
    log.info("listening", host=settings.host, port=port)
    if settings.port_file is not None:
        await asyncio.to_thread(_write_port, settings.port_file, port)
    try:
        yield Listening(settings.host, port)
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        await health.end()
        await asyncio.sleep(settings.drain_seconds)
        await server.stop(settings.grace_seconds)


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    """gRPC adds a jitter of 10 % to the age of connections by itself."""
    age = settings.max_connection_age_seconds * 1000
    return [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
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


def _bind(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    address = f"{settings.host}:{settings.port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if not port:
        raise StartRefused(f"The server cannot listen on {address}: the port is taken, or the address is not local.")
    return port


def _write_port(path: Path, port: int) -> None:
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
