"""Keeps grpc.health.v1 up to date: named checks are run again and again, and all of them must hold to serve."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from services.common.backoff import delays

LIVENESS = "liveness"
"""A health service that is SERVING while the process turns at all: restarting it would not bring a database back."""

CHECK_TIMEOUT_SECONDS = 3.0
TIME_TO_LIVE_SECONDS = 2.0
SOON_SECONDS = 0.1
"""What does not hold is looked at again so soon, and then ever later: at a start it is a matter of a moment."""

HealthCheck = Callable[[], Awaitable[bool]]

log = structlog.stdlib.get_logger(__name__)


class Health:
    """The health of a server and of each gRPC service that it has."""

    def __init__(self, services: Iterable[str], checks: Mapping[str, HealthCheck]) -> None:
        self.servicer = aio.HealthServicer()
        self._services = ("", *services)
        self._checks = checks
        self._failing: frozenset[str] | None = None

    async def keep(self) -> None:
        """Run the checks for ever; an answer is good until the next round."""
        pauses = delays(SOON_SECONDS, TIME_TO_LIVE_SECONDS)
        while True:
            await self.refresh()
            if self._failing:
                await asyncio.sleep(next(pauses))
            else:
                pauses = delays(SOON_SECONDS, TIME_TO_LIVE_SECONDS)
                await asyncio.sleep(TIME_TO_LIVE_SECONDS)

    async def refresh(self) -> None:
        """Run every check once and say what came of it."""
        names = tuple(self._checks)
        holds = await asyncio.gather(*(_holds(name, self._checks[name]) for name in names))
        failing = frozenset(name for name, held in zip(names, holds, strict=True) if not held)
        if failing == self._failing:
            return
        serving = health_pb2.HealthCheckResponse.SERVING
        status = health_pb2.HealthCheckResponse.NOT_SERVING if failing else serving
        for service in self._services:
            await self.servicer.set(service, status)
        await self.servicer.set(LIVENESS, serving)
        if failing or self._failing:
            log.warning("health changed", failing=sorted(failing))
        self._failing = failing

    async def end(self) -> None:
        """Say NOT_SERVING from now on."""
        await self.servicer.enter_graceful_shutdown()


async def _holds(name: str, check: HealthCheck) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await check()
    except TimeoutError:
        return False
    except Exception:
        # The edge of what a check may do: whatever it raised, the service is not known to be well.
        log.exception("a health check failed", check=name)
        return False
