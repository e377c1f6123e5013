"""Keeps partitions ahead of need and drops what is past retention, every hour."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from services.common.blobs import BlobError
from services.execution.large_values import LargeValues
from services.execution.repository.errors import DATABASE_ERRORS
from services.execution.repository.retention import Retention

log = structlog.get_logger()

EVERY_SECONDS = 3_600.0
SLICE = 1_000
"""Executions that are deleted in one transaction."""
DELETIONS = 16
"""Executions whose blobs are deleted at once."""


async def retire(retention: Retention, large_values: LargeValues, days: float) -> None:
    """Works until it is cancelled."""
    while True:
        try:
            await retention.make_partitions()
            dropped = await drop_old(retention, large_values, datetime.now(UTC) - timedelta(days=days))
            if dropped:
                log.info("executions past retention were dropped", executions=dropped)
        except (*DATABASE_ERRORS, BlobError) as error:
            log.warning("partitions cannot be made or dropped", error=repr(error))
        await asyncio.sleep(EVERY_SECONDS)


async def drop_old(retention: Retention, large_values: LargeValues, before: datetime, at_once: int = SLICE) -> int:
    """Deletes the executions of weeks past that ended before a moment; returns how many those were.

    A week whose executions had all ended then is dropped. Where one had not, it holds the week: what there is of the
    others is deleted row by row, so that it holds nothing but empty pages.

    May end anywhere, and be run by several replicas: blobs go before the row that leads to them, rows before the
    tables of their week, and what is gone already is no error.
    """
    dropped = 0
    for week in await retention.past_weeks(before):
        held = await retention.is_held(week, before)
        last: UUID | None = None
        while execution_ids := await retention.ended(week, before, last, at_once):
            await _delete_blobs(large_values, execution_ids)
            for execution_id in execution_ids if held else ():
                await retention.delete_history(execution_id)
            await retention.delete(execution_ids)
            dropped += len(execution_ids)
            last = execution_ids[-1]
        if not held:
            await retention.drop(week)
    return dropped


async def _delete_blobs(large_values: LargeValues, execution_ids: Sequence[UUID]) -> None:
    for start in range(0, len(execution_ids), DELETIONS):
        await asyncio.gather(*map(large_values.delete, execution_ids[start : start + DELETIONS]))
