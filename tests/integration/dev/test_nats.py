"""nats-server as the laptop stack starts it: JetStream on disk, in place after a kill, empty after a wipe."""

import asyncio
from pathlib import Path

import nats
import pytest
from blockyard.dev import DevelopmentStackError, NatsServer, start_nats
from blockyard.dev.ports import free_port


async def publish_one(server: NatsServer) -> None:
    client = await nats.connect(server.url)
    try:
        await client.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
        await client.jetstream().publish("kept.one", b"1")
    finally:
        await client.close()


async def stored(server: NatsServer) -> dict[str, int]:
    client = await nats.connect(server.url)
    try:
        streams = await client.jetstream().streams_info()
        return {stream.config.name or "": stream.state.messages for stream in streams}
    finally:
        await client.close()


async def test_messages_survive_a_kill_and_the_port_stays(tmp_path: Path) -> None:
    async with await start_nats(tmp_path / "nats") as server:
        url = server.url
        await publish_one(server)

        await server.kill()
        await server.start()

        assert server.url == url
        assert await stored(server) == {"KEPT": 1}


async def test_messages_survive_an_orderly_restart(tmp_path: Path) -> None:
    async with await start_nats(tmp_path / "nats") as server:
        await publish_one(server)
        await server.restart()
        assert await stored(server) == {"KEPT": 1}


async def test_an_existing_folder_is_used_again(tmp_path: Path) -> None:
    async with await start_nats(tmp_path / "nats") as server:
        await publish_one(server)
    async with await start_nats(tmp_path / "nats") as server:
        assert await stored(server) == {"KEPT": 1}


async def test_a_wiped_server_comes_back_empty(tmp_path: Path) -> None:
    async with await start_nats(tmp_path / "nats") as server:
        await publish_one(server)

        await server.wipe()
        await server.start()

        assert await stored(server) == {}


async def test_payloads_of_eight_megabytes_pass(tmp_path: Path) -> None:
    async with await start_nats(tmp_path / "nats") as server:
        client = await nats.connect(server.url)
        try:
            assert client.max_payload == 8 * 1024 * 1024
        finally:
            await client.close()


async def test_a_frozen_server_goes_on_where_it_was(tmp_path: Path) -> None:
    async with await start_nats(tmp_path / "nats") as server:
        await publish_one(server)
        server.freeze()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stored(server), 0.3)
        server.thaw()
        assert await stored(server) == {"KEPT": 1}


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    port = free_port()
    async with await start_nats(tmp_path / "one", port):
        with pytest.raises(DevelopmentStackError, match=rf"Port {port} of 127\.0\.0\.1 is taken"):
            await start_nats(tmp_path / "two", port)
