"""Drops what is old of the log of deliveries."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from services.common.database import TROUBLE
from services.notification.clock import Clock
from services.notification.repository.deliveries import DeliveryRepository

EVERY_SECONDS = 600.0
AT_ONCE = 1_000

log = structlog.stdlib.get_logger(__name__)


async def sweep(rows: DeliveryRepository, clock: Clock, keep: timedelta) -> int:
    """Drops deliveries that ended and are older than this, what waits for webhooks that have been disabled for longer,
    and what belonged to webhooks that are gone. Says how many."""
    before = clock() - keep
    parts: list[Callable[[], Awaitable[int]]] = [
        lambda: rows.sweep(before, AT_ONCE),
        lambda: rows.drop_waiting(before, AT_ONCE),
        lambda: rows.sweep_orphans(AT_ONCE),
    ]
    dropped = 0
    for part in parts:
        while number := await part():
            dropped += number
            if number < AT_ONCE:
                break
    return dropped


async def keep_tidy(rows: DeliveryRepository, clock: Clock, keep: timedelta) -> None:
    """Sweeps now and then, until it is cancelled. Any number of replicas may: each row is dropped once."""
    while True:
        try:
            await sweep(rows, clock, keep)
        except TROUBLE as error:
            log.warning("old deliveries of webhooks cannot be dropped", reason=str(error) or type(error).__name__)
        await asyncio.sleep(EVERY_SECONDS)
