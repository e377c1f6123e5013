"""Push and pull consumers: order, acks, re-delivery, and what they do when the server or its streams go away."""

import asyncio
import time

import pytest
from blockyard.dev.nats import NatsServer

from services.common.bus import Bus, Delivery, JetStreamRefused, Message, PullConsumer
from tests.integration.bus.conftest import bus_with_streams, longer
from tests.waiting import until

TASK = "blockyard.task.default"
RESULT = "blockyard.result.3"


def pool(bus: Bus, ack_wait: float = 60.0) -> PullConsumer:
    return PullConsumer(bus, "TASKS", "pool-default", TASK, ack_wait=ack_wait)


def lost(reason: str) -> None:
    raise AssertionError(reason)


async def publish(bus: Bus, subject: str, *payloads: bytes) -> None:
    await bus.publish_all([Message(subject, payload) for payload in payloads])


async def drain(consumer: PullConsumer, number: int) -> list[bytes]:
    """Fetch and ack until `number` messages are there."""
    payloads: list[bytes] = []
    async with asyncio.timeout(20):
        while len(payloads) < number:
            deliveries = await consumer.fetch(256, 5)
            payloads += [delivery.data for delivery in deliveries]
            consumer.ack_all(deliveries)
    return payloads


async def test_a_fetch_takes_what_is_there_and_never_more_than_asked(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        consumer = pool(bus)
        await publish(bus, TASK, *(b"%d" % index for index in range(10)))
        first, rest = await consumer.fetch(4, 5), await consumer.fetch(100, 5)
        assert [each.data for each in first + rest] == [b"%d" % index for index in range(10)]
        assert [each.sequence for each in first] == [1, 2, 3, 4]
        assert {each.delivered for each in first + rest} == {1}
        consumer.ack_all(first + rest)
        await bus.flush()
        await gone(bus, "TASKS")
        assert consumer.last_answered is not None


async def gone(bus: Bus, stream: str) -> None:
    """Wait until the stream is empty."""
    async with asyncio.timeout(10):
        while (info := await bus.stream_info(stream)) is None or info.messages:
            await bus.flush()


async def test_a_waiting_fetch_returns_with_the_first_message(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        consumer = pool(bus)
        waiting = asyncio.create_task(consumer.fetch(100, 15))
        await until(lambda: consumer.last_answered is not None, "a heartbeat of the waiting pull")
        started = time.monotonic()
        await publish(bus, TASK, b"only")
        assert [each.data for each in await waiting] == [b"only"]
        assert time.monotonic() - started < 1


async def test_an_empty_fetch_ends_on_time(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        consumer = pool(bus)
        started = time.monotonic()
        assert await consumer.fetch(10, 0.3) == []
        assert 0.25 < time.monotonic() - started < 1.5


async def test_consumers_of_a_pool_share_its_tasks(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        here, there = pool(bus), pool(bus)
        idle = asyncio.create_task(here.fetch(50, 15))
        await until(lambda: here.last_answered is not None, "a heartbeat of the waiting pull")
        sent = [b"%d" % index for index in range(1000)]
        await publish(bus, TASK, *sent)
        first = await idle
        here.ack_all(first)
        taken = [each.data for each in first]
        while len(taken) < 1000:
            for consumer in (here, there):
                deliveries = await consumer.fetch(64, 0.2)
                consumer.ack_all(deliveries)
                taken += [each.data for each in deliveries]
        assert sorted(taken) == sorted(sent)


async def test_what_is_not_acked_or_handed_back_comes_again(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        consumer = pool(bus, ack_wait=1)
        await publish(bus, TASK, b"kept", b"returned")
        first = await consumer.fetch(10, 5)
        consumer.hand_back(first[1:])
        (returned,) = await consumer.fetch(10, 0.8)
        assert (returned.data, returned.delivered) == (b"returned", 2)
        consumer.ack_all([returned])
        (repeated,) = await consumer.fetch(10, 10)
        assert (repeated.data, repeated.delivered) == (b"kept", 2)


async def test_a_closed_consumer_leaves_its_messages_to_others(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        leaving, staying = pool(bus), pool(bus)
        fetching = asyncio.create_task(leaving.fetch(10, 30))
        await until(lambda: leaving.last_answered is not None, "a heartbeat of the waiting pull")
        fetching.cancel()
        # The pull is still open on the server: what comes for it must not wait for the ack deadline.
        await publish(bus, TASK, b"one", b"two")
        await leaving.close()
        assert sorted(await drain(staying, 2)) == [b"one", b"two"]


async def test_pulling_survives_a_restart(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        consumer = pool(bus)
        waiting = asyncio.create_task(drain(consumer, 1))
        await until(lambda: consumer.last_answered is not None, "a heartbeat of the waiting pull")
        await server.kill()
        await server.start()
        await until(lambda: bus.connected, "the reconnect")
        await publish(bus, TASK, b"after")
        assert await waiting == [b"after"]


async def test_pulling_survives_a_wiped_jetstream(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        consumer = pool(bus)
        waiting = asyncio.create_task(drain(consumer, 1))
        await until(lambda: consumer.last_answered is not None, "a heartbeat of the waiting pull")
        await server.wipe()
        await until(lambda: not bus.connected, "the disconnect")
        await server.start()
        await until(lambda: bus.connected, "the reconnect")
        await bus.ensure_streams()
        await publish(bus, TASK, b"after")
        assert await waiting == [b"after"]


async def test_pulling_survives_a_deleted_consumer_and_a_deleted_stream(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        consumer = pool(bus)
        for operation in ("CONSUMER.DELETE.TASKS.pool-default", "STREAM.DELETE.TASKS"):
            consumer.last_answered = None
            waiting = asyncio.create_task(drain(consumer, 1))
            await until(lambda: consumer.last_answered is not None, "a heartbeat of the waiting pull")
            await bus.jetstream.ask(operation)
            await bus.ensure_streams()
            await publish(bus, TASK, b"after")
            assert await waiting == [b"after"]


async def test_a_push_consumer_gets_all_in_order_and_acks_empty_the_stream(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        sent = [b"%d" % index for index in range(5000)]
        await publish(bus, RESULT, *sent)
        seen: list[Delivery] = []
        async with bus.push_consumer(
            "RESULTS", "partition-3-1", RESULT, seen.append, on_lost=lost, max_ack_pending=256
        ) as consumer:
            acked = 0
            while acked < 5000:
                await until(longer(seen, acked), "more messages")
                assert len(seen) - acked <= 256
                consumer.ack_all(seen[acked:])
                acked = len(seen)
            await gone(bus, "RESULTS")
        assert [each.data for each in seen] == sent
        assert await bus.consumer_info("RESULTS", "partition-3-1") is None


async def test_a_take_over_gets_the_unacked_at_once_and_stale_acks_do_nothing(server: NatsServer) -> None:
    async with bus_with_streams(server) as old, bus_with_streams(server) as new:
        await publish(old, RESULT, b"a", b"b")
        before: list[Delivery] = []
        after: list[Delivery] = []
        told: list[str] = []
        async with old.push_consumer("RESULTS", "partition-3-1", RESULT, before.append, on_lost=told.append) as stale:
            await until(lambda: len(before) == 2, "the first delivery")
            kept = list(before)
            assert await new.delete_consumers("RESULTS", "partition-3-") == 1
            async with new.push_consumer("RESULTS", "partition-3-2", RESULT, after.append, on_lost=lost):
                await until(lambda: len(after) == 2, "the second delivery")
                stale.ack_all(kept)
                await old.flush()
                info = await new.consumer_info("RESULTS", "partition-3-2")
                assert info is not None
                assert (info.num_ack_pending, info.delivered_stream_sequence) == (2, 2)


async def test_a_second_consumer_of_a_subject_is_refused_and_leaves_nothing_behind(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        seen: list[Delivery] = []
        async with bus.push_consumer("RESULTS", "partition-3-1", RESULT, seen.append, on_lost=lost):
            with pytest.raises(JetStreamRefused, match="workqueue"):
                await bus.push_consumer("RESULTS", "partition-3-2", RESULT, seen.append, on_lost=lost).__aenter__()
            await publish(bus, RESULT, b"a")
            await until(lambda: len(seen) == 1, "the message")


async def test_a_push_consumer_goes_on_after_a_restart(server: NatsServer) -> None:
    async with bus_with_streams(server) as bus:
        seen: list[Delivery] = []
        async with bus.push_consumer("RESULTS", "partition-3-1", RESULT, seen.append, on_lost=lost) as consumer:
            await server.kill()
            await until(lambda: not bus.connected, "the disconnect")
            await server.start()
            await until(lambda: bus.connected, "the reconnect")
            await publish(bus, RESULT, b"after")
            await until(lambda: bool(seen), "the message")
            consumer.ack(seen[0])
            await gone(bus, "RESULTS")


@pytest.mark.parametrize("wiped", [True, False])
async def test_the_owner_is_told_once_when_its_consumer_is_gone(server: NatsServer, wiped: bool) -> None:
    async with bus_with_streams(server) as bus:
        told: list[str] = []
        async with bus.push_consumer(
            "RESULTS", "partition-3-1", RESULT, lambda delivery: None, on_lost=told.append, idle_heartbeat=0.2
        ):
            if wiped:
                await server.wipe()
                await until(lambda: not bus.connected, "the disconnect")
                await server.start()
            else:
                await bus.jetstream.ask("STREAM.DELETE.RESULTS")
            await until(lambda: bool(told), "the call")
            assert told == ["the consumer is gone"]
