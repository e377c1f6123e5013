"""Keeps partitions ahead of need and drops what is past retention, every hour."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from services.common.blobs import BlobError, BlobStore
from services.common.database import TROUBLE
from services.execution.archive import Archive
from services.execution.history import History
from services.execution.inspection import Inspector
from services.execution.large_values import LargeValues
from services.execution.loading import Loader
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.retention import Ended, Retention
from services.execution.repository.turns import TurnRepository

log = structlog.get_logger()

EVERY_SECONDS = 3_600.0
SLICE = 1_000
"""Executions that are deleted in one transaction."""
DELETED_AT_ONCE = 10_000
"""Events and node executions whose rows are deleted in one transaction, unless one execution alone has more."""
DELETIONS = 16
"""Executions whose blobs are deleted at once."""


def archive_of(url: str, pool: "asyncpg.Pool[asyncpg.Record]", large_values: LargeValues) -> Archive | None:
    """Where executions are written to before they are dropped; None if they are not."""
    if not url:
        return None
    executions = ExecutionRepository(pool)
    history = History(executions, Inspector(Loader(TurnRepository(pool))), large_values)
    return Archive(BlobStore(url), executions, history)


async def retire(retention: Retention, large_values: LargeValues, days: float, archive: Archive | None = None) -> None:
    """Works until it is cancelled."""
    while True:
        try:
            await retention.make_partitions()
            dropped = await drop_old(retention, large_values, datetime.now(UTC) - timedelta(days=days), archive=archive)
            if dropped:
                log.info("executions past retention were dropped", executions=dropped)
        except (*TROUBLE, BlobError) as error:
            log.warning("partitions cannot be made or dropped", error=repr(error))
        await asyncio.sleep(EVERY_SECONDS)


async def drop_old(
    retention: Retention,
    large_values: LargeValues,
    before: datetime,
    at_once: int = SLICE,
    archive: Archive | None = None,
) -> int:
    """Deletes the executions of weeks past that ended before a moment; returns how many those were.

    A week whose executions had all ended then is dropped. Where one had not, it holds the week: what there is of the
    others is deleted row by row, of many short ones at once, so that it holds nothing but empty pages.

    With an archive, nothing is deleted before it is written there, with its values.

    May end anywhere, and be run by several replicas: blobs go before the row that leads to them, rows before the
    tables of their week, and what is gone already is no error.
    """
    dropped = 0
    for week in await retention.past_weeks(before):
        held = await retention.is_held(week, before)
        last: UUID | None = None
        while ended := await retention.ended(week, before, last, at_once):
            execution_ids = [each.execution_id for each in ended]
            if archive is not None:
                await archive.keep(execution_ids)
                await _keep_below(archive, retention, execution_ids, at_once)
            await _delete_blobs(large_values, execution_ids)
            for some in _portions(ended) if held else ():
                await retention.delete_history(some)
            dropped += await retention.delete(execution_ids)
            last = execution_ids[-1]
        if not held:
            await retention.drop(week)
    return dropped


def _portions(ended: Sequence[Ended]) -> Iterator[list[UUID]]:
    """Executions whose rows are deleted together."""
    portion: list[UUID] = []
    size = 0
    for each in ended:
        if portion and size + each.size > DELETED_AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append(each.execution_id)
        size += each.size
    yield portion


async def _keep_below(archive: Archive, retention: Retention, execution_ids: Sequence[UUID], at_once: int) -> None:
    """Children too, whenever they are dropped: their values are kept with the topmost execution, and go with it."""
    last: UUID | None = None
    while below := await retention.below(execution_ids, last, at_once):
        await archive.keep(below)
        last = below[-1]


async def _delete_blobs(large_values: LargeValues, execution_ids: Sequence[UUID]) -> None:
    for start in range(0, len(execution_ids), DELETIONS):
        await asyncio.gather(*map(large_values.delete, execution_ids[start : start + DELETIONS]))
