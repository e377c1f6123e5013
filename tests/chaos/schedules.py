"""Starts by the clock while things break: schedules that are due each minute, each at a second of its own.

Jitter spreads them over the minute, so that some are due while something is down. Whatever happened, each due time has
started one execution: what was missed is caught up with, and nothing is left out for another that runs.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
from blockyard.client import Client
from blockyard.graphs import Graph
from blockyard.records import ExecutionStatus

COUNT = 12
EACH_MINUTE = "* * * * *"
NEVER_SOON = "0 0 29 2 *"
JITTER = timedelta(seconds=59)
MINUTE = timedelta(minutes=1)
STARTED = 2
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
LOOK_SECONDS = 0.3

_OVERDUE = "SELECT count(*) FROM execution.schedules WHERE fire_time <= now()"
_OPEN = """
SELECT (SELECT count(*) FROM execution.firings WHERE status = 1)
     + (SELECT count(*) FROM execution.executions WHERE labels ? 'schedule' AND status < 4)
"""
_FIRINGS = "SELECT schedule_id::text, due_time, status, execution_id::text FROM execution.firings"
_EXECUTIONS = "SELECT execution_id::text, status FROM execution.executions WHERE labels ? 'schedule'"


@dataclass(frozen=True, slots=True)
class Firing:
    """What became of a due time."""

    schedule_id: str
    due: datetime
    status: int
    execution_id: str | None


@dataclass(slots=True, eq=False)
class Schedules:
    """All of a run; nobody else makes any there."""

    database_url: str
    client: Client
    first_due: dict[str, datetime] = field(default_factory=dict)
    """By schedule."""
    due_until: datetime = LONG_AGO
    """What was due by then had been looked at, when the schedules were ended."""

    async def create(self) -> None:
        """Makes them, of a graph of their own."""
        graph = Graph("by the clock")
        graph.output("text", graph.add("TextProcessingBlock", text="tick", operation="upper")["processed_text"])
        stored = await self.client.graphs.create(graph)
        for _ in range(COUNT):
            made = await self.client.schedules.create(
                EACH_MINUTE, stored.id, jitter_seconds=JITTER.seconds, overlap="allow", catch_up="all"
            )
            self.first_due[made.id] = made.next_times[0]

    async def end(self, seconds: float) -> None:
        """Lets what is due be started and come to its end, and makes nothing due any more. Gives up after a while: what
        has not ended by then is found where it stands."""
        deadline = asyncio.get_running_loop().time() + seconds
        moment = await self._until_none(_OVERDUE, deadline)
        for schedule_id in self.first_due:
            await self.client.schedules.update(schedule_id, cron=NEVER_SOON, jitter_seconds=0)
        self.due_until = moment
        await self._until_none(_OPEN, deadline)

    async def became(self) -> tuple[list[Firing], dict[str, ExecutionStatus]]:
        """What became of each due time, and where the executions of all schedules stand."""
        connection = await asyncpg.connect(self.database_url)
        try:
            firings = [Firing(*record) for record in await connection.fetch(_FIRINGS)]
            executions = await connection.fetch(_EXECUTIONS)
            return firings, {execution_id: ExecutionStatus(status) for execution_id, status in executions}
        finally:
            await connection.close()

    async def _until_none(self, query: str, deadline: float) -> datetime:
        """The time before the look at which nothing was counted, or the last one."""
        connection = await asyncpg.connect(self.database_url)
        try:
            while True:
                moment = datetime.now(UTC)
                if not await connection.fetchval(query) or asyncio.get_running_loop().time() > deadline:
                    return moment
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await connection.close()


def complaints(
    schedules: Schedules, firings: Sequence[Firing], executions: Collection[str]
) -> Iterator[tuple[str, str]]:
    """By execution, what is wrong: each due time is to have started one execution, and each execution is of one."""
    for schedule_id, first in schedules.first_due.items():
        there = {firing.due for firing in firings if firing.schedule_id == schedule_id}
        due = first
        while due + JITTER < schedules.due_until:
            if due not in there:
                yield "", f"schedule {schedule_id} was due at {due:%H:%M}, and nothing came of it"
            due += MINUTE
    for firing in firings:
        if firing.status != STARTED or firing.execution_id is None:
            yield "", f"schedule {firing.schedule_id} was due at {firing.due:%H:%M}, which has status {firing.status}"
    of_firings = Counter(firing.execution_id for firing in firings if firing.execution_id is not None)
    for execution_id in of_firings.keys() | set(executions):
        if of_firings[execution_id] != 1 or execution_id not in executions:
            yield execution_id, f"it was started by a schedule for {of_firings[execution_id]} due times"
