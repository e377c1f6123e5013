"""Keeps partitions ahead of need and drops what is past retention, every hour."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from services.common.blobs import BlobError
from services.execution.large_values import LargeValues
from services.execution.repository.errors import DATABASE_ERRORS
from services.execution.repository.retention import Retention

log = structlog.get_logger()

EVERY_SECONDS = 3_600.0


async def retire(retention: Retention, large_values: LargeValues, days: float) -> None:
    """Works until it is cancelled."""
    while True:
        try:
            await retention.make_partitions()
            dropped = await retention.drop_partitions(datetime.now(UTC) - timedelta(days=days))
            if dropped:
                log.info("executions past retention were dropped", executions=len(dropped))
            for execution_id in dropped:
                await large_values.delete(execution_id)
        except (*DATABASE_ERRORS, BlobError) as error:
            log.warning("partitions cannot be made or dropped", error=repr(error))
        await asyncio.sleep(EVERY_SECONDS)
