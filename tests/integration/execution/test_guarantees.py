"""The rules of docs/guarantees.md that a runner's or an owner's misbehaviour would break."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventKind
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus, NodeExecutionStatus
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output
from blockyard.runner.v1.task_pb2 import Task

from services.execution.repository.turns import LeaseLost, TurnBatch, TurnRepository
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import Block, Held, ProtocolRunner, Silent, running
from tests.waiting import until


def one_node(built: House, *, effect: Effect.ValueType = Effect.EFFECT_IDEMPOTENT, attempts: int = 1) -> None:
    """A graph of one node "work", whose value is the result "out"."""
    graph = built.graph()
    graph.node("work", effect=effect, attempts=attempts, a=1)
    graph.output("out")
    graph.link("work.result", "out.value")
    built.catalogue.add(graph)


def echo(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "result", inputs["a"]


def first_run(block: Block, error: type[Exception]) -> Block:
    """The block, but its first run meets this instead."""
    runs: list[Task] = []

    def run(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        runs.append(task)
        if len(runs) == 1:
            raise error
        yield from block(inputs, task)

    return run


async def node_executions(client: Client, execution_id: str) -> list[Any]:
    request = messages.ListNodeExecutionsRequest(execution_id=execution_id, value_format=messages.VALUE_FORMAT_JSON)
    return list((await client.call("ListNodeExecutions", request)).node_executions)


async def test_a_late_duplicate_result_changes_nothing(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}) as runner:
            client = built.client()
            execution = await client.start()
            events = await client.events(execution.id)
            await runner.say(
                runner.ran[0], 99, [Output(pin="result", value=b"666")], Finish(outcome=Outcome.OUTCOME_COMPLETED)
            )
            await until(lambda: not runner.kept, "the duplicate is recorded as void")
            assert await client.results(execution.id) == {"out": [1]}
            assert await client.events(execution.id) == events
            assert [node.attempts for node in await node_executions(client, execution.id)] == [1, 1]


async def test_the_first_complete_run_of_an_attempt_wins_whole(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Held)}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: bool(runner.held), "the task runs")
            (task,) = runner.held.values()
            # Two runs of one attempt, each with two outputs, come interleaved.
            await runner.say(task, 1, [Output(pin="result", value=b"10")])
            await runner.say(task, 2, [Output(pin="result", value=b"20")])
            await runner.say(task, 2, [], Finish(outcome=Outcome.OUTCOME_COMPLETED, outputs=1))
            await runner.say(task, 1, [], Finish(outcome=Outcome.OUTCOME_COMPLETED, outputs=1))
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [20]}


async def test_a_task_that_died_with_its_run_is_sent_again(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}
            assert [task.attempt for task in runner.ran] == [1, 1]


async def test_a_task_is_not_sent_again_while_a_runner_holds_it(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Held)}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: bool(runner.held), "the task runs")
            beats = runner.beats
            await until(lambda: runner.beats > beats + 20, "many rounds of heartbeats")
            assert len(runner.ran) == 1
            (task,) = runner.held.values()
            runner.held.clear()
            await runner.say(task, 1, [Output(pin="result", value=b"7")], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [7]}


async def test_a_claimed_run_that_went_silent_is_ambiguous_until_decided(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built, effect=Effect.EFFECT_ONCE)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution = await client.start()
            await ambiguous(client, execution.id)
            assert len(runner.ran) == 1
            assert (await client.get(execution.id)).status == ExecutionStatus.EXECUTION_STATUS_WAITING
            explained = await client.call(
                "ExplainExecution", messages.ExplainExecutionRequest(execution_id=execution.id)
            )
            assert "decision" in explained.summary
            decided = messages.ResumeNodeRequest(
                execution_id=execution.id,
                node_execution=explained.waiting[0].node_execution,
                decision=messages.DECISION_COMPLETE,
                outputs_json=json.dumps({"result": [42]}).encode(),
                request_id="decided once",
            )
            await client.call("ResumeNode", decided)
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [42]}
            assert len(runner.ran) == 1


async def ambiguous(client: Client, execution_id: str) -> None:
    """Returns when an AMBIGUOUS event was seen."""
    request = messages.WatchExecutionRequest(execution_id=execution_id)
    async for answer in client.stub.WatchExecution(request, metadata=client.metadata, timeout=30):
        if any(event.kind == EventKind.EVENT_KIND_NODE_AMBIGUOUS for event in answer.events):
            return
    raise AssertionError("the execution ended before it was ambiguous")


async def test_a_once_task_that_was_never_claimed_is_sent_again(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built, effect=Effect.EFFECT_ONCE)
        await built.add_replica()
        async with running(built.bus, {"work": echo}) as runner:
            runner_claim = runner._claim
            refused: list[Task] = []

            async def lose_the_first(task: Task, run_id: int) -> bool:
                if not refused:
                    refused.append(task)
                    return False
                return await runner_claim(task, run_id)

            runner._claim = lose_the_first  # type: ignore[method-assign]  # this runner misbehaves
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}
            assert len(runner.ran) == 2


async def test_a_stop_drops_the_runs_and_ends_the_execution(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Held)}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: bool(runner.held), "the task runs")
            stopped = await client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution.id))
            assert stopped.execution.status == ExecutionStatus.EXECUTION_STATUS_CANCELLED
            await until(lambda: bool(runner.dropped), "the run is dropped")
            (node,) = await node_executions(client, execution.id)
            assert node.status == NodeExecutionStatus.NODE_EXECUTION_STATUS_CANCELLED
            again = await client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution.id))
            assert again.execution == stopped.execution


async def test_a_result_is_kept_until_it_is_recorded_and_asked_for_again(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}) as runner:
            sent: list[Any] = []
            send = runner.send

            async def lose(batch: Any) -> None:
                sent.append(batch)

            runner.send = lose  # type: ignore[method-assign]  # what it publishes is lost on the way
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            runner.send = send  # type: ignore[method-assign]
            assert sent
            assert len(runner.ran) == 1
            assert await client.results(execution.id) == {"out": [1]}


async def test_a_retry_waits_and_runs_again(postgres: PostgresServer) -> None:
    def fails_twice(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        if task.attempt < 3:
            raise RuntimeError("not yet")
        yield "result", task.attempt

    async with house(postgres) as built:
        one_node(built, attempts=3)
        await built.add_replica()
        async with running(built.bus, {"work": fails_twice}):
            client = built.client()
            execution = await client.start()
            events = await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [3]}
            assert [event.kind for event in events].count(EventKind.EVENT_KIND_NODE_RETRYING) == 2


async def test_a_result_of_an_old_attempt_is_dropped(postgres: PostgresServer) -> None:
    def fails_once(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        if task.attempt == 1:
            raise RuntimeError("not yet")
        raise Held

    async with house(postgres) as built:
        one_node(built, attempts=2)
        await built.add_replica()
        async with running(built.bus, {"work": fails_once}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: bool(runner.held), "the second attempt runs")
            old, new = runner.ran
            await runner.say(old, 5, [Output(pin="result", value=b"1")], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            await runner.say(new, 6, [Output(pin="result", value=b"2")], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            runner.held.clear()
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [2]}


async def test_a_replica_that_was_taken_over_writes_nothing(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        replica = await built.add_replica()
        connection = await asyncpg.connect(built.database_url)
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        turns = TurnRepository(pool)
        try:
            with pytest.raises(LeaseLost):
                await turns.write("nobody", TurnBatch(), [])
            replica_id = await connection.fetchval("SELECT replica_id FROM execution.replicas")
            async with connection.transaction():
                # A turn on its way: whoever takes over waits for it.
                await connection.execute(
                    "SELECT FROM execution.replicas WHERE replica_id = $1 FOR KEY SHARE", replica_id
                )
                taking = asyncio.create_task(pool.execute("DELETE FROM replicas WHERE replica_id = $1", replica_id))
                renewed = await pool.execute("UPDATE replicas SET expires_at = now() WHERE replica_id = $1", replica_id)
                assert renewed == "UPDATE 1"
                assert not taking.done()
            await taking
            with pytest.raises(LeaseLost):
                await turns.write(replica_id, TurnBatch(), [])
        finally:
            await turns.close()
            await pool.close()
            await connection.close()
        assert replica


async def test_two_replicas_share_the_partitions_and_the_survivor_takes_all(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("numbers", many=("item",), count=30)
        graph.node("one", "add", effect=Effect.EFFECT_IDEMPOTENT)
        graph.node("gather", "COLLECT")
        graph.output("all")
        graph.link("numbers.item", "one.a")
        graph.link("one.result", "gather.item")
        graph.link("gather.items", "all.value")
        built.catalogue.add(graph)
        first, second = await built.add_replica(), await built.add_replica()

        def numbers(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            for number in range(inputs["count"]):
                yield "item", number

        gate = asyncio.Event()

        def add(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            if not gate.is_set():
                raise Held
            yield "result", inputs["a"]

        async with running(built.bus, {"numbers": numbers, "add": add}, slots=64) as runner:
            started = [await built.client(replica=at % 2).start() for at in range(6)]
            await until(lambda: len(runner.held) >= 64, "the runner is full")
            await first.close()
            built.replicas.remove(first)
            gate.set()
            for task in list(runner.held.values()):
                value = json.dumps(json.loads(task.inputs)["a"]).encode()
                await runner.say(
                    task, 1, [Output(pin="result", value=value)], Finish(outcome=Outcome.OUTCOME_COMPLETED)
                )
            runner.held.clear()
            client = built.client()
            for execution in started:
                events = await client.events(execution.id, timeout=40)
                assert [event.sequence for event in events] == list(range(1, len(events) + 1))
                assert await client.results(execution.id) == {"all": [list(range(30))]}
        assert second


async def test_a_wiped_jetstream_loses_nothing(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            client = built.client()
            await client.events((await client.start()).id)
        # No runner: tasks wait in the stream, which goes with the disk.
        started = [await client.start() for _ in range(5)]
        await built.nats.kill()
        await built.nats.wipe()
        await built.nats.start()
        async with running(built.bus, {"work": echo}):
            for execution in started:
                await client.events(execution.id, timeout=40)
                assert await client.results(execution.id) == {"out": [1]}


async def test_the_database_away_for_a_moment_loses_nothing(postgres: PostgresServer) -> None:
    from tests.stack.postgres import running_postgres

    async with running_postgres() as own, house(own) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Held)}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: bool(runner.held), "the task runs")
            (task,) = runner.held.values()
            await own.kill()
            await runner.say(task, 1, [Output(pin="result", value=b"5")], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            runner.held.clear()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.get(execution.id)
            assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            await own.start()
            await ended(client, execution.id)
            assert await client.results(execution.id) == {"out": [5]}


async def ended(client: Client, execution_id: str) -> None:
    """Returns when the execution has ended, whatever the database does meanwhile."""

    async def seen() -> bool:
        try:
            await client.events(execution_id)
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(seen, "the end of the execution", 40)


async def test_a_runner_without_the_block_gives_it_back_until_the_node_fails(postgres: PostgresServer) -> None:
    async with house(postgres, task_sends=2) as built:
        one_node(built)
        await built.add_replica()

        async def give_back(runner: ProtocolRunner, task: Task) -> None:
            reason = NodeErrorReason.NODE_ERROR_REASON_BLOCK_UNAVAILABLE
            finish = Finish(outcome=Outcome.OUTCOME_RETURNED, error="no such block here", reason=reason)
            await runner.say(task, 0, [], finish)

        async with running(built.bus, {}) as runner:
            runner._run = lambda task: give_back(runner, task)  # type: ignore[method-assign]
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            found = await client.get(execution.id)
            assert found.status == ExecutionStatus.EXECUTION_STATUS_FAILED
            assert "no such block here" in found.status_message
            assert len(runner.ran) == 2
