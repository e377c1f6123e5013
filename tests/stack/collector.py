"""A collector of traces (OTLP over gRPC) that keeps what it is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


@dataclass(eq=False)
class Collector(TraceServiceServicer):
    """Spans as they came."""

    address: str = ""
    received: list[bytes] = field(default_factory=list)

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        self.received.append(request.SerializeToString())
        return ExportTraceServiceResponse()


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """One that listens on loopback."""
    built = Collector()
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(built, server)  # type: ignore[no-untyped-call]  # the package has no types
    built.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield built
    finally:
        await server.stop(0)
