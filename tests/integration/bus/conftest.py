"""A server for each test, and a bus connected to it with its streams made."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blockyard.dev.nats import NatsServer, start_nats

from services.common.bus import Bus, StreamLimits, connect


@pytest.fixture
def server(tmp_path: Path, runner: asyncio.Runner) -> Iterator[NatsServer]:
    nats = runner.run(start_nats(tmp_path / "nats"))
    yield nats
    runner.run(nats.kill())


@asynccontextmanager
async def bus_with_streams(server: NatsServer, limits: StreamLimits | None = None) -> AsyncIterator[Bus]:
    async with connect(server.url, "test") as bus:
        await bus.ensure_streams(limits)
        yield bus


def longer(items: Sequence[object], than: int) -> Callable[[], bool]:
    """Whether there are more than so many items by then; to wait for in a loop."""
    return lambda: len(items) > than
