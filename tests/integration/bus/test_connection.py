"""The connection itself: NATS away at the start, restarts, requests, plain subjects, streams made and made anew."""

import asyncio
import socket
from pathlib import Path

import pytest
from blockyard.dev.nats import NatsServer, start_nats
from structlog.testing import capture_logs

from services.common.bus import (
    Delivery,
    Message,
    NoResponders,
    NotConnected,
    PublishRefused,
    Refusal,
    RequestTimeout,
    StreamLimits,
    connect,
)
from services.common.errors import StartRefused
from tests.integration.bus.conftest import bus_with_streams, longer
from tests.waiting import until


async def test_a_start_waits_for_nats(tmp_path: Path) -> None:
    server = await start_nats(tmp_path / "nats")
    await server.kill()

    async def use() -> bool:
        async with connect(server.url, "test") as bus:
            return bus.connected

    using = asyncio.create_task(use())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(using), 0.7)
    await server.start()
    try:
        async with asyncio.timeout(10):
            assert await using
    finally:
        await server.kill()


async def test_a_server_whose_messages_are_too_small_is_refused_at_the_start_with_what_to_do(tmp_path: Path) -> None:
    server = await start_nats(tmp_path / "nats", settings={"max_payload": "1MB"})
    try:
        with pytest.raises(StartRefused, match=r"max_payload = 1048576 .* Set max_payload = 8MB or more"):
            async with connect(server.url, "test"):
                pass
    finally:
        await server.kill()


async def test_a_server_that_comes_back_with_small_messages_is_told_of_in_the_log(tmp_path: Path) -> None:
    server = await start_nats(tmp_path / "nats")
    try:
        with capture_logs() as logged:
            async with connect(server.url, "test") as bus:
                reconnects: list[None] = []
                bus.on_reconnect(lambda: reconnects.append(None))
                await server.restart()
                await until(lambda: len(reconnects) == 1, "the connection is back")
                before = [line for line in logged if line["log_level"] == "error"]
                server.settings["max_payload"] = "1MB"
                await server.restart()
                await until(lambda: len(reconnects) == 2, "the connection is back again")

        errors = [line["reason"] for line in logged if line["log_level"] == "error"]
        assert before == []
        assert len(errors) == 1
        assert "max_payload = 1048576" in errors[0]
    finally:
        await server.kill()


async def test_a_server_that_stops_reading_is_left_and_found_again(server: NatsServer) -> None:
    async with connect(server.url, "test", ping_seconds=0.2) as bus:
        await bus.ensure_streams()
        reconnects: list[None] = []
        bus.on_reconnect(lambda: reconnects.append(None))
        server.freeze()
        # More than the sockets between the two hold, so that a polite close would wait for ever.
        flood = [Message("blockyard.task.default", b"x" * 100_000) for _ in range(300)]
        answers = await bus.publish_all(flood, timeout=20)
        assert {answer.refusal for answer in answers if isinstance(answer, PublishRefused)} == {Refusal.DISCONNECTED}
        server.thaw()
        await until(lambda: bool(reconnects), "the reconnect")
        assert await bus.stream_info("TASKS") is not None


async def test_a_client_cut_off_for_reading_too_slowly_comes_back(tmp_path: Path) -> None:
    strict = {"max_pending": "8MB", "write_deadline": '"100ms"'}
    server = await start_nats(tmp_path / "nats", settings=strict)
    try:
        async with bus_with_streams(server) as bus:
            seen: list[bytes] = []
            reconnects: list[None] = []
            bus.on_reconnect(lambda: reconnects.append(None))
            await bus.subscribe("blockyard.heartbeat", lambda delivery: seen.append(delivery.data))
            flood(server, "blockyard.heartbeat")
            await until(lambda: bool(reconnects), "the reconnect")
            await bus.publish("blockyard.heartbeat", b"after")
            await until(lambda: seen[-1:] == [b"after"], "the message after the reconnect")
    finally:
        await server.kill()


async def test_who_does_not_wait_for_an_answer_ends_no_connection(server: NatsServer) -> None:
    async with connect(server.url, "test") as bus:
        reconnects: list[None] = []
        bus.on_reconnect(lambda: reconnects.append(None))
        server.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await bus.flush()
        server.thaw()
        await bus.flush()
        assert reconnects == []


async def test_a_subscription_that_was_not_confirmed_is_none(server: NatsServer) -> None:
    async with connect(server.url, "test") as bus:
        seen: list[bytes] = []
        server.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await bus.subscribe("blockyard.heartbeat", lambda delivery: seen.append(b"twice"))
        server.thaw()
        await bus.subscribe("blockyard.heartbeat", lambda delivery: seen.append(delivery.data))
        await bus.publish("blockyard.heartbeat", b"once")
        await until(lambda: b"once" in seen, "the message")
        assert seen == [b"once"]


def flood(server: NatsServer, subject: str) -> None:
    """Publish 64 MB and hold up the event loop meanwhile, so that nobody on it reads them."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"CONNECT {}\r\n")
        for _ in range(1000):
            connection.sendall(f"PUB {subject} 64000\r\n".encode() + b"x" * 64_000 + b"\r\n")
        connection.sendall(b"PING\r\n")
        answer = b""
        while b"PONG" not in answer:
            answer += connection.recv(4096)


async def test_subscriptions_outlive_restarts_and_callbacks_are_told(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        seen: list[bytes] = []
        reconnects: list[None] = []
        await bus.subscribe("blockyard.heartbeat", lambda delivery: seen.append(delivery.data))
        end = bus.on_reconnect(lambda: reconnects.append(None))
        for number in range(2):
            await server.kill()
            await until(lambda: not bus.connected, "the disconnect")
            assert not bus.publish_now("blockyard.heartbeat", b"unsent")
            with pytest.raises(NotConnected):
                await bus.publish("blockyard.heartbeat", b"unsent")
            await server.start()
            await until(longer(reconnects, number), "the callback")
            await bus.publish("blockyard.heartbeat", b"%d" % number)
        await until(lambda: len(seen) == 2, "both messages")
        assert seen == [b"0", b"1"]
        assert len(reconnects) == 2
        end()


async def test_requests_are_answered_or_say_why_not(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        subscription = await bus.subscribe(
            "blockyard.claim.1", lambda asked: void(bus.publish_now(asked.reply, asked.data + b"!")), queue="owners"
        )
        assert (await bus.request("blockyard.claim.1", b"mine", 2)).data == b"mine!"
        subscription.unsubscribe()
        with pytest.raises(NoResponders):
            await bus.request("blockyard.claim.1", b"mine", 2)
        await bus.subscribe("blockyard.claim.1", lambda asked: None)
        with pytest.raises(RequestTimeout):
            await bus.request("blockyard.claim.1", b"mine", 0.1)
        asking = asyncio.create_task(bus.request("blockyard.claim.1", b"mine", 30))
        await bus.flush()
        await server.kill()
        with pytest.raises(NotConnected):
            await asking


def void(_: object) -> None:
    """A handler answers nothing."""


async def test_a_failing_handler_leaves_the_connection_and_the_others_alone(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        seen: list[bytes] = []

        def fail(delivery: Delivery) -> None:
            raise RuntimeError(delivery.subject)

        await bus.subscribe("blockyard.heartbeat", fail)
        await bus.subscribe("blockyard.heartbeat", lambda delivery: seen.append(delivery.data))
        await bus.publish("blockyard.heartbeat", b"x")
        await until(lambda: seen == [b"x"], "the other handler")
        assert bus.connected


async def test_messages_of_every_size_pass_unharmed(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        seen: list[bytes] = []
        await bus.subscribe("blockyard.heartbeat", lambda delivery: seen.append(delivery.data))
        sent = [b"MSG a 1 3\r\n" * count for count in (0, 1, 7, 1000, 40_000, 95_000, 2, 0, 70_000)]
        for payload in sent:
            assert bus.publish_now("blockyard.heartbeat", payload)
        await until(lambda: len(seen) == len(sent), "all messages")
        assert seen == sent


async def test_streams_are_updated_kept_over_a_restart_and_new_after_a_wipe(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        first = await bus.ensure_streams()
        again = await bus.ensure_streams(StreamLimits(tasks_bytes=123_456_789))
        await server.kill()
        await server.start()
        await until(lambda: bus.connected, "the reconnect")
        restarted = await bus.ensure_streams()
        assert [info.created for info in first.values()] == [info.created for info in again.values()]
        assert [info.created for info in first.values()] == [info.created for info in restarted.values()]
        await server.wipe()
        await until(lambda: not bus.connected, "the disconnect")
        await server.start()
        await until(lambda: bus.connected, "the reconnect")
        assert await bus.stream_info("TASKS") is None
        wiped = await bus.ensure_streams()
        assert all(wiped[name].created > first[name].created for name in ("TASKS", "RESULTS", "EVENTS"))
