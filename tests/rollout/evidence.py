"""What rows tell of a rollout: what was tried again, and how long executions stood still."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

import asyncpg
import msgspec

from services.execution.engine import Fact
from services.execution.engine.facts import Reported, RunLost


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between two turns of an execution, in milliseconds since 1970 by PostgreSQL's clock."""

    began_ms: int
    ended_ms: int

    @property
    def milliseconds(self) -> int:
        return self.ended_ms - self.began_ms


async def gaps(database_url: str, execution_ids: Sequence[str]) -> list[Gap]:
    """All gaps of these executions."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT execution_id, now_ms FROM execution.turns WHERE execution_id = ANY($1) ORDER BY execution_id, turn",
            [UUID(one) for one in execution_ids],
        )
    finally:
        await connection.close()
    return [
        Gap(before["now_ms"], after["now_ms"])
        for before, after in pairwise(rows)
        if before["execution_id"] == after["execution_id"]
    ]


async def repeated(database_url: str) -> list[str]:
    """Each fact that tells of a node that was not done by its first run."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT execution_id, facts FROM execution.turns")
    finally:
        await connection.close()
    found = []
    for row in rows:
        for fact in msgspec.msgpack.decode(row["facts"], type=list[Fact]):
            if isinstance(fact, RunLost) or (isinstance(fact, Reported) and fact.attempt > 1):
                found.append(f"execution {row['execution_id']}: {fact}")
    return found
