"""What only waits leaves memory, and the transaction that unloads it says when it is looked at again (rule 17)."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import prometheus_client
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import Execution
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.result_pb2 import Finish, Outcome
from blockyard.runner.v1.task_pb2 import Task

from services.execution.engine.machine import BOUNDS
from services.execution.metrics import METRICS
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import Silent, running
from tests.integration.execution.test_lost_commits import looking
from tests.integration.execution.test_taking_over import COUNT_LOADS
from tests.waiting import until

WAITS = """
SELECT status = 3 AND wake_at > now() + interval '1 day' AND wake_reason = 'a timer, or a decision'
FROM executions WHERE execution_id = $1
"""


def silent(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Silent


def two_nodes_that_must_not_run_twice(built: House) -> None:
    graph = built.graph()
    for name in ("first", "second"):
        graph.node(name, effect=Effect.EFFECT_ONCE, many=("result",))
    built.catalogue.add(graph)


async def complete(client: Client, execution: Execution, number: int, results: list[int]) -> None:
    """Somebody decides that a node execution has completed, and what it has yielded."""
    await client.call(
        "ResumeNode",
        messages.ResumeNodeRequest(
            execution_id=execution.id,
            node_execution=number,
            decision=messages.DECISION_COMPLETE,
            outputs_json=json.dumps({"result": results}).encode(),
        ),
    )


async def test_the_turn_that_unloads_an_execution_which_was_waiting_before_moves_its_time_forward(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built, looking(built) as rows:
        two_nodes_that_must_not_run_twice(built)
        await built.add_replica()
        async with running(built.bus, {"first": silent, "second": silent}):
            client = built.client()
            execution = await client.start()
            key = UUID(execution.id)
            await until(lambda: rows.fetchval(WAITS, key), "both nodes wait for a decision, out of memory")
            turns = await rows.fetchval("SELECT max(turn) FROM turns")
            # More than one turn passes on: the first of them finds the execution WAITING, and so does the last.
            await complete(client, execution, 1, list(range(BOUNDS.at_once + 1)))
            ended = "SELECT count(*) FROM node_executions WHERE number = 1"
            await until(lambda: rows.fetchval(ended), "all is passed on")
            # A sweep that saw it due at that moment may have it loaded once more.
            assert await rows.fetchval("SELECT max(turn) FROM turns") >= turns + 2
            assert await rows.fetchval(WAITS, key)


async def test_an_execution_that_was_loaded_for_nothing_leaves_memory_again(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        two_nodes_that_must_not_run_twice(built)
        await built.add_replica()
        async with running(built.bus, {"first": silent, "second": silent}) as runner:
            execution = await built.client().start()
            await until(lambda: rows.fetchval(WAITS, UUID(execution.id)), "it only waits, out of memory")
            await rows.execute(COUNT_LOADS)
            # A result of a run that nobody has claimed.
            await runner.say(runner.ran[0], 99, [], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            await until(lambda: rows.fetchval("SELECT count(*) FROM loads"), "it is loaded")
            await until(lambda: not runner.kept, "the result is void")
            METRICS.loaded.set(-1)
            await until(lambda: in_memory() != -1, "the executions in memory are counted")
            assert in_memory() == 0
            assert await rows.fetchval(WAITS, UUID(execution.id))


def in_memory() -> float | None:
    return prometheus_client.REGISTRY.get_sample_value("blockyard_executions_loaded")
