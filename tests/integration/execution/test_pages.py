"""Pages of a long history: each reads about as many rows as it gives, wherever in the history it lies."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from services.common import migrate
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.retention import Retention
from services.execution.starting import new_id

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


@pytest.mark.parametrize("after", [0, 10 * LENGTH - 10 * PAGE])
async def test_a_page_of_events_reads_no_more_turns_than_it_gives(schema: str, after: int) -> None:
    given, read = await read_by(schema, lambda executions: executions.event_batches(EXECUTION, after, PAGE))
    assert given == PAGE
    assert read == PAGE


async def test_a_watcher_that_has_seen_all_events_reads_no_turn(schema: str) -> None:
    given, read = await read_by(schema, lambda executions: executions.event_batches(EXECUTION, 10 * LENGTH, PAGE))
    assert (given, read) == (0, 0)


@pytest.mark.parametrize("after", [0, LENGTH // 2, LENGTH - PAGE - 1])
async def test_a_page_of_node_executions_reads_no_more_than_it_gives(schema: str, after: int) -> None:
    given, read = await read_by(
        schema, lambda executions: executions.node_executions(EXECUTION, "", (after, LENGTH), PAGE)
    )
    assert given == PAGE
    assert read == PAGE
