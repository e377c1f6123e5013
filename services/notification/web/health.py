"""/health: whether each service serves, for people and for load balancers before the edge."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.requests import Request
from starlette.responses import JSONResponse

ASK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class HealthPage:
    """Asks each service, by a channel to it."""

    channels: Mapping[str, grpc.aio.Channel]

    async def show(self, request: Request) -> JSONResponse:
        """200 if all serve, else 503; what each says, and how long it took."""
        names = list(self.channels)
        answers = await asyncio.gather(*(_ask(self.channels[name]) for name in names))
        healthy = all(answer["status"] == "SERVING" for answer in answers)
        shown = {"status": "SERVING" if healthy else "NOT_SERVING", "services": dict(zip(names, answers, strict=True))}
        return JSONResponse(shown, 200 if healthy else 503)


async def _ask(channel: grpc.aio.Channel) -> dict[str, Any]:
    began = time.perf_counter()
    stub: Any = health_pb2_grpc.HealthStub(channel)  # Any: its type depends on the kind of channel
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=ASK_SECONDS)
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    except grpc.aio.AioRpcError as error:
        status = error.code().name
    return {"status": status, "milliseconds": round((time.perf_counter() - began) * 1000, 1)}
