"""What became of each accepted execution: its row, node executions, events and results, read after the last fault."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg
from blockyard.client import Client
from blockyard.errors import CallError
from blockyard.events import Event
from blockyard.records import ExecutionStatus, Results

from tests.chaos.shapes import Load
from tests.chaos.traffic import LABEL, Followed

SIDE_BY_SIDE = 8
READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """An execution as PostgreSQL has it."""

    status: ExecutionStatus
    message: str
    node_executions: int
    last_event: int
    numbers: tuple[int, ...]
    """Numbers of its node executions that have an outcome."""
    accepted: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of an accepted execution. `row` is None if the database knows nothing of it."""

    load: Load
    execution_id: str
    row: Row | None
    events: tuple[Event, ...] = ()
    results: Results | None = None
    followed: Followed | None = None
    unreadable: str = ""
    """Why events or results could not be read."""

    @property
    def ended(self) -> bool:
        """Whether it has reached a terminal status."""
        return self.row is not None and self.row.status.ended

    def alive_at(self, moment: datetime) -> bool:
        """Whether it had been accepted and had not ended."""
        row = self.row
        return row is not None and row.accepted <= moment and (row.end is None or row.end > moment)


async def unended(database_url: str, execution_ids: Sequence[str]) -> int:
    """How many of these have not ended."""
    connection = await asyncpg.connect(database_url)
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM execution.executions WHERE execution_id = ANY($1) AND status < 4",
            [UUID(execution_id) for execution_id in execution_ids],
        )
        return count
    finally:
        await connection.close()


async def event_counts(database_url: str) -> dict[str, int]:
    """How many events each execution has, those that others have started included."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT execution_id::text, last_event FROM execution.executions")
    finally:
        await connection.close()
    return {row["execution_id"]: row["last_event"] for row in rows}


async def torn_feeds(database_url: str) -> list[str]:
    """What is wrong with the feeds of partitions: a number that two turns have, or that none has."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            """
            SELECT partition, count(*) AS turns, count(DISTINCT feed_sequence) AS numbers, max(feed_sequence) AS last
            FROM execution.turns GROUP BY partition
            HAVING count(*) <> count(DISTINCT feed_sequence) OR count(DISTINCT feed_sequence) <> max(feed_sequence)
            ORDER BY partition
            """
        )
    finally:
        await connection.close()
    return [
        f"partition {row['partition']} has {row['turns']} turns with {row['numbers']} numbers up to {row['last']}"
        for row in rows
    ]


async def read_histories(
    database_url: str,
    client: Client,
    loads: Mapping[int, Load],
    accepted: Mapping[int, str],
    followed: Mapping[str, Followed],
) -> list[History]:
    """The histories of all accepted executions."""
    rows = await _read_rows(database_url)
    limit = asyncio.Semaphore(SIDE_BY_SIDE)

    async def read(number: int, execution_id: str) -> History:
        async with limit:
            history = History(loads[number], execution_id, rows.get(execution_id), followed=followed.get(execution_id))
            return await _with_events(client, history) if history.row is not None else history

    return list(await asyncio.gather(*(read(number, execution_id) for number, execution_id in accepted.items())))


async def _with_events(client: Client, history: History) -> History:
    events: list[Event] = []
    results: Results | None = None
    unreadable = ""
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for event in client.executions.events(history.execution_id):
                events.append(event)
            results = await client.executions.results(history.execution_id)
    except (CallError, TimeoutError) as error:
        unreadable = f"{type(error).__name__}: {error}"
    return History(
        history.load, history.execution_id, history.row, tuple(events), results, history.followed, unreadable
    )


async def _read_rows(database_url: str) -> dict[str, Row]:
    connection = await asyncpg.connect(database_url)
    try:
        numbers = {
            record["execution_id"]: tuple(record["numbers"])
            for record in await connection.fetch(
                """
                SELECT execution_id, array_agg(number ORDER BY number) AS numbers
                FROM execution.node_executions GROUP BY execution_id
                """
            )
        }
        records = await connection.fetch(
            """
            SELECT execution_id, status, status_message, node_executions, last_event, create_time, end_time
            FROM execution.executions
            """
        )
    finally:
        await connection.close()
    return {
        str(record["execution_id"]): Row(
            ExecutionStatus(record["status"]),
            record["status_message"],
            record["node_executions"],
            record["last_event"],
            numbers.get(record["execution_id"], ()),
            record["create_time"],
            record["end_time"],
        )
        for record in records
    }


async def started_twice(database_url: str) -> dict[int, list[str]]:
    """Executions by load, where one start made more than one."""
    connection = await asyncpg.connect(database_url)
    try:
        records = await connection.fetch(
            """
            SELECT labels ->> $1 AS load, array_agg(execution_id::text) AS executions
            FROM execution.executions WHERE labels ? $1 GROUP BY 1 HAVING count(*) > 1
            """,
            LABEL,
        )
    finally:
        await connection.close()
    return {int(record["load"]): list(record["executions"]) for record in records}


@dataclass(frozen=True, slots=True)
class Child:
    """An execution that a node of another one waits, or waited, for."""

    execution_id: str
    of: tuple[str, int, int]
    """Its parent, the node execution there, and the attempt."""
    ended: bool


async def read_children(database_url: str) -> list[Child]:
    """All of them."""
    connection = await asyncpg.connect(database_url)
    try:
        records = await connection.fetch(
            """
            SELECT execution_id, parent_execution_id, parent_number, parent_attempt, status >= 4 AS ended
            FROM execution.executions WHERE parent_execution_id IS NOT NULL
            """
        )
    finally:
        await connection.close()
    return [
        Child(
            str(record["execution_id"]),
            (str(record["parent_execution_id"]), record["parent_number"], record["parent_attempt"]),
            record["ended"],
        )
        for record in records
    ]


def read_ledger(path: Path) -> Counter[str]:
    """Runs by task id of blocks that must not be repeated."""
    return Counter(path.read_text(encoding="utf-8").split()) if path.exists() else Counter()
