"""Schedules and firings as values: what the repository takes and returns."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import islice, takewhile
from uuid import UUID

from services.execution.schedules.calendars import Calendar, calendar_of

MOST_JITTER = 3600

PAUSED = "the schedule was paused"
"""The reason of firings that a pause leaves out. One that waits with it is skipped by whoever claims it next, though
the schedule may have been resumed by then."""


class Overlap(IntEnum):
    """What becomes of a due time while an execution of the schedule has not ended; numbers of the contract."""

    SKIP = 1
    QUEUE = 2
    ALLOW = 3


class CatchUp(IntEnum):
    """What becomes of due times that nobody was there to start; numbers of the contract."""

    NONE = 1
    LAST = 2
    ALL = 3


class FiringStatus(IntEnum):
    """What became of a due time; numbers of the contract."""

    WAITING = 1
    STARTED = 2
    SKIPPED = 3
    MISSED = 4
    FAILED = 5


@dataclass(frozen=True, slots=True)
class Terms:
    """What a user says of a schedule."""

    name: str
    graph_id: str
    template: bytes
    """A message blockyard.execution.v1.StartTemplate."""
    cron: str
    time_zone: str
    jitter: int
    """Seconds."""
    start_time: datetime | None
    end_time: datetime | None
    overlap: Overlap
    queue_limit: int
    catch_up: CatchUp
    catch_up_limit: int
    paused: bool

    @property
    def calendar(self) -> Calendar:
        """When it is due, but for its beginning and its end."""
        return calendar_of(self.cron, self.time_zone)

    @property
    def timing(self) -> tuple[object, ...]:
        """What its due times depend on."""
        return self.cron, self.time_zone, self.start_time, self.end_time, self.paused

    def due_after(self, time: datetime, most: int = 1) -> list[datetime]:
        """The next due times after a time, as though it were not paused."""
        if self.start_time is not None:
            time = max(time, self.start_time - timedelta(microseconds=1))
        end = self.end_time
        within = takewhile(lambda due: end is None or due <= end, self.calendar.all_after(time))
        return list(islice(within, most))


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as its row has it."""

    schedule_id: UUID
    user_id: str
    terms: Terms
    pause_reason: str
    failures: int
    """Starts that have failed in a row."""
    next_time: datetime | None
    """The due time that comes next."""
    fire_time: datetime | None
    """The same with jitter."""
    version: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Firing:
    """A due time that has come, or several in a row that were missed."""

    due_time: datetime
    fire_time: datetime
    status: FiringStatus
    reason: str = ""
    execution_id: UUID | None = None
    through_time: datetime | None = None
    """The last of them; None if it is one."""
    due_times: int = 1
    attempts: int = 0
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A firing that one replica alone may start for a while."""

    schedule: Schedule
    firing: Firing
    ahead: int
    """Firings before it that wait, and executions of the schedule that have not ended."""
