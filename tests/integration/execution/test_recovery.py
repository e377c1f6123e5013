"""What is in rows is found again: lost hints, lost memory, lost timers; and what cannot be driven stays alone."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventBatch
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.runner.v1.task_pb2 import Task

from services.common.blobs import BlobStore
from services.common.ids import first_id, new_id
from services.execution.commands import Stop, encode_command
from services.execution.large_values import LargeValues
from services.execution.repository.retention import TABLES, WEEK, Retention, week_of
from services.execution.retiring import drop_old
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import Held, running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.waiting import until


def count_down(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    """Feeds itself until it is at 0."""
    left = inputs["left"]
    yield ("again", left - 1) if left else ("done", 0)


def loop(built: House, rounds: int) -> None:
    graph = built.graph()
    graph.node("begin", value=rounds)
    graph.node("count", "count")
    graph.output("out")
    graph.link("begin.value", "count.left")
    graph.link("count.again", "count.left")
    graph.link("count.done", "out.value")
    built.catalogue.add(graph)


def begin(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "value", inputs["value"]


async def ended(client: Client, execution_id: str, status: ExecutionStatus.ValueType) -> None:
    await client.events(execution_id, timeout=40)
    assert (await client.get(execution_id)).status == status


async def test_a_command_whose_hint_was_lost_is_found_by_the_sweep(postgres: PostgresServer) -> None:
    async with house(postgres) as built, asyncio.TaskGroup() as tasks:
        one_node(built)
        await built.add_replica()

        def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            raise Held

        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: bool(runner.held), "the task runs")
            watching = tasks.create_task(client.events(execution.id))
            kind, body = encode_command(Stop("stopped behind its back"))
            connection = await asyncpg.connect(built.database_url)
            async with connection.transaction():
                await connection.execute("UPDATE execution.executions SET commands = 1, wake_at = now()")
                await connection.execute(
                    "INSERT INTO execution.commands VALUES ($1, 1, $2, $3)", UUID(execution.id), kind, body
                )
            await connection.close()
            await watching
            found = await client.get(execution.id)
            assert found.status == ExecutionStatus.EXECUTION_STATUS_CANCELLED
            assert found.status_message == "stopped behind its back"


async def test_an_execution_that_only_waits_leaves_memory_and_is_woken_in_time(postgres: PostgresServer) -> None:
    def fails_once(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        if task.attempt == 1:
            raise RuntimeError("not yet")
        yield "result", task.attempt

    async with house(postgres, unload_after=0.01) as built:
        one_node(built, attempts=2)
        await built.add_replica()
        async with running(built.bus, {"work": fails_once}):
            client = built.client()
            execution = await client.start()
            await ended(client, execution.id, ExecutionStatus.EXECUTION_STATUS_COMPLETED)
            assert await client.results(execution.id) == {"out": [2]}


async def test_a_long_execution_goes_on_after_a_restart_from_snapshot_and_tail(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        loop(built, 2500)
        first = await built.add_replica()
        async with running(built.bus, {"begin": begin, "count": count_down}) as runner:
            execution = await built.client().start()
            await until(lambda: len(runner.ran) > 1500, "it is well on its way")
            await first.close()
            built.replicas.clear()
            connection = await asyncpg.connect(built.database_url)
            turn = await connection.fetchval("SELECT max(turn) FROM execution.snapshots")
            assert turn > 900
            await connection.close()
            await built.add_replica()
            client = built.client()
            events = await client.events(execution.id, timeout=60)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert await client.results(execution.id) == {"out": [0]}
            assert (await client.get(execution.id)).node_executions == 2503


async def parked(built: House, change: str) -> str:
    """What an execution is parked with, after its rows were changed while no replica ran."""
    one_node(built)
    first = await built.add_replica()
    execution = await built.client().start()
    connection = await asyncpg.connect(built.database_url, server_settings={"search_path": "execution"})
    await until(lambda: connection.fetchval("SELECT count(*) FROM turns"), "a turn")
    await first.close()
    built.replicas.clear()
    await connection.execute(change)
    await built.add_replica()
    why = "SELECT parked FROM executions WHERE parked IS NOT NULL"
    reason = await until(lambda: connection.fetchval(why), "an execution that is parked")
    await connection.close()
    async with running(built.bus, {"work": echo}):
        client = built.client()
        explained = await client.call("ExplainExecution", messages.ExplainExecutionRequest(execution_id=execution.id))
        assert reason in explained.summary
        other = await client.start()
        await ended(client, other.id, ExecutionStatus.EXECUTION_STATUS_COMPLETED)
    return str(reason)


async def test_a_replay_with_other_effects_parks_the_execution_and_no_other(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        assert "other effects" in await parked(built, "UPDATE turns SET checksum = checksum + 1")


async def test_rules_that_this_release_does_not_know_park_the_execution(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        assert "rules 99" in await parked(built, "UPDATE executions SET rules = 99")


async def test_facts_that_cannot_be_read_park_the_execution(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        assert "cannot be replayed" in await parked(built, "UPDATE turns SET facts = 'nonsense'")


async def test_an_execution_that_was_loaded_too_often_without_a_commit_is_parked(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        assert "never came to a commit" in await parked(built, "UPDATE executions SET loads = 5")


async def test_the_feed_is_gapless_and_the_stream_has_every_event_in_order(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        loop(built, 30)
        published: dict[str, list[int]] = {}

        def note(data: bytes) -> None:
            batch = EventBatch.FromString(data)
            published.setdefault(batch.execution_id, []).extend(event.sequence for event in batch.events)

        await built.bus.subscribe("blockyard.event.>", lambda delivery: note(delivery.data))
        await built.add_replica()
        async with running(built.bus, {"begin": begin, "count": count_down}):
            client = built.client()
            started = [await client.start() for _ in range(8)]
            lengths = {execution.id: len(await client.events(execution.id)) for execution in started}
            await until(
                lambda: all(len(published.get(key, [])) == length for key, length in lengths.items()),
                "all is published",
            )
            assert published == {key: list(range(1, length + 1)) for key, length in lengths.items()}
            connection = await asyncpg.connect(built.database_url)
            rows = await connection.fetch("SELECT partition, feed_sequence FROM execution.turns ORDER BY 1, 2")
            counts = Counter(row["partition"] for row in rows)
            expected = [(partition, at + 1) for partition in sorted(counts) for at in range(counts[partition])]
            assert [tuple(row) for row in rows] == expected
            await connection.close()


async def test_events_that_were_committed_and_not_published_are_published_after_a_take_over(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built:
        one_node(built)
        first = await built.add_replica()
        async with running(built.bus, {"work": echo}):
            execution = await built.client().start()
            await ended(built.client(), execution.id, ExecutionStatus.EXECUTION_STATUS_COMPLETED)
            await first.close()
            built.replicas.clear()
            connection = await asyncpg.connect(built.database_url)
            await connection.execute("UPDATE execution.partitions SET published_through = 0")
            await connection.close()
            published: list[int] = []
            await built.bus.subscribe(
                f"blockyard.event.*.*.{execution.id}",
                lambda delivery: published.extend(
                    event.sequence for event in EventBatch.FromString(delivery.data).events
                ),
            )
            await built.add_replica()
            last = (await built.client().get(execution.id)).last_event_sequence
            await until(lambda: published == list(range(1, last + 1)), "all is published again")


async def test_weeks_past_retention_are_dropped_unless_something_in_them_is_alive(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        connection = await asyncpg.connect(built.database_url, server_settings={"search_path": "execution"})
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        retention = Retention(pool)
        await retention.make_partitions()
        old, older = week_of(datetime.now(UTC)) - 10 * WEEK, week_of(datetime.now(UTC)) - 11 * WEEK
        for week, status in ((old, 2), (older, 4)):
            for table in TABLES:
                await connection.execute(
                    f"CREATE TABLE {table}_{week:%Y%m%d} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{first_id(week)}') TO ('{first_id(week + WEEK)}')"
                )
            await connection.execute(
                """INSERT INTO executions (execution_id, user_id, graph_id, graph_version, partition, plan_hash, rules,
                inputs, status, end_time) VALUES ($1, 'anna', 'g', 1, 0, '', 1, '{}', $2, $3)""",
                UUID(int=first_id(week + timedelta(days=1)).int | new_id().int & 0xFFFF),
                status,
                week + WEEK if status == 4 else None,
            )
        values = LargeValues(BlobStore(f"file://{built.folder / 'blobs'}"))
        assert await drop_old(retention, values, datetime.now(UTC) - timedelta(days=30)) == 1
        left = await connection.fetch("SELECT execution_id FROM executions")
        assert [first_id(old) <= row["execution_id"] < first_id(old + WEEK) for row in left] == [True]
        assert [row["status"] for row in await connection.fetch("SELECT status FROM executions")] == [2]
        await pool.close()
        await connection.close()
