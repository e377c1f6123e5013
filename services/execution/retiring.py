"""Keeps partitions ahead of need and drops what is past retention, every hour."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from services.execution.repository.errors import DATABASE_ERRORS
from services.execution.repository.retention import Retention

log = structlog.get_logger()

EVERY_SECONDS = 3_600.0


async def retire(retention: Retention, days: float) -> None:
    """Works until it is cancelled."""
    while True:
        try:
            await retention.make_partitions()
            for week in await retention.drop_partitions(datetime.now(UTC) - timedelta(days=days)):
                log.info("a week past retention was dropped", week=week)
        except DATABASE_ERRORS as error:
            log.warning("partitions cannot be made or dropped", error=repr(error))
        await asyncio.sleep(EVERY_SECONDS)
