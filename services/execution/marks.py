"""Marks in the rows of partitions: up to which feed sequence something is done. They may be behind what is done, and
never ahead of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from services.common.database import TROUBLE

EVERY_SECONDS = 1.0
"""How often marks are written."""

log = structlog.get_logger()


async def keep_marks(
    what: str, done: Callable[[], Mapping[int, int]], write: Callable[[Mapping[int, int]], Awaitable[None]]
) -> None:
    """Writes those of `done` that have changed, by partition, until it is cancelled."""
    written: dict[int, int] = {}
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        changed = {partition: at for partition, at in done().items() if written.get(partition) != at}
        if not changed:
            continue
        try:
            await write(changed)
            written.update(changed)
        except TROUBLE as error:
            log.warning("what is done of partitions cannot be noted", what=what, error=repr(error))
