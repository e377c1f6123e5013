"""Who only looks at an execution does not hold up those that are driven; many are stopped as few are."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1 import execution_service_pb2 as messages

from services.common import migrate
from services.common.ids import new_id
from services.execution.commands import Stop, encode_command
from services.execution.engine import RULES, Fact, Machine, Output, Reported, Started, State, Topology
from services.execution.engine.effects import ExecutionStatus, NodeStatus
from services.execution.engine.plan import encode_plan
from services.execution.inspection import Inspector
from services.execution.loading import Loader, encode_facts, seed_of
from services.execution.records import ExecutionRow, NewExecution
from services.execution.repository.executions import COMMANDS_AT_ONCE, ExecutionRepository
from services.execution.repository.retention import Retention
from services.execution.repository.turns import TurnRepository
from tests.integration.execution.house import house
from tests.unit.engine.simulation import PlanBuilder
from tests.unit.engine.test_bounds import nothing

TURNS = 400
ITEMS = 500
"""Of a turn."""


@asynccontextmanager
async def database(url: str, queries: list[str] | None = None) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """A pool on a database with the schema; its queries are noted."""
    await asyncio.to_thread(migrate.migrate, url, ["execution"], {"execution": None})

    async def listen(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        connection.add_query_logger(lambda query: queries.append(query.query) if queries is not None else None)

    async with asyncpg.create_pool(
        url, min_size=1, max_size=2, server_settings={"search_path": "execution"}, init=listen
    ) as pool:
        await Retention(pool).make_partitions()
        yield pool


def new(plan_hash: bytes = b"") -> NewExecution:
    return NewExecution(new_id(), "anna", "graph", 1, 0, plan_hash, RULES, b"{}", {}, 0, "", None, None)


async def long_history(pool: "asyncpg.Pool[asyncpg.Record]") -> ExecutionRow:
    """An execution that runs, with so many turns and no snapshot: a fan-out whose items all wait for a runner."""
    builder = PlanBuilder()
    builder.node("fan", nothing, many=("item",))
    builder.node("next", nothing)
    builder.link("fan.item", "next.value")
    plan = builder.plan()
    execution = new(b"hash of the plan")
    machine = Machine(Topology(plan), State(seed_of(execution.execution_id.bytes)))
    rows = []
    for turn in range(1, TURNS + 1):
        facts: list[Fact] = [Started({})]
        if turn > 1:
            begin = (turn - 2) * ITEMS
            items = tuple(Output("item", begin + at, b"%d" % at) for at in range(ITEMS))
            facts = [Reported(1, 1, 5, items, None, 1_000)]
        effects = machine.apply(facts, turn)
        rows.append((execution.execution_id, turn, turn, encode_facts(facts), effects.checksum()))
    await pool.execute("INSERT INTO plans VALUES ($1, $2)", execution.plan_hash, encode_plan(plan))
    await pool.executemany(
        """
        INSERT INTO turns (execution_id, turn, partition, feed_sequence, first_event, last_event, node_executions,
            commands_through, now_ms, facts, events, checksum)
        VALUES ($1, $2::int, 0, $2::int, 0, 0, 0, 0, $3, $4, '', $5)
        """,
        rows,
    )
    return dataclasses.replace(ExecutionRow.accepted(execution, datetime.now(UTC)), status=ExecutionStatus.RUNNING)


async def test_turns_go_on_while_somebody_looks_at_a_long_history(database_url: str) -> None:
    async with database(database_url) as pool:
        row = await long_history(pool)
        inspector = Inspector(Loader(TurnRepository(pool)))
        looking = asyncio.create_task(inspector.seen(row, "next", 0, 0, 1_000))
        longest = await longest_pause(looking)
        found = (await looking).executions
        assert len(found) == 1_000
        assert {one.status for one in found} == {NodeStatus.QUEUED}
        # A replay on the event loop is one long pause. Beside a thread there are pauses too, such as those of the
        # garbage collector.
        assert longest < 0.7


async def longest_pause(task: "asyncio.Task[Any]") -> float:
    """The longest time for which the event loop did nothing else while the task ran, as a part of the whole."""
    loop = asyncio.get_running_loop()
    ticks = [loop.time()]
    while not task.done():
        await asyncio.sleep(0)
        ticks.append(loop.time())
    return max(after - before for before, after in pairwise(ticks)) / (ticks[-1] - ticks[0])


LOOKS = [
    ("GetExecution", messages.GetExecutionRequest),
    ("StopExecution", messages.StopExecutionRequest),
    ("ExplainExecution", messages.ExplainExecutionRequest),
]


@pytest.mark.parametrize(("method", "request_of"), LOOKS)
async def test_turns_go_on_while_somebody_looks_at_large_inputs(
    postgres: PostgresServer, method: str, request_of: Any
) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.input("value")
        built.catalogue.add(graph)
        await built.add_replica()
        client = built.client()
        value = [7] * 300_000
        execution_id = (await client.start(inputs={"value": value})).id
        await client.events(execution_id)
        looking = asyncio.create_task(client.call(method, request_of(execution_id=execution_id)))
        longest = await longest_pause(looking)
        assert len((await looking).execution.inputs["value"]) == len(value)
        # A Struct that is made on the event loop is one long pause.
        assert longest < 0.7


async def test_many_executions_are_stopped_with_few_statements(database_url: str) -> None:
    queries: list[str] = []
    many = 2 * COMMANDS_AT_ONCE + 1
    async with database(database_url, queries) as pool:
        executions = ExecutionRepository(pool)
        started = [new() for _ in range(many)]
        await executions.start(started, {})
        ended = started[0].execution_id
        await pool.execute("UPDATE executions SET status = 4 WHERE execution_id = $1", ended)
        await pool.execute("UPDATE executions SET wake_at = now() + interval '1 day', commands = 6")
        queries.clear()

        kind, body = encode_command(Stop("stopped by anna"))
        stopping = await executions.command_each([each.execution_id for each in started], kind, body)
        assert set(stopping) == {each.execution_id for each in started} - {ended}
        assert set(stopping.values()) == {0}
        assert len([query for query in queries if "executions" in query]) <= 6
        stored = await pool.fetch("SELECT DISTINCT number, kind, body FROM commands")
        assert [tuple(row) for row in stored] == [(7, kind, body)]
        assert await pool.fetchval("SELECT count(*) FROM commands") == many - 1
        due = "SELECT count(*) FROM executions WHERE wake_at <= now() AND commands = 7"
        assert await pool.fetchval(due) == many - 1
