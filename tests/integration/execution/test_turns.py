"""Turns are bounded, and what one execution brings keeps no other from its turn (rules 9 and 10)."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import msgspec
import prometheus_client
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventKind
from blockyard.execution.v1.execution_pb2 import Execution, ExecutionStatus
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output, Result, ResultBatch
from blockyard.runner.v1.task_pb2 import Task

from services.common.bus import RESULTS, Message
from services.common.ids import new_id
from services.execution.engine import Fact, Reported, Started
from services.execution.engine.ends import SLICE
from services.execution.engine.machine import BOUNDS
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import Held, ProtocolRunner, running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_lost_commits import WAITING_TURNS, looking
from tests.integration.execution.test_reading import nodes_of
from tests.waiting import until


def fan_out(built: House, graph_id: str, items: int) -> None:
    """A graph of one node that gives so many numbers, and a node "work" for each of them."""
    graph = built.graph(graph_id)
    graph.node("numbers", many=("item",), count=items)
    graph.node("work")
    graph.link("numbers.item", "work.a")
    built.catalogue.add(graph)


def numbers(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    for number in range(inputs["count"]):
        yield "item", number


def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held


async def answer_at_once(runner: ProtocolRunner, tasks: list[Task], value: bytes) -> None:
    """One message with the results of all these tasks, in this order."""
    results = [
        Result(
            execution_id=task.execution_id,
            node_execution=task.node_execution,
            attempt=task.attempt,
            partition=task.partition,
            run_id=1,
            outputs=[Output(pin="result", value=value)],
            finish=Finish(outcome=Outcome.OUTCOME_COMPLETED, outputs=1),
        )
        for task in tasks
    ]
    batch = ResultBatch(runner_id=runner.runner_id, batch=0, pool=runner.pool, results=results)
    subject = f"blockyard.result.{tasks[0].partition}"
    await runner.bus.publish_all([Message(subject, batch.SerializeToString())])
    runner.held.clear()


async def transactions(rows: "asyncpg.Connection[asyncpg.Record]") -> list[list[Fact]]:
    """The facts of each committed turn, those of all executions in it together."""
    facts: dict[int, list[Fact]] = defaultdict(list)
    for row in await rows.fetch("SELECT xmin::text::bigint AS written_by, facts FROM turns ORDER BY feed_sequence"):
        facts[row["written_by"]] += msgspec.msgpack.decode(row["facts"], type=list[Fact])
    return list(facts.values())


async def test_a_turn_takes_in_no_more_arrivals_than_are_allowed(postgres: PostgresServer) -> None:
    async with house(postgres, turn_results=5, partitions=1) as built, looking(built) as rows:
        fan_out(built, "graph", 40)
        await built.add_replica()
        async with running(built.bus, {"numbers": numbers, "work": held}, slots=64) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: len(runner.held) == 40, "all items run")
            await answer_at_once(runner, list(runner.held.values()), b"1")
            await client.events(execution.id)
            sizes = [len(facts) for facts in await transactions(rows)]
            assert max(sizes) == 5
            assert sum(sizes) >= 41


async def test_a_turn_takes_in_no_more_bytes_than_are_allowed(postgres: PostgresServer) -> None:
    limit, value = 1 << 20, json.dumps("x" * 200_000).encode()
    async with house(postgres, turn_bytes=limit, partitions=1) as built, looking(built) as rows:
        fan_out(built, "graph", 20)
        await built.add_replica()
        async with running(built.bus, {"numbers": numbers, "work": held}, slots=64) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: len(runner.held) == 20, "all items run")
            await answer_at_once(runner, list(runner.held.values()), value)
            await client.events(execution.id)
            sizes = [
                sum(len(output.value) for fact in facts if isinstance(fact, Reported) for output in fact.outputs)
                for facts in await transactions(rows)
            ]
            assert sum(sizes) >= 20 * len(value)
            assert max(sizes) < limit + len(value)


async def test_a_turn_takes_in_no_more_bytes_of_inputs_than_are_allowed(postgres: PostgresServer) -> None:
    limit, text = 1 << 20, "x" * 200_000
    async with house(postgres, turn_bytes=limit, partitions=1, lease_seconds=30) as built, looking(built) as rows:
        graph = built.graph()
        graph.input("text")
        built.catalogue.add(graph)
        await built.add_replica()
        client = built.client()
        async with looking(built) as witness, rows.transaction():
            await rows.execute("LOCK TABLE turns IN SHARE MODE")
            starts = [asyncio.create_task(client.start(inputs={"text": text})) for _ in range(20)]
            await until(lambda: witness.fetchval(WAITING_TURNS), "the first turn is on its way")
            loaded = "blockyard_executions_loaded"
            await until(lambda: prometheus_client.REGISTRY.get_sample_value(loaded) == 20, "all wait for a turn")
        for start in starts:
            await client.events((await start).id)
        sizes = [
            sum(len(value) for fact in facts if isinstance(fact, Started) for value in fact.inputs.values())
            for facts in await transactions(rows)
        ]
        assert sum(sizes) >= 20 * len(text)
        assert max(sizes) < limit + len(text) + 100


async def test_turns_become_smaller_when_they_take_too_long_to_store(postgres: PostgresServer) -> None:
    # A statement may take 1.2 seconds, and each row of a turn takes a tenth of one.
    async with house(postgres, partitions=1, lease_seconds=2) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        await rows.execute(SLOW_TURNS)
        client = built.client()
        async with running(built.bus, {"work": echo}, slots=64):
            for execution in [await started(client) for _ in range(30)]:
                await client.events(execution.id, timeout=60)
                assert await client.results(execution.id) == {"out": [1]}


async def started(client: Client) -> Execution:
    """A start, repeated while it is answered that a part is away: its first turn may have been too large a one."""
    request_id, found = str(new_id()), list[Execution]()

    async def is_started() -> bool:
        try:
            found.append(await client.start(request_id=request_id))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        return bool(found)

    await until(is_started, "it is started")
    return found[0]


SLOW_TURNS = """
CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN new; END $$;
CREATE TRIGGER take_long BEFORE INSERT ON turns FOR EACH ROW EXECUTE FUNCTION take_long();
"""


async def test_an_execution_with_many_results_does_not_hold_up_anothers_first(postgres: PostgresServer) -> None:
    async with house(postgres, turn_results=5, partitions=1) as built, looking(built) as rows:
        fan_out(built, "many", 60)
        fan_out(built, "one", 1)
        await built.add_replica()
        async with running(built.bus, {"numbers": numbers, "work": held}, slots=64) as runner:
            client = built.client()
            many, one = await client.start("many"), await client.start("one")
            await until(lambda: len(runner.held) == 61, "all items run")
            first = UUID(many.id).bytes
            in_line = sorted(runner.held.values(), key=lambda task: task.execution_id != first)
            await answer_at_once(runner, in_line, b"1")
            await client.events(many.id)
            await client.events(one.id)
            ended_at = "SELECT max(feed_sequence) FROM turns WHERE execution_id = $1"
            of_one = await rows.fetchval(ended_at, UUID(one.id))
            before = "SELECT facts FROM turns WHERE execution_id = $1 AND feed_sequence < $2"
            told = [
                fact
                for row in await rows.fetch(before, UUID(many.id), of_one)
                for fact in msgspec.msgpack.decode(row["facts"], type=list[Fact])
                if isinstance(fact, Reported) and fact.finish is not None and fact.run == 1
            ]
            assert len(told) <= 5


async def test_sets_that_were_never_full_are_recorded_in_bounded_turns_and_all_can_be_listed(
    postgres: PostgresServer,
) -> None:
    def nothing(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        yield from ()

    count, size = 2_500, 5_000
    async with house(postgres, partitions=1) as built, looking(built) as rows:
        graph = built.graph()
        graph.node("numbers", many=("item",), count=count)
        graph.node("other")
        graph.node("join", text="x" * size)
        graph.link("numbers.item", "join.a")
        graph.link("other.result", "join.b")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"numbers": numbers, "other": nothing}):
            client = built.client()
            execution = await client.start()
            kinds = [event.kind for event in await client.events(execution.id)]
            assert kinds[-1] == EventKind.EVENT_KIND_EXECUTION_COMPLETED
            together = await rows.fetch(
                "SELECT count(*) AS sets, sum(length(inputs)) AS bytes FROM incomplete_sets GROUP BY xmin"
            )
            assert sum(each["sets"] for each in together) == count
            assert max(each["sets"] for each in together) <= SLICE
            assert max(each["bytes"] for each in together) < BOUNDS.recorded + 2 * size
            nodes = [node for page in await nodes_of(client, execution.id, "join", 400) for node in page]
            assert [json.loads(node.inputs_json)["a"] for node in nodes] == list(range(count))


# Poison


async def test_an_execution_whose_rows_cannot_be_stored_is_parked_and_others_of_its_turn_go_on(
    postgres: PostgresServer,
) -> None:
    async with house(postgres, partitions=1) as built, looking(built) as rows:
        one_node(built)
        poison = built.graph("poison")
        poison.node("work", a=1)
        poison.node("out", "OUTPUT", name="a name with \x00 in it")
        poison.link("work.result", "out.value")
        built.catalogue.add(poison)
        await built.add_replica()
        async with running(built.bus, {"work": held}, slots=64) as runner:
            client = built.client()
            healthy = [await client.start() for _ in range(3)]
            bad = await client.start("poison")
            healthy += [await client.start() for _ in range(3)]
            await until(lambda: len(runner.held) == 7, "all run")
            await answer_at_once(runner, list(runner.held.values()), b"1")
            for execution in healthy:
                await client.events(execution.id)
                assert await client.results(execution.id) == {"out": [1]}
            parked = "SELECT parked FROM executions WHERE execution_id = $1"
            reason = await until(lambda: rows.fetchval(parked, UUID(bad.id)), "the poisoned one is parked")
            assert "cannot be stored" in reason
            assert await rows.fetchval("SELECT count(*) FROM executions WHERE parked IS NOT NULL") == 1
            # What was numbered for a turn that could not be stored is given to the next one: no gap, none twice.
            await client.start()
            sequences = "SELECT array_agg(feed_sequence ORDER BY feed_sequence) FROM turns"
            found = await rows.fetchval(sequences)
            assert found == list(range(1, len(found) + 1))


async def test_an_execution_that_the_engine_cannot_carry_on_is_parked_alone(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1) as built, looking(built) as rows:
        one_node(built)
        graph = built.graph("nameless")
        graph.node("in", "INPUT", value=1)
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            client = built.client()
            bad, good = await client.start("nameless"), await client.start()
            await client.events(good.id)
            parked = "SELECT parked FROM executions WHERE execution_id = $1"
            reason = await until(lambda: rows.fetchval(parked, UUID(bad.id)), "the bad one is parked")
            assert "the engine failed" in reason
            found = await client.get(good.id)
            assert found.status == ExecutionStatus.EXECUTION_STATUS_COMPLETED


async def test_text_that_postgresql_cannot_hold_is_scrubbed_on_its_way_in(postgres: PostgresServer) -> None:
    def fails(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        raise RuntimeError("a NUL \x00 in the message")
        yield

    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": fails}):
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            found = await client.get(execution.id)
            assert found.status == ExecutionStatus.EXECUTION_STATUS_FAILED
            assert found.status_message == "node work failed: a NUL \ufffd in the message"


async def test_a_message_that_cannot_be_read_is_taken_off_the_stream(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1) as built:
        one_node(built)
        await built.add_replica()
        await built.bus.publish_all([Message("blockyard.result.0", b"\xff\xff\xff") for _ in range(3)])
        async with running(built.bus, {"work": echo}):
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}

            async def empty() -> bool:
                info = await built.bus.stream_info(RESULTS)
                return info is not None and info.messages == 0

            await until(empty, "nothing of it is left", 10)


async def test_a_reason_of_a_later_release_fails_the_node_like_any_other(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.held, "the task runs")
            (task,) = runner.held.values()
            runner.held.clear()
            later = NodeErrorReason.ValueType(99)
            await runner.say(task, 1, [], Finish(outcome=Outcome.OUTCOME_FAILED, error="a new kind", reason=later))
            await client.events(execution.id, timeout=15)
            found = await client.get(execution.id)
            assert found.status_message == "node work failed: a new kind"
