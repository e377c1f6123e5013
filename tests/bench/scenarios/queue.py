"""10,000 executions that wait for a runner: the memory that each takes, and how fast they are taken over."""

import asyncio
import time
from uuid import UUID

import asyncpg

from tests.bench.completions import NotCompleted
from tests.bench.figures import Spread, significant
from tests.bench.laboratory import END_SECONDS, EXECUTION_SERVICE, RUNNERS, Laboratory
from tests.bench.loads import chain
from tests.bench.report import Bound, Row, Section
from tests.bench.usage import processor_seconds, resident_bytes

EXECUTIONS = 10_000
LOOK_SECONDS = 0.25
LOADS_LOOK_SECONDS = 0.05
CALM_SECONDS = 1.0
CALM_LOAD = 0.1
"""Of one processor: a service below that has done what was to do."""

REQUIRED = Bound(10.0, 10.0, at_most=True)


async def measure_queue(here: Laboratory) -> Section:
    """KiB for each, once all are loaded and their first nodes are queued.

    Then how fast another process loads them again, and how fast the runners empty the queue.
    """
    await here.fresh_execution_service()
    load = chain(1)
    graph_id = await here.graph(load.graph)
    await asyncio.gather(*(here.stack.halt(runner) for runner in RUNNERS))
    await _calm(here)
    here.completions.forget()
    before = resident_bytes(here.stack, EXECUTION_SERVICE)
    began = time.perf_counter()
    execution_ids = await here.start(graph_id, EXECUTIONS, load.inputs)
    accepted = time.perf_counter() - began
    await _all_loaded(here)
    await _calm(here)
    each = (resident_bytes(here.stack, EXECUTION_SERVICE) - before) / 1024 / EXECUTIONS
    loaded = await _loaded_again(here)
    await _calm(here)
    await asyncio.gather(*(here.stack.revive(runner) for runner in RUNNERS))
    # From the first end on: a runner's start is not meant, and both do not begin at the same moment.
    first, last = await here.completions.first_and_last_of(execution_ids, END_SECONDS * 2)
    emptied = last - first
    return Section(
        {
            "queued_kib_per_execution": significant(each),
            "queue": {
                "executions": EXECUTIONS,
                "starts_per_s": significant(EXECUTIONS / accepted),
                "loads_per_s": significant(EXECUTIONS / loaded),
                "emptied_s": significant(emptied),
                "executions_per_s": significant(EXECUTIONS / emptied),
            },
        },
        [
            Row("memory of a queued execution", "KiB", Spread.of([each]), required=REQUIRED),
            Row("starts, 1,000 calls at once", "/s", Spread.of([EXECUTIONS / accepted])),
            Row("executions loaded by a replica that comes", "/s", Spread.of([EXECUTIONS / loaded])),
            Row("one-node executions, 10,000 queued", "/s", Spread.of([EXECUTIONS / emptied])),
        ],
    )


async def _all_loaded(here: Laboratory) -> None:
    deadline = time.monotonic() + END_SECONDS
    while here.completions.started < EXECUTIONS:
        if time.monotonic() >= deadline:
            raise NotCompleted(f"only {here.completions.started} of {EXECUTIONS} executions have begun")
        await asyncio.sleep(LOOK_SECONDS)


async def _loaded_again(here: Laboratory) -> float:
    """Seconds in which a new process of the execution service loads all of them: its rows count each load before it."""
    connection = await asyncpg.connect(here.stack.postgres.url)
    restart = asyncio.create_task(here.stack.restart(EXECUTION_SERVICE))
    deadline = time.monotonic() + END_SECONDS
    found: set[UUID] = set()
    began = 0.0
    try:
        while len(found) < EXECUTIONS:
            rows = await connection.fetch("SELECT execution_id FROM execution.executions WHERE loads > 0")
            if rows and not found:
                began = time.perf_counter()
            found.update(row["execution_id"] for row in rows)
            if time.monotonic() >= deadline:
                raise NotCompleted(f"only {len(found)} of {EXECUTIONS} executions were loaded again")
            await asyncio.sleep(LOADS_LOOK_SECONDS)
        return time.perf_counter() - began
    finally:
        await restart
        await connection.close()


async def _calm(here: Laboratory) -> None:
    """Returns once the execution service has little to do."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        before = processor_seconds(here.stack)[EXECUTION_SERVICE]
        await asyncio.sleep(CALM_SECONDS)
        if processor_seconds(here.stack)[EXECUTION_SERVICE] - before < CALM_LOAD * CALM_SECONDS:
            return
