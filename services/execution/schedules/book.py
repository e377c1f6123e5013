"""Keeps the schedules of users: made, changed, paused and resumed, always with the due time that comes next."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.common.errors import Aborted
from services.common.ids import new_id
from services.execution.errors import RequestIdReused, ScheduleNotFound, TooManySchedules
from services.execution.repository.schedules import NewSchedule, ScheduleRepository, TooMany
from services.execution.schedules.advancing import fire_time
from services.execution.schedules.messages import check_still_due
from services.execution.schedules.records import Schedule, Terms


@dataclass(frozen=True, slots=True)
class Book:
    """The schedules of all users."""

    rows: ScheduleRepository
    most: int
    """Of a user."""
    check_start: Callable[[str, bytes], Awaitable[str]]
    """The graph that a user's template starts: a preset may say which. Raises what a start would be refused with."""
    wake: Callable[[], None]
    """A schedule may be due sooner than was known."""

    async def check(self, user_id: str, terms: Terms, now: datetime) -> Schedule:
        """A schedule as it would be made. Raises what is wrong with it."""
        check_still_due(terms, now)
        terms = replace(terms, graph_id=await self.check_start(user_id, terms.template))
        return _timed(Schedule(new_id(), user_id, terms, "", 0, None, None, 1, now, now), now)

    async def create(self, user_id: str, terms: Terms, request_id: str, request_hash: bytes, now: datetime) -> Schedule:
        """A new schedule, unless the request id has made one before."""
        if (earlier := await self._earlier(user_id, request_id, request_hash)) is not None:
            return earlier
        new = NewSchedule(await self.check(user_id, terms, now), request_id, request_hash)
        try:
            schedule = await self.rows.add(new, self.most)
        except TooMany:
            raise TooManySchedules(f"You have {self.most} schedules, which is the limit: delete some.") from None
        if schedule is None:
            schedule = await self._earlier(user_id, request_id, request_hash)
            if schedule is None:
                raise RequestIdReused("The schedule of this request id was deleted just now. Draw a new one.")
        self.wake()
        return schedule

    async def get(self, user_id: str, schedule_id: UUID) -> Schedule:
        """A user's schedule."""
        schedule = await self.rows.get(schedule_id, user_id)
        if schedule is None:
            raise ScheduleNotFound
        return schedule

    async def change(
        self,
        user_id: str,
        schedule_id: UUID,
        etag: str,
        terms_of: Callable[[Schedule], Terms],
        now: datetime,
        names: Collection[str],
    ) -> Schedule:
        """A schedule with other terms. `names` are the fields that change: without any, nothing does."""
        if not names:
            schedule = await self.get(user_id, schedule_id)
            _check_etag(schedule, etag)
            return schedule
        graph_id = ""
        if "start" in names:
            before = await self.get(user_id, schedule_id)
            graph_id = await self.check_start(user_id, terms_of(before).template)

        def changed(schedule: Schedule) -> Schedule:
            _check_etag(schedule, etag)
            # Of the locked row, if not of this change: another one may have come first.
            terms = replace(terms_of(schedule), graph_id=graph_id or schedule.terms.graph_id)
            return _changed(schedule, terms, now)

        after = await self.rows.change(schedule_id, user_id, changed, now)
        if after is None:
            raise ScheduleNotFound
        self.wake()
        return after

    async def delete(self, user_id: str, schedule_id: UUID) -> None:
        """Deletes a schedule."""
        if not await self.rows.delete(schedule_id, user_id):
            raise ScheduleNotFound

    async def _earlier(self, user_id: str, request_id: str, request_hash: bytes) -> Schedule | None:
        found = await self.rows.by_request(user_id, request_id) if request_id else None
        if found is None:
            return None
        schedule, known_hash = found
        if known_hash != request_hash:
            raise RequestIdReused
        return schedule


def _check_etag(schedule: Schedule, etag: str) -> None:
    if etag and etag != str(schedule.version):
        raise Aborted


def _changed(before: Schedule, terms: Terms, now: datetime) -> Schedule:
    """With other terms. Where nothing of its timing changes, a due time that has come and is held by jitter stays."""
    after = replace(before, terms=terms)
    if before.terms.paused and not terms.paused:
        after = replace(after, pause_reason="", failures=0)
    if terms.timing != before.terms.timing:
        if not terms.paused:
            check_still_due(terms, now)
        return _timed(after, now)
    due = after.next_time
    return replace(after, fire_time=due and fire_time(after.schedule_id, due, terms.jitter))


def _timed(schedule: Schedule, now: datetime) -> Schedule:
    """With the due time that comes next after now, if it is not paused."""
    due = [] if schedule.terms.paused else schedule.terms.due_after(now)
    if not due:
        return replace(schedule, next_time=None, fire_time=None)
    jitter = schedule.terms.jitter
    return replace(schedule, next_time=due[0], fire_time=fire_time(schedule.schedule_id, due[0], jitter))
