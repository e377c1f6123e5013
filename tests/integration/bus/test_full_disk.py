"""NATS on a disk that gets full: what a publisher sees, and how a stream gets over it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockyard.dev.nats import start_nats

from services.common.bus import Ack, Bus, Message, StreamLimits, connect
from tests.disks import SmallDisk, small_disk

STREAMS = {"TASKS": "blockyard.task.a", "RESULTS": "blockyard.result.0", "EVENTS": "blockyard.event.a"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


async def stores(bus: Bus, subject: str) -> bool:
    """Whether a stream takes a message. A store that cannot write does not answer."""
    (answer,) = await bus.publish_all([Message(subject, b"x" * 9000)], timeout=0.5)
    return isinstance(answer, Ack)


async def test_a_stream_keeps_the_error_of_a_full_disk_until_it_is_made_anew(disk: SmallDisk) -> None:
    server = await start_nats(disk.folder / "nats")
    try:
        async with connect(server.url, "test") as bus:
            await bus.ensure_streams()
            disk.fill()
            for name, subject in STREAMS.items():
                assert not await stores(bus, subject)
                assert "no space left on device" in await bus.jetstream.kept_error(name)
            disk.free()
            for configuration in StreamLimits().configurations():
                name = configuration["name"]
                assert not await stores(bus, STREAMS[name])
                assert "no space left on device" in await bus.jetstream.kept_error(name)
                await bus.jetstream.delete_stream(name)
                await bus.jetstream.ensure_stream(configuration)
                assert await stores(bus, STREAMS[name])
                assert await bus.jetstream.kept_error(name) == ""
    finally:
        await server.kill()


async def test_asking_a_store_for_its_error_changes_nothing(disk: SmallDisk) -> None:
    server = await start_nats(disk.folder / "nats")
    try:
        async with connect(server.url, "test") as bus:
            for name, subject in STREAMS.items():
                assert await bus.jetstream.kept_error(name) == ""  # it is not there
                await bus.ensure_streams()
                assert await bus.jetstream.kept_error(name) == ""  # nothing is in it
                await asyncio.gather(*(stores(bus, subject) for _ in range(3)))
                assert await bus.jetstream.kept_error(name) == ""
                info = await bus.stream_info(name)
                assert info is not None
                assert (info.messages, info.first_sequence, info.last_sequence) == (3, 1, 3)
                assert await bus.jetstream.subjects(name, "blockyard.>") == {subject}
                await bus.jetstream.delete_stream(name)
                assert await bus.jetstream.subjects(name, "blockyard.>") == set()
    finally:
        await server.kill()
