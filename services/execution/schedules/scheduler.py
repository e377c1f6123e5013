"""Starts what is due, on every replica alike. What flows where, and what becomes of a failure there:

due time -> firing     taken under the lock of the schedule's row, which moves on in the same transaction: whoever
                       dies before the commit has taken nothing
firing -> claim        it waits in its row; one replica has it for CLAIM_SECONDS. It dies: another one claims it then
claim -> overlap       counted in the same statement. It is skipped, waits on, or goes on
claim -> start         an ordinary start, whose request id is of schedule and due time: repeated, it is the same
                       execution. What may pass (a service is away) is tried again for a day, what will last is recorded
start -> outcome       lost: the start is repeated. Before a firing is skipped or fails, its execution is looked for
pause                  marks what waits, in its transaction: it is skipped when it is claimed, resumed or not
failures in a row      pause the schedule, in the transaction of the last one, with a notice to its owner

The clock is PostgreSQL's, and an argument of `look`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import grpc
import structlog
from blockyard.event.v1.notice_pb2 import NoticeKind

from services.common.backoff import delays
from services.common.database import TROUBLE
from services.common.errors import BlockyardError
from services.common.ids import new_id
from services.common.notices import new_notice
from services.execution.metrics import METRICS
from services.execution.refusals import is_lasting, reason_text
from services.execution.repository.firings import FiringRepository, Pause
from services.execution.schedules.advancing import Advance, advance
from services.execution.schedules.records import PAUSED, Claimed, Overlap, Schedule
from services.execution.starting import StartRequest
from services.execution.templates import own_request_id, start_of

AT_ONCE = 50
"""Schedules taken in one transaction, and starts under way on one replica."""

LOOK_SECONDS = 10.0
"""How often rows are looked at without a reason: another replica that knew of a due time may have died."""

SHORTEST_REST = 0.005
CLAIM_SECONDS = 30.0
START_SECONDS = 20.0
"""A start that takes longer is tried again: its claim must not end before it does."""

QUEUE_SECONDS = 2.0
"""How often it is looked whether the execution that a firing waits for has ended."""

LONGEST_DELAY = 60.0
"""Seconds between two tries."""

UNREADABLE = timedelta(hours=1)
"""A schedule that cannot be read here is looked at again then."""

MOST_TRIES = 1_440
"""About a day. Counted, and not by the clock: a firing may have waited for days before its first try."""

OVERLAPS = "an execution of this schedule had not ended, and the overlap policy is SKIP"
QUEUE_FULL = "the queue of this schedule was full"
QUEUED = "it waits for the end of an execution of this schedule"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Look:
    """When a replica looked at what is due."""

    now: datetime
    begun: float
    """The same by the loop's clock."""

    def in_seconds(self, seconds: float) -> datetime:
        """The time so many seconds from this moment on, whenever the look was."""
        return self.now + timedelta(seconds=asyncio.get_running_loop().time() - self.begun + seconds)


@dataclass(slots=True, eq=False)
class Scheduler:
    """What a replica does for schedules; any number of them may."""

    rows: FiringRepository
    start: Callable[[StartRequest], Awaitable[UUID]]
    """Starts once for a request id; returns the execution."""
    refusal: Callable[[str], Awaitable[str]]
    """Why nothing may be started for a user; empty if it may."""
    most_failures: int
    noticed: Callable[[], None]
    """There is a notice to publish."""
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: int = 0

    def wake(self) -> None:
        """A schedule may be due sooner than was known."""
        self._work.set()

    async def run(self) -> None:
        """Starts what is due, until it is cancelled."""
        loop = asyncio.get_running_loop()
        pauses = delays()
        async with asyncio.TaskGroup() as group:
            while True:
                self._work.clear()
                begun = loop.time()
                try:
                    now = await self.rows.clock()
                    due = await self.look(now, group)
                except TROUBLE as error:
                    log.warning("schedules cannot be looked at", error=repr(error))
                    rest = next(pauses)
                else:
                    pauses = delays()
                    rest = LOOK_SECONDS if due is None else (due - now).total_seconds() - (loop.time() - begun)
                await self._rest(max(SHORTEST_REST, min(rest, LOOK_SECONDS)))

    async def look(self, now: datetime, group: asyncio.TaskGroup) -> datetime | None:
        """Takes what is due and begins to start it, in the group. Returns when there is more to do."""
        look = Look(now, asyncio.get_running_loop().time())
        while await self.rows.advance(now, AT_ONCE, partial(_advance, now)) == AT_ONCE:
            pass
        room = AT_ONCE - self._under_way
        if room <= 0:
            # Whoever ends says so.
            return None
        for claimed in await self.rows.claim(now, look.in_seconds(CLAIM_SECONDS), room):
            self._under_way += 1
            group.create_task(self._settle(claimed, look), name="a firing")
        return await self.rows.next_look()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._work.wait()
        except TimeoutError:
            return

    async def _settle(self, claimed: Claimed, look: Look) -> None:
        try:
            await self._decide(claimed, look)
        except TROUBLE as error:
            schedule_id = str(claimed.schedule.schedule_id)
            log.warning(
                "a firing is looked at again when its claim is over", schedule_id=schedule_id, error=repr(error)
            )
        finally:
            if self._under_way >= AT_ONCE:
                self._work.set()
            self._under_way -= 1

    async def _decide(self, claimed: Claimed, look: Look) -> None:
        terms = claimed.schedule.terms
        if terms.paused or claimed.firing.reason == PAUSED:
            await self._skip(claimed, PAUSED, look)
        elif not claimed.ahead or terms.overlap is Overlap.ALLOW:
            await self._start(claimed, look)
        elif terms.overlap is Overlap.SKIP:
            await self._skip(claimed, OVERLAPS, look)
        elif claimed.ahead > terms.queue_limit:
            await self._skip(claimed, QUEUE_FULL, look)
        else:
            await self._postpone(claimed, look.in_seconds(QUEUE_SECONDS), QUEUED, 0)

    async def _start(self, claimed: Claimed, look: Look) -> None:
        schedule = claimed.schedule
        try:
            refusal = await self.refusal(schedule.user_id)
            if refusal:
                await self._skip(claimed, refusal, look)
                return
            labels = {"schedule": str(schedule.schedule_id)}
            request = start_of(schedule.terms.template, schedule.user_id, _request_id(claimed), labels)
            async with asyncio.timeout(START_SECONDS):
                execution_id = await self.start(request)
        except Exception as error:  # noqa: BLE001 - it is told of, and recorded
            # What cannot be started here must not end the start of all others.
            await self._not_started(claimed, error, look)
            return
        await self._is_started(claimed, execution_id, look)

    async def _is_started(self, claimed: Claimed, execution_id: UUID, look: Look) -> None:
        await self.rows.started(claimed, execution_id, look.now)
        METRICS.firings.labels("started").inc()
        METRICS.firing_lateness.observe(max(0.0, (look.now - claimed.firing.fire_time).total_seconds()))

    async def _was_started(self, claimed: Claimed, look: Look) -> bool:
        # Whoever had it before may have died, or not been answered, behind the start.
        execution_id = await self.rows.execution_of(claimed.schedule.user_id, _request_id(claimed))
        if execution_id is None:
            return False
        await self._is_started(claimed, execution_id, look)
        return True

    async def _not_started(self, claimed: Claimed, error: Exception, look: Look) -> None:
        reason = reason_text(error)
        if is_lasting(error):
            if not isinstance(error, BlockyardError | grpc.aio.AioRpcError):
                log.error("a schedule cannot start its graph at all", exc_info=error)
            await self._fail(claimed, reason, look)
        elif claimed.firing.attempts + 1 >= MOST_TRIES:
            await self._fail(claimed, f"it was tried for a day: {reason}", look)
        else:
            log.warning(
                "a scheduled start is tried again", schedule_id=str(claimed.schedule.schedule_id), reason=reason
            )
            seconds = min(LONGEST_DELAY, 2.0 ** min(claimed.firing.attempts, 10))
            await self._postpone(claimed, look.in_seconds(seconds), reason, 1)

    async def _postpone(self, claimed: Claimed, until: datetime, reason: str, attempts: int) -> None:
        await self.rows.postponed(claimed, until, reason, attempts)
        self.wake()

    async def _skip(self, claimed: Claimed, reason: str, look: Look) -> None:
        if await self._was_started(claimed, look):
            return
        await self.rows.skipped(claimed, reason, look.now)
        METRICS.firings.labels("skipped").inc()

    async def _fail(self, claimed: Claimed, reason: str, look: Look) -> None:
        if await self._was_started(claimed, look):
            return
        schedule = claimed.schedule
        why = f"{self.most_failures} starts in a row have failed, the last one since {reason}"
        details = {"schedule_id": str(schedule.schedule_id), "name": schedule.terms.name, "reason": why}
        notice = new_notice(new_id(), schedule.user_id, NoticeKind.NOTICE_KIND_SCHEDULE_PAUSED, look.now, details)
        has_paused = await self.rows.failed(claimed, reason, look.now, Pause(self.most_failures, why, notice))
        METRICS.firings.labels("failed").inc()
        if has_paused:
            log.warning("a schedule has paused itself", schedule_id=str(schedule.schedule_id), reason=why)
            self.noticed()


def _request_id(claimed: Claimed) -> str:
    due = int(claimed.firing.due_time.timestamp())
    return own_request_id("schedule", str(claimed.schedule.schedule_id), due)


def _advance(now: datetime, schedule: Schedule, waiting: int) -> Advance:
    try:
        return advance(schedule, now, waiting)
    except Exception:
        # Its time zone may be gone from the database of zones. All others go on, and so will it when it can be read.
        log.exception("a schedule cannot be read", schedule_id=str(schedule.schedule_id))
        return Advance((), schedule.next_time, now + UNREADABLE)
