"""A server for each test, and a bus connected to it with its streams made."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.common.bus import Bus, StreamLimits, connect
from tests.integration.bus.server import NatsServer


@pytest.fixture
def server(tmp_path: Path, runner: asyncio.Runner) -> Iterator[NatsServer]:
    nats = NatsServer(tmp_path)
    runner.run(nats.start())
    yield nats
    nats.kill()


@asynccontextmanager
async def bus_with_streams(server: NatsServer, limits: StreamLimits | None = None) -> AsyncIterator[Bus]:
    async with connect(server.url, "test") as bus:
        await bus.ensure_streams(limits)
        yield bus
