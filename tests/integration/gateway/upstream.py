"""A service behind the edge, over real gRPC: it answers each method as a test says, and notes how it was called."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from blockyard.dev.ports import free_port
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio
from grpc_status import rpc_status

from tests.waiting import until

Context = grpc.aio.ServicerContext[bytes, bytes]
Answer = Callable[[bytes, Context], Awaitable[None]]
"""Takes the request, and writes the answers into the context."""


@dataclass(frozen=True, slots=True)
class Call:
    """How a method was called."""

    method: str
    request: bytes
    metadata: dict[str, str]


def answering(*messages: Any) -> Answer:  # Any: messages of the contract
    """Gives these messages."""

    async def answer(_: bytes, context: Context) -> None:
        for message in messages:
            await context.write(message.SerializeToString())

    return answer


def failing(status: status_pb2.Status, *headers: tuple[str, str]) -> Answer:
    """Fails with a status; with headers these are sent before, as limits of rates are."""

    async def answer(_: bytes, context: Context) -> None:
        if headers:
            await context.send_initial_metadata(headers)
        parts = rpc_status.to_status(status)
        await context.abort(parts.code, parts.details, parts.trailing_metadata or ())

    return answer


@dataclass(eq=False)
class Upstream:
    """Any service of the contract, and health."""

    port: int = field(default_factory=free_port)
    answers: dict[str, Answer] = field(default_factory=dict)
    """By path of the method."""
    calls: list[Call] = field(default_factory=list)
    _server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        health = aio.HealthServicer()
        await health.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        server.add_generic_rpc_handlers((_Methods(self),))
        server.add_insecure_port(self.address)
        await server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
            # It closes its socket a little later: until then connections are taken, and nobody answers them.
            await until(self._is_gone, "nobody listens any more")

    def _is_gone(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    async def serve(self, request: bytes, context: Context, method: str) -> None:
        """Notes the call and answers it."""
        self.calls.append(
            Call(method, request, {name: str(value) for name, value in context.invocation_metadata() or ()})
        )
        await self.answers[method](request, context)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class _Methods(grpc.GenericRpcHandler):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # Any: handlers of bytes
        method = handler_call_details.method
        if method not in self._upstream.answers:
            return None

        async def serve(request: bytes, context: Context) -> None:
            await self._upstream.serve(request, context, method)

        return grpc.unary_stream_rpc_method_handler(serve)
