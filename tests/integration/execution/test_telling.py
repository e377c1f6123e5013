"""What is told of executions, and how streams that are full, gone or away hold nothing up (rules 22 to 25)."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.runner.v1.task_pb2 import Task, TaskBatch
from structlog.testing import capture_logs

from services.common.bus import EVENTS, RESULTS, TASKS, Delivery
from services.execution.sending import REFUSED_PAUSE
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import Held, running
from tests.integration.execution.test_fences import finish_held
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_lost_commits import looking
from tests.integration.execution.test_lost_tasks import beat
from tests.integration.execution.test_recovery import begin, count_down, loop
from tests.waiting import until


def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held


def kinds_of(batch: EventBatch) -> str:
    return ",".join(sorted({EventKind.Name(event.kind).removeprefix("EVENT_KIND_") for event in batch.events}))


@asynccontextmanager
async def published(built: House) -> AsyncIterator[list[Delivery]]:
    """All messages of events that are published meanwhile."""
    found: list[Delivery] = []
    subscription = await built.bus.subscribe("blockyard.event.>", found.append)
    try:
        yield found
    finally:
        subscription.unsubscribe()


async def stored(built: House, execution_id: str) -> list[int]:
    """The sequences of an execution's events in the stream EVENTS, in the order of the stream."""
    found: list[int] = []
    subject = f"blockyard.event.*.*.{execution_id}"

    def take(delivery: Delivery) -> None:
        found.extend(event.sequence for event in EventBatch.FromString(delivery.data).events)

    async with built.bus.push_consumer(EVENTS, f"reader-{execution_id}", subject, take, on_lost=lambda why: None):
        info = built.bus.consumer_info
        name = f"reader-{execution_id}"

        async def read() -> bool:
            known = await info(EVENTS, name)
            return known is not None and known.num_pending == 0

        await until(read, "the stream has been read")
        await built.bus.flush()
    return found


async def all_events(client: Client, execution_id: str) -> list[Event]:
    """ListEvents, page by page."""
    found: list[Event] = []
    while True:
        request = messages.ListEventsRequest(
            execution_id=execution_id, after_sequence=found[-1].sequence if found else 0, page_size=1000
        )
        page = await client.call("ListEvents", request)
        found.extend(page.events)
        if not page.events:
            return found


async def turns_of(rows: "asyncpg.Connection[asyncpg.Record]", execution_id: str) -> list[tuple[int, int]]:
    """First and last event of each committed turn that told something."""
    found = await rows.fetch(
        "SELECT first_event, last_event FROM turns WHERE execution_id = $1 AND events <> '' ORDER BY turn",
        UUID(execution_id),
    )
    return [(row["first_event"], row["last_event"]) for row in found]


async def test_a_message_is_the_events_of_one_execution_of_one_turn(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows, published(built) as told:
        loop(built, 5)
        await built.add_replica()
        async with running(built.bus, {"begin": begin, "count": count_down}):
            client = built.client()
            started = [await client.start() for _ in range(4)]
            for execution in started:
                await client.events(execution.id)
                turns = await turns_of(rows, execution.id)
                of_it = await until(lambda: of(told, execution.id, len(turns)), "all is published")  # noqa: B023
                bounds = []
                for delivery in of_it:
                    batch = EventBatch.FromString(delivery.data)
                    first, last = batch.events[0].sequence, batch.events[-1].sequence
                    bounds.append((first, last))
                    assert [event.sequence for event in batch.events] == list(range(first, last + 1))
                    assert delivery.subject == f"blockyard.event.anna.graph.{execution.id}"
                    assert delivery.headers["Nats-Msg-Id"] == f"{execution.id}:{first}-{last}"
                    assert delivery.headers["ce-id"] == f"{execution.id}:{first}-{last}"
                    assert delivery.headers["Blockyard-Kinds"] == kinds_of(batch)
                assert bounds == turns


def of(told: list[Delivery], execution_id: str, number: int) -> list[Delivery]:
    """An execution's messages once there are so many."""
    found = [delivery for delivery in told if delivery.subject.endswith(execution_id)]
    return found if len(found) >= number else []


async def test_a_message_that_is_published_again_is_the_same(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        loop(built, 10)
        first = await built.add_replica()
        async with running(built.bus, {"begin": begin, "count": count_down}):
            async with published(built) as told:
                execution = await built.client().start()
                await built.client().events(execution.id)
                number = len(await turns_of(rows, execution.id))
                before = await until(lambda: of(told, execution.id, number), "all is published")
            await first.close()
            built.replicas.clear()
            await rows.execute("UPDATE partitions SET published_through = 0")
            async with published(built) as told:
                await built.add_replica()
                again = await until(lambda: of(told, execution.id, number), "all is published again")
            assert [message(delivery) for delivery in again] == [message(delivery) for delivery in before]
            # The stream knows them by their ids.
            assert await stored(built, execution.id) == list(range(1, count_of(before) + 1))


def message(delivery: Delivery) -> tuple[str, bytes, dict[str, str]]:
    return delivery.subject, delivery.data, delivery.headers


def count_of(told: list[Delivery]) -> int:
    return sum(len(EventBatch.FromString(delivery.data).events) for delivery in told)


async def test_what_is_published_is_noted_and_not_published_again(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        first = await built.add_replica()
        async with running(built.bus, {"work": echo}):
            client = built.client()
            for _ in range(8):
                await client.events((await client.start()).id)
            # While it runs, and at its orderly end.
            await until(lambda: rows.fetchval(f"SELECT NOT EXISTS ({UNNOTED})"), "all that is published is noted")
            last = await client.start()
            await client.events(last.id)
            await first.close()
            built.replicas.clear()
            assert await rows.fetchval(f"SELECT NOT EXISTS ({UNNOTED})")
            async with published(built) as told:
                await built.add_replica()
                other = await built.client().start()
                await until(lambda: of(told, other.id, 1), "the new owner publishes")
                assert {delivery.subject.rpartition(".")[2] for delivery in told} == {other.id}


UNNOTED = """
SELECT FROM partitions WHERE published_through
    < coalesce((SELECT max(feed_sequence) FROM turns WHERE turns.partition = partitions.partition), 0)
"""


async def test_events_of_while_nats_was_away_are_in_the_new_stream_after_it_lost_its_disk(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        client = built.client()
        async with running(built.bus, {"work": echo}):
            await client.events((await client.start()).id)
        await built.nats.kill()
        started = [await client.start() for _ in range(6)]
        begun = "SELECT count(DISTINCT execution_id) = 7 FROM turns WHERE events <> ''"
        await until(lambda: rows.fetchval(begun), "all have begun")
        await built.nats.wipe()
        await built.nats.start()
        async with running(built.bus, {"work": echo}):
            for execution in started:
                events = await client.events(execution.id, timeout=60)
                whole = list(range(1, len(events) + 1))

                async def complete() -> bool:
                    return await stored(built, execution.id) == whole  # noqa: B023

                await until(complete, "the stream has all of its events")


# Streams that are full or gone


async def test_partitions_that_are_taken_while_nats_is_away_are_driven_when_it_is_back_without_its_disk(
    postgres: PostgresServer,
) -> None:
    # With a long lease: a slow machine must not end it while NATS is away.
    async with house(postgres, partitions=2, lease_seconds=30) as built, looking(built) as rows:
        one_node(built)
        await rows.execute("INSERT INTO replicas VALUES ('other', 'elsewhere', now() + interval '1 hour')")
        await rows.execute("INSERT INTO partitions (partition, owner) VALUES (0, 'other'), (1, 'other')")
        await built.add_replica()
        await built.nats.wipe()
        await rows.execute("DELETE FROM replicas WHERE replica_id = 'other'")
        # One at least: who has begun to take that one waits with the next until NATS is back.
        taken = "SELECT bool_or(owner <> 'other') FROM partitions"
        await until(lambda: rows.fetchval(taken), "partitions are taken while NATS is away")
        client = built.client()
        execution = await client.start()
        await built.nats.start()
        async with running(built.bus, {"work": echo}):
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}


ROOM = 1 << 20
"""Bytes that the stream TASKS has in the tests where it is full."""


def more_than_the_stream_takes(built: House) -> None:
    """A graph of thirty nodes whose tasks are larger together than ROOM."""
    graph = built.graph()
    for number in range(30):
        graph.node(f"work {number}", "work", a="x" * 100_000)
    built.catalogue.add(graph)


async def until_full(built: House) -> None:
    """Returns when the stream TASKS takes no further message of such tasks."""
    numbers = itertools.count()

    async def full() -> bool:
        # A runner with many slots lives, and fetches nothing.
        beat(built, "busy", next(numbers), slots=1000)
        info = await built.bus.stream_info(TASKS)
        assert info is not None
        return info.bytes + 300_000 > ROOM

    await until(full, "the stream takes no further task")


async def test_tasks_that_the_full_stream_refuses_are_sent_later(postgres: PostgresServer) -> None:
    async with house(postgres, tasks_stream_bytes=ROOM, partitions=1) as built:
        more_than_the_stream_takes(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start()
        await until_full(built)
        async with running(built.bus, {"work": echo}, slots=1000) as runner:
            await client.events(execution.id, timeout=60)
            assert len({task.node_execution for task in runner.ran}) == 30
            found = await client.get(execution.id)
            assert found.status == ExecutionStatus.EXECUTION_STATUS_COMPLETED


async def test_the_log_has_the_servers_reason_for_refusing_tasks(postgres: PostgresServer) -> None:
    async with house(postgres, tasks_stream_bytes=ROOM, partitions=1) as built:
        more_than_the_stream_takes(built)
        await built.add_replica()
        with capture_logs() as logged:
            await built.client().start()
            await until_full(built)
            await until(lambda: [entry for entry in logged if "tasks were refused" in entry["event"]], "it is logged")
        (reason, *_) = [entry["reason"] for entry in logged if "tasks were refused" in entry["event"]]
        assert reason == "stream full: maximum bytes exceeded"


async def test_tasks_that_are_refused_are_tried_again_at_one_pace(postgres: PostgresServer) -> None:
    async with house(postgres, tasks_stream_bytes=ROOM, partitions=1) as built:
        more_than_the_stream_takes(built)
        await built.add_replica()
        await built.client().start()
        await until_full(built)
        tried: Counter[int] = Counter()

        def note(delivery: Delivery) -> None:
            tried.update(task.node_execution for task in TaskBatch.FromString(delivery.data).tasks)

        await built.bus.subscribe("blockyard.task.default", note)
        clock = asyncio.get_running_loop().time
        began = clock()
        numbers = itertools.count(1_000_000)

        def enough() -> bool:
            # Each heartbeat, as each turn, is an occasion to send what waits.
            beat(built, "busy", next(numbers), slots=1000)
            return clock() - began > 3

        await until(enough, "it has been tried for a while")
        assert 1 < max(tried.values()) <= (clock() - began) / REFUSED_PAUSE + 2


async def test_events_that_the_stream_has_dropped_are_found_in_rows(postgres: PostgresServer) -> None:
    def large(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        yield "result", "x" * 100_000

    async with house(postgres, events_stream_bytes=1 << 20) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": large}):
            client = built.client()
            whole: dict[str, list[int]] = {}
            for _ in range(8):
                execution = await client.start()
                events = await client.events(execution.id)
                whole[execution.id] = list(range(1, len(events) + 1))
            oldest, *_, newest = whole

            async def moved_on() -> bool:
                return await stored(built, newest) == whole[newest] and await stored(built, oldest) == []

            await until(moved_on, "the stream has the newest, and has dropped the oldest")
            for execution_id, sequences in whole.items():
                assert [event.sequence for event in await all_events(client, execution_id)] == sequences


async def test_results_are_taken_while_events_cannot_be_published(postgres: PostgresServer) -> None:
    async with house(postgres, event_bytes=1 << 20) as built:
        one_node(built)
        await built.add_replica()
        await built.bus.jetstream.ask(f"STREAM.DELETE.{EVENTS}")
        async with running(built.bus, {"work": echo}) as runner:
            client = built.client()
            for _ in range(5):
                execution = await client.start()
                await client.events(execution.id)
                assert await client.results(execution.id) == {"out": [1]}
            await until(lambda: not runner.kept, "all results are recorded")


@pytest.mark.parametrize("stream", [TASKS, EVENTS])
async def test_a_stream_that_was_deleted_is_made_anew_and_filled(postgres: PostgresServer, stream: str) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        await built.bus.jetstream.ask(f"STREAM.DELETE.{stream}")
        async with running(built.bus, {"work": echo}):
            client = built.client()
            execution = await client.start()
            events = await client.events(execution.id)

            async def complete() -> bool:
                if await built.bus.stream_info(EVENTS) is None:
                    return False
                return await stored(built, execution.id) == list(range(1, len(events) + 1))

            await until(complete, "the stream has all of its events", 15)


async def test_a_consumer_that_a_dead_owner_left_is_replaced_by_one_of_the_new_epoch(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1) as built, looking(built) as rows:
        one_node(built)
        first = await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            execution = await built.client().start()
            await until(lambda: runner.held, "the task runs")
            await first.close()
            built.replicas.clear()
            epoch = await rows.fetchval("SELECT epoch FROM partitions")
            # As a replica that was killed leaves it: with a result delivered, and not acknowledged.
            taken: list[Delivery] = []
            subject, name = "blockyard.result.0", f"partition-0-{epoch}"
            async with built.bus.push_consumer(RESULTS, name, subject, taken.append, on_lost=lambda why: None):
                await finish_held(runner, b"7")
                await until(lambda: taken, "the dead owner has it")
                await built.add_replica()
                await built.client().events(execution.id)
                assert await built.client().results(execution.id) == {"out": [7]}
                names = await built.bus.jetstream.consumer_names(RESULTS)
                assert names == [f"partition-0-{epoch + 1}"]
