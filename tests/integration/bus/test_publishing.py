"""Publishing into streams: what is acknowledged, what is refused, and that every call ends."""

import asyncio

import pytest
from blockyard.dev.nats import NatsServer

from services.common.bus import Ack, Delivery, Message, PublishRefused, Refusal, StreamLimits, connect
from tests.integration.bus.conftest import bus_with_streams
from tests.waiting import until

SUBJECT = "blockyard.task.default"


def messages(number: int, size: int = 300, prefix: str = "") -> list[Message]:
    return [Message(SUBJECT, b"x" * size, f"{prefix}{index}") for index in range(number)]


def refusals(answers: list[Ack | PublishRefused]) -> set[Refusal | None]:
    return {answer.refusal if isinstance(answer, PublishRefused) else None for answer in answers}


async def test_all_messages_of_a_call_are_acked_in_order(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        answers = await bus.publish_all(messages(10_000))
        assert answers == [Ack("TASKS", index + 1) for index in range(10_000)]


async def test_many_callers_share_a_small_window(server: NatsServer) -> None:
    async with connect(server.url, "test", max_in_flight=8) as bus:
        await bus.ensure_streams()
        calls = [bus.publish_all(messages(100, prefix=f"{caller}-")) for caller in range(20)]
        for answers in await asyncio.gather(*calls):
            sequences = [answer.sequence for answer in answers if isinstance(answer, Ack)]
            assert len(sequences) == 100
            assert sequences == sorted(sequences)


async def test_a_repeated_message_id_is_a_duplicate(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        first, again = await bus.publish_all([Message(SUBJECT, b"a", "same"), Message(SUBJECT, b"b", "same")])
        assert (first, again) == (Ack("TASKS", 1), Ack("TASKS", 1, duplicate=True))


async def test_a_full_stream_refuses_and_the_others_go_on(server: NatsServer) -> None:
    async with bus_with_streams(server, StreamLimits(tasks_bytes=64 * 1024)) as bus:
        answers = await bus.publish_all(messages(500, size=1000))
        assert isinstance(answers[0], Ack)
        assert refusals(answers[100:]) == {Refusal.STREAM_FULL}
        (result,) = await bus.publish_all([Message("blockyard.result.0", b"done")])
        assert isinstance(result, Ack)


async def test_events_drop_their_oldest(server: NatsServer) -> None:
    async with bus_with_streams(server, StreamLimits(events_bytes=64 * 1024)) as bus:
        answers = await bus.publish_all([Message("blockyard.event.x", b"x" * 1000) for _ in range(500)])
        assert refusals(answers) == {None}
        info = await bus.stream_info("EVENTS")
        assert info is not None
        assert info.bytes <= 64 * 1024
        assert info.last_sequence == 500
        assert info.first_sequence > 400


async def test_what_no_stream_takes_and_what_is_too_large_is_refused_alone(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        good, lost, large, last = await bus.publish_all(
            [
                Message(SUBJECT, b"x"),
                Message("nobody.listens", b"x"),
                Message(SUBJECT, b"x" * 9_000_000),
                Message(SUBJECT, b"x"),
            ]
        )
        assert (good, last) == (Ack("TASKS", 1), Ack("TASKS", 2))
        assert refusals([lost, large]) == {Refusal.NO_STREAM, Refusal.TOO_LARGE}
        assert bus.connected


async def test_headers_arrive_and_line_breaks_in_them_are_refused(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        seen: list[Delivery] = []
        await bus.subscribe("blockyard.event.>", seen.append)
        await bus.publish_all([Message("blockyard.event.1", b"x", "id-1", {"Kinds": "node:completed,é"})])
        await until(lambda: bool(seen), "the event")
        assert seen[0].headers == {"Nats-Msg-Id": "id-1", "Kinds": "node:completed,é"}
        assert [seen[0].header(name) for name in ("Nats-Msg-Id", "Kinds", "Kind", "s")] == [
            "id-1",
            "node:completed,é",
            "",
            "",
        ]
        with pytest.raises(ValueError, match="line break"):
            await bus.publish_all([Message("blockyard.event.1", b"x", "id-2\r\nNats-Rollup: all")])
        assert isinstance((await bus.publish_all([Message("blockyard.event.1", b"y")]))[0], Ack)


async def test_without_a_connection_everything_is_refused_at_once_and_later_works_again(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        await server.kill()
        await until(lambda: not bus.connected, "the disconnect")
        assert refusals(await bus.publish_all(messages(10))) == {Refusal.DISCONNECTED}
        await server.start()
        await until(lambda: bus.connected, "the reconnect")
        assert refusals(await bus.publish_all(messages(10))) == {None}


async def test_a_kill_in_the_middle_ends_every_call_and_a_repetition_completes_it(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        calls = [asyncio.create_task(bus.publish_all(messages(5000, prefix=f"{each}-"))) for each in range(4)]
        await bus.flush()
        await server.kill()
        async with asyncio.timeout(10):
            answers = [answer for call in calls for answer in await call]
        assert all(answer.unknown for answer in answers if isinstance(answer, PublishRefused))
        await server.start()
        await until(lambda: bus.connected, "the reconnect")
        again = [answer for each in range(4) for answer in await bus.publish_all(messages(5000, prefix=f"{each}-"))]
        assert refusals(again) == {None}
        info = await bus.stream_info("TASKS")
        assert info is not None
        assert info.messages == 20_000


async def test_a_server_that_stands_still_ends_the_call_at_its_deadline(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        server.freeze()
        answers = await bus.publish_all(messages(10_000), timeout=0.3)
        assert refusals(answers) == {Refusal.TIMEOUT}
        server.thaw()
        # The late acks of the call that was given up are nobody's, and free room was given back.
        assert refusals(await bus.publish_all(messages(10_000))) == {None}
