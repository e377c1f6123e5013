"""How many starts go into one transaction."""

import asyncio
from datetime import datetime
from uuid import UUID

from services.execution.accepting import AT_ONCE, BATCH_BYTES, Waiting, together
from services.execution.records import NewExecution

MIB = 1 << 20


def start(inputs: int, plan: int = 0, plan_hash: bytes = b"plan") -> Waiting:
    """A start with so many bytes of inputs and, where it is new, of its plan."""
    new = NewExecution(
        execution_id=UUID(int=0),
        user_id="anna",
        graph_id="graph",
        graph_version=1,
        partition=0,
        plan_hash=plan_hash,
        rules=1,
        inputs=bytes(inputs),
        labels={},
        priority=0,
        traceparent="",
        request_id=None,
        request_hash=None,
    )
    stored: asyncio.Future[datetime | None] = asyncio.get_running_loop().create_future()
    return Waiting(new, bytes(plan) if plan else None, stored)


async def test_small_starts_go_together_up_to_their_number() -> None:
    assert together([start(100) for _ in range(AT_ONCE + 1)]) == AT_ONCE


async def test_large_starts_go_together_up_to_their_bytes() -> None:
    assert together([start(3 * MIB) for _ in range(5)]) == 2
    assert together([start(BATCH_BYTES // 2) for _ in range(5)]) == 2


async def test_a_start_that_is_too_large_to_share_goes_alone() -> None:
    assert together([start(BATCH_BYTES + 1), start(1)]) == 1
    assert together([start(1), start(BATCH_BYTES), start(1)]) == 1


async def test_a_plan_counts_once_however_many_starts_bring_it() -> None:
    assert together([start(10, plan=3 * MIB) for _ in range(5)]) == 5
    assert together([start(10, plan=3 * MIB, plan_hash=bytes([at])) for at in range(5)]) == 2
