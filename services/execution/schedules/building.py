"""Puts the parts of schedules together: what the API is given, and what runs on the side."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from services.common.bus import Bus
from services.common.notice_rows import NoticeRepository
from services.common.notices import NoticePublisher
from services.common.time_zones import time_zones
from services.execution.config import ExecutionSettings
from services.execution.entitlement import Entitlement
from services.execution.repository.firings import FiringRepository
from services.execution.repository.schedules import ScheduleRepository
from services.execution.schedules.api import Parts, ScheduleApi
from services.execution.schedules.book import Book
from services.execution.schedules.messages import FIELD, Bounds
from services.execution.schedules.scheduler import Scheduler
from services.execution.starting import Starter, StartRequest
from services.execution.templates import check_start, start_of, start_once


@dataclass(frozen=True, slots=True)
class Pools:
    """Connections for calls, and for what goes on without one."""

    calls: "asyncpg.Pool[asyncpg.Record]"
    work: "asyncpg.Pool[asyncpg.Record]"


async def build(
    settings: ExecutionSettings,
    pools: Pools,
    bus: Bus,
    starter: Starter,
    entitlement: Entitlement,
    hold: Callable[[str, Coroutine[Any, Any, None]], object],
) -> ScheduleApi:
    """The API of schedules; the scheduler and the publisher of notices are held."""
    await asyncio.to_thread(time_zones)
    notices = NoticePublisher(NoticeRepository(pools.work), lambda: nullcontext(bus))

    async def start(request: StartRequest) -> UUID:
        return (await start_once(starter, request)).execution_id

    async def check(user_id: str, template: bytes) -> str:
        return await check_start(starter, start_of(template, user_id, "", {}), f"{FIELD}.start")

    firings = FiringRepository(pools.work)
    scheduler = Scheduler(firings, start, entitlement.refusal, settings.schedule_failures, notices.wake)
    hold("schedules", scheduler.run())
    hold("notices", notices.run())
    book = Book(ScheduleRepository(pools.calls), settings.schedules_of_user, check, scheduler.wake)
    secret = settings.service_secret.get_secret_value()
    return ScheduleApi(Parts(book, Bounds(settings.schedule_interval), secret))
