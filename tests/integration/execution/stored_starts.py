"""Executions as starts leave them in the database, where nobody drives them."""

from uuid import UUID

import asyncpg

from services.common.ids import new_id
from services.execution.engine import RULES
from services.execution.records import NewExecution
from services.execution.repository.executions import ExecutionRepository
from services.execution.starting import StartRequest


def new_execution(request: StartRequest) -> NewExecution:
    """What a start of a graph stores."""
    return NewExecution(
        execution_id=new_id(),
        user_id=request.user_id,
        graph_id=request.graph_id,
        graph_version=1,
        partition=0,
        plan_hash=b"",
        rules=RULES,
        inputs=b"{}",
        labels=request.labels,
        priority=0,
        traceparent="",
        request_id=request.request_id,
        request_hash=b"",
    )


async def stored(pool: "asyncpg.Pool[asyncpg.Record]", request: StartRequest) -> UUID:
    """The execution of a start that was not made before."""
    new = new_execution(request)
    assert await ExecutionRepository(pool).start([new], {})
    return new.execution_id
