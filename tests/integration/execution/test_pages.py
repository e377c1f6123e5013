"""Pages of a long history: each reads about as many rows as it gives, wherever in the history it lies."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from services.common import migrate
from services.common.ids import new_id
from services.execution.records import NodeExecutionRow, OutputPlace
from services.execution.repository.executions import LAST_TURN, ExecutionRepository
from services.execution.repository.portions import BYTES_READ
from services.execution.repository.retention import Retention

LENGTH = 20_000
PAGE = 100
EXECUTION = new_id()
LINEAGE = b"\x90"


@pytest.fixture(scope="module")
def schema(database_url: str) -> str:
    migrate.migrate(database_url, ["execution"], {"execution": None})
    return database_url


async def fill(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """One execution of many turns, with ten events and one node execution in each."""
    await pool.execute("TRUNCATE turns, node_executions")
    await pool.execute(
        """INSERT INTO turns SELECT $1, n, 0, n, 10 * n - 9, 10 * n, 0, 0, 0, '', 'events', 0
        FROM generate_series(1, $2::int) n""",
        EXECUTION,
        LENGTH,
    )
    # Node executions end in another order than that of their numbers.
    await pool.execute(
        """INSERT INTO node_executions SELECT $1, n, 'node', 'block', 4, 1, 1, $2 - n, 0, 0, 0, '', $3, '', 0, ''
        FROM generate_series(1, $2::int) n""",
        EXECUTION,
        LENGTH,
        LINEAGE,
    )
    await pool.execute("ANALYZE turns, node_executions")


def rows_read(plan: dict[str, Any]) -> float:
    """The rows that the scans of a plan went through."""
    below = plan.get("Plans", [])
    if not below:
        return float(plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * float(plan["Actual Loops"])
    return sum(rows_read(each) for each in below)


async def read_by(url: str, question: Callable[[ExecutionRepository], Awaitable[list[Any]]]) -> tuple[int, float]:
    """How many rows a question gives, and how many are read for it."""
    asked: list[tuple[str, tuple[Any, ...]]] = []

    async def listen(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        connection.add_query_logger(lambda query: asked.append((query.query, query.args)))

    async with asyncpg.create_pool(
        url, min_size=1, max_size=1, server_settings={"search_path": "execution"}, init=listen
    ) as pool:
        await Retention(pool).make_partitions()
        await fill(pool)
        asked.clear()
        given = await question(ExecutionRepository(pool))
        query, arguments = asked[0]
        plan = json.loads(await pool.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments))
    return len(given), rows_read(plan[0]["Plan"])


async def first(found: AsyncIterator[Any]) -> list[Any]:
    """The first page of what is found."""
    page: list[Any] = []
    async for each in found:
        page.append(each)
        if len(page) == PAGE:
            break
    return page


async def outcomes(portions: AsyncIterator[list[NodeExecutionRow]]) -> list[NodeExecutionRow]:
    """All of a page of outcomes."""
    return [row async for rows in portions for row in rows]


async def test_one_query_reads_no_more_bytes_than_are_wanted_at_once(schema: str) -> None:
    asked: list[tuple[str, tuple[Any, ...]]] = []
    size, count = BYTES_READ // 3, 10

    async def listen(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        connection.add_query_logger(lambda query: asked.append((query.query, query.args)))

    async with asyncpg.create_pool(
        schema, min_size=1, max_size=1, server_settings={"search_path": "execution"}, init=listen
    ) as pool:
        await Retention(pool).make_partitions()
        execution_id = new_id()
        await pool.execute(
            """INSERT INTO turns (execution_id, turn, partition, feed_sequence, first_event, last_event,
                node_executions, commands_through, now_ms, facts, events, checksum)
            SELECT $1, n, 0, n, n, n, 0, 0, 0, '', convert_to(repeat(n::text, $3), 'UTF8'), 0
            FROM generate_series(1, $2::int) n""",
            execution_id,
            count - 1,
            size,
        )
        await pool.execute(
            """INSERT INTO outputs SELECT $1, n, 'name', ARRAY[n], convert_to(repeat(n::text, $3), 'UTF8')
            FROM generate_series(1, $2::int) n""",
            execution_id,
            count - 1,
            size,
        )
        await pool.execute(
            """INSERT INTO node_executions SELECT $1, n, 'node', 'block', 4, 1, 1, n, 0, 0, 0,
                convert_to(repeat(n::text, $3), 'UTF8'), $4, '', 0, '' FROM generate_series(1, $2::int) n""",
            execution_id,
            count - 1,
            size,
            LINEAGE,
        )
        await pool.execute(
            """INSERT INTO incomplete_sets SELECT $1, n, 'node', 'block', convert_to(repeat(n::text, $3), 'UTF8'),
                $4, '{}' FROM generate_series(1, $2::int) n""",
            execution_id,
            count - 1,
            size,
            LINEAGE,
        )
        executions = ExecutionRepository(pool)
        values = [str(number).encode() * size for number in range(1, count)]
        assert [row.value async for row in executions.outputs(execution_id, OutputPlace())] == values
        assert [data async for _, data in executions.event_batches(execution_id, 0)] == values
        assert [data async for data in executions.events_of_turns(execution_id, (2, 5))] == values[1:5]
        found = await outcomes(executions.outcomes(execution_id, "", (0, 0), LAST_TURN, PAGE))
        assert [row.inputs for row in found] == values
        assert len(await outcomes(executions.outcomes(execution_id, "", (2, 2), 8, 5))) == 5
        found = await outcomes(executions.outcomes_by_number(execution_id, "node", (3, 8), 4, PAGE))
        assert [row.inputs for row in found] == values[4:8]
        assert [row.inputs async for row in executions.incomplete_sets(execution_id, "", 0, PAGE)] == values
        questions = [(query, arguments) for query, arguments in asked if "octet_length" in query]
        assert len(questions) >= 3 + 3 + 2 + 3 + 2 + 2 + 3
        for query, arguments in questions:
            rows = await pool.fetch(query, *arguments)
            assert sum(len(row["value"]) for row in rows) < BYTES_READ + size


@pytest.mark.parametrize("after", [0, 10 * LENGTH - 10 * PAGE])
async def test_a_page_of_events_reads_no_more_turns_than_it_gives(schema: str, after: int) -> None:
    given, read = await read_by(schema, lambda executions: first(executions.event_batches(EXECUTION, after)))
    assert given == PAGE
    assert read == PAGE


async def test_a_watcher_that_has_seen_all_events_reads_no_turn(schema: str) -> None:
    given, read = await read_by(schema, lambda executions: first(executions.event_batches(EXECUTION, 10 * LENGTH)))
    assert (given, read) == (0, 0)


@pytest.mark.parametrize("after", [0, LENGTH // 2, LENGTH - PAGE - 1])
async def test_a_page_of_node_executions_reads_no_more_than_it_gives(schema: str, after: int) -> None:
    given, read = await read_by(
        schema, lambda executions: outcomes(executions.outcomes(EXECUTION, "", (after, LENGTH), LAST_TURN, PAGE))
    )
    assert given == PAGE
    assert read == PAGE
