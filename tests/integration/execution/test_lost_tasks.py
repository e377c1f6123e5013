"""When a task counts as lost, and when it does not; what a runner is told of what it holds (rules 4 and 5)."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.heartbeat_pb2 import Heartbeat, Holding
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output
from blockyard.runner.v1.task_pb2 import Task, TaskBatch

from services.common.bus import TASKS, Delivery, PullConsumer
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import Held, running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.waiting import until

LOOKS = f"$JS.API.CONSUMER.INFO.{TASKS}.pool-default"
"""What the owner asks before it gives a verdict: how far tasks were delivered."""


def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held


def beat(built: House, runner_id: str, number: int, *holdings: Holding, slots: int = 4) -> None:
    """One heartbeat of a runner that the test plays."""
    heartbeat = Heartbeat(runner_id=runner_id, pool="default", slots=slots, number=number, holdings=holdings)
    built.bus.publish_now("blockyard.heartbeat", heartbeat.SerializeToString())


async def tasks_sent(built: House) -> int:
    """Messages of tasks that were ever sent."""
    info = await built.bus.stream_info(TASKS)
    assert info is not None
    return info.last_sequence


async def test_a_task_that_no_runner_has_fetched_yet_is_not_lost(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        looks: list[Delivery] = []
        await built.bus.subscribe(LOOKS, looks.append)
        consumer = PullConsumer(built.bus, TASKS, "pool-default", "blockyard.task.default")
        assert await consumer.fetch(1, 0.2) == []
        client = built.client()
        execution = await client.start()
        numbers = itertools.count()

        def looked() -> bool:
            # Meanwhile a runner lives and is busy: it holds nothing and pulls nothing.
            beat(built, "busy", next(numbers))
            return len(looks) >= 4

        await until(looked, "the owner has looked for it several times")
        assert await tasks_sent(built) == 1
        await consumer.close()
        async with running(built.bus, {"work": echo}) as runner:
            await client.events(execution.id)
            assert len(runner.ran) == 1


async def test_no_task_counts_as_lost_for_two_intervals_after_an_outage(postgres: PostgresServer) -> None:
    interval = 1.0
    async with house(postgres, heartbeat_seconds=interval) as built:
        one_node(built)
        await built.add_replica()
        clock = asyncio.get_running_loop().time
        looks: list[float] = []
        await built.bus.subscribe(LOOKS, lambda delivery: looks.append(clock()))
        # A runner that took the task, and of whose run no heartbeat has been heard when NATS goes away.
        consumer = PullConsumer(built.bus, TASKS, "pool-default", "blockyard.task.default")
        beat(built, "slow", 1)
        execution = await built.client().start()
        deliveries = await until(lambda: consumer.fetch(1, 1.0), "the task has come")
        consumer.ack_all(deliveries)
        (task,) = TaskBatch.FromString(deliveries[0].data).tasks
        await until(lambda: looks, "the owner misses it")
        await built.nats.kill()
        gone_at = clock()
        await until(lambda: clock() - gone_at > 3 * interval, "all that was known of runners is old")
        looks.clear()
        back_at = clock()
        await built.nats.start()
        await until(lambda: built.bus.connected, "NATS is back")
        run = Holding(execution_id=task.execution_id, node_execution=task.node_execution, attempt=1)
        numbers = itertools.count(2)

        def looked_at() -> list[float]:
            beat(built, "slow", next(numbers), run)
            return looks

        await until(looked_at, "the owner looks again")
        assert looks[0] - back_at >= 2 * interval
        assert await tasks_sent(built) == 1
        await consumer.close()
        await built.client().call("StopExecution", messages.StopExecutionRequest(execution_id=execution.id))


async def test_no_task_counts_as_lost_for_two_intervals_after_a_take_over(postgres: PostgresServer) -> None:
    interval = 1.0
    async with house(postgres, heartbeat_seconds=interval) as built:
        one_node(built)
        first = await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.held, "the task runs")
            await first.close()
            built.replicas.clear()
            clock = asyncio.get_running_loop().time
            looks: list[float] = []
            await built.bus.subscribe(LOOKS, lambda delivery: looks.append(clock()))
            began_at = clock()
            await built.add_replica()
            await until(lambda: looks, "the new owner looks for it")
            assert looks[0] - began_at >= 2 * interval
            assert len(runner.ran) == 1
            (task,) = runner.held.values()
            runner.held.clear()
            await runner.say(task, 1, [Output(pin="result", value=b"7")], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            await built.client().events(execution.id)


async def test_a_run_whose_outcome_came_from_another_is_dropped_while_its_execution_goes_on(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        for name in ("first", "second"):
            graph.node(name, "work", effect=Effect.EFFECT_IDEMPOTENT, a=1)
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: len(runner.held) == 2, "both run")
            (place, task), *_ = runner.held.items()
            await runner.say(task, 9, [Output(pin="result", value=b"7")], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            await until(lambda: place in runner.dropped, "the run that goes on in vain is dropped")
            assert len(runner.held) == 1
            await client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution.id))


async def test_a_stop_reaches_a_run_of_which_no_heartbeat_has_told(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": held}, heartbeat_seconds=6.0) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.held, "the task runs")
            (place,) = runner.held
            await client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution.id))
            await until(lambda: place in runner.dropped, "the run is dropped", 3)
            assert runner.beats == 1


async def test_a_cancel_is_repeated_until_it_is_obeyed(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.held, "the task runs")
            runner.deaf = True
            await client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution.id))
            beats = runner.beats
            await until(lambda: runner.beats > beats + 3, "the runner has told several times that it holds the run")
            assert runner.held
            runner.deaf = False
            await until(lambda: not runner.held, "it is told again to drop it")
