"""What comes of a schedule by a moment: which due times are started, which were missed, and when it is due next.

A pure function of the schedule and the time. Whoever applies it moves the row on in the same transaction, so that each
due time is taken once: whichever replica looks, and however late.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.execution.schedules.records import CatchUp, Firing, FiringStatus, Schedule

GRACE = timedelta(seconds=60)
"""A due time that is found later than that was missed."""

MOST_COUNTED = 10_000
"""Missed due times of one gap that are counted."""

MOST_WAITING = 200
"""Firings of a schedule that wait, whatever its policies say."""

TOO_MANY_WAIT = f"{MOST_WAITING} due times of this schedule wait already"
CAUGHT_UP = "it was missed, and is caught up with"
MISSED = "nobody was there to start it in time, and the catch-up policy leaves it out"

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Advance:
    """What is to be stored."""

    firings: tuple[Firing, ...]
    next_time: datetime | None
    fire_time: datetime | None


def fire_time(schedule_id: UUID, due: datetime, jitter: int) -> datetime:
    """A due time with its jitter, in seconds: always the same for the same schedule and time."""
    digest = hashlib.sha256(schedule_id.bytes + int(due.timestamp()).to_bytes(8, "big", signed=True)).digest()
    return due + timedelta(seconds=int.from_bytes(digest[:8], "big") % (jitter + 1))


def advance(schedule: Schedule, now: datetime, waiting: int = 0) -> Advance:
    """What comes of a schedule that is due, of which so many firings wait already."""
    first = schedule.next_time
    if first is None:
        return Advance((), None, None)
    upcoming = _upcoming(schedule, first, now)
    in_time = _in_time(schedule, first, now, upcoming)
    bound = in_time[0] if in_time else upcoming
    firings = [*_missed(schedule, first, bound, now), *(_waiting(schedule, due) for due in in_time)]
    firings = list(_bounded(firings, MOST_WAITING - waiting))
    jitter = schedule.terms.jitter
    return Advance(tuple(firings), upcoming, upcoming and fire_time(schedule.schedule_id, upcoming, jitter))


def _bounded(firings: Iterable[Firing], room: int) -> Iterator[Firing]:
    """The firings, of which those that find no room are left out."""
    for firing in firings:
        if firing.status is FiringStatus.WAITING:
            room -= 1
            if room < 0:
                firing = replace(firing, status=FiringStatus.SKIPPED, reason=TOO_MANY_WAIT)
        yield firing


def _upcoming(schedule: Schedule, first: datetime, now: datetime) -> datetime | None:
    """The first due time from `first` on whose turn has not come: jitter may hold back some that are over."""
    held: datetime | None = None
    jitter = schedule.terms.jitter
    for due in _backwards(schedule, first, now):
        if due + timedelta(seconds=jitter) <= now:
            break
        if fire_time(schedule.schedule_id, due, jitter) > now:
            held = due
    following = [held] if held else schedule.terms.due_after(max(now, first - _INSTANT))
    return following[0] if following else None


def _in_time(schedule: Schedule, first: datetime, now: datetime, upcoming: datetime | None) -> list[datetime]:
    """Due times from `first` on, before the upcoming one, whose turn came within GRACE."""
    found: list[datetime] = []
    for due in _backwards(schedule, first, now if upcoming is None else min(now, upcoming - _INSTANT)):
        if fire_time(schedule.schedule_id, due, schedule.terms.jitter) < now - GRACE:
            break
        found.append(due)
    return found[::-1]


def _missed(schedule: Schedule, first: datetime, bound: datetime | None, now: datetime) -> Iterator[Firing]:
    """Firings for the due times from `first` up to, and without, `bound`."""
    until = now if bound is None else bound - _INSTANT
    wanted = {CatchUp.NONE: 0, CatchUp.LAST: 1, CatchUp.ALL: schedule.terms.catch_up_limit}[schedule.terms.catch_up]
    caught: list[datetime] = []
    last_left_out: datetime | None = None
    for due in _backwards(schedule, first, until):
        if len(caught) == wanted:
            last_left_out = due
            break
        caught.append(due)
    if last_left_out is not None:
        yield _left_out(schedule, first, last_left_out)
    for due in reversed(caught):
        yield _waiting(schedule, due, CAUGHT_UP)


def _left_out(schedule: Schedule, first: datetime, last: datetime) -> Firing:
    count = 1 + schedule.terms.calendar.count(first, last, MOST_COUNTED - 1)
    fires = fire_time(schedule.schedule_id, first, schedule.terms.jitter)
    through = last if last > first else None
    return Firing(first, fires, FiringStatus.MISSED, MISSED, through_time=through, due_times=count)


def _backwards(schedule: Schedule, first: datetime, until: datetime) -> Iterator[datetime]:
    """Due times from `until` back to `first`, which is one whatever the calendar says now: zones change their rules,
    and what was announced is started."""
    calendar, end = schedule.terms.calendar, schedule.terms.end_time
    due = calendar.until(until if end is None else min(until, end))
    while due is not None and due > first:
        yield due
        due = calendar.until(due - _INSTANT)
    if first <= until:
        yield first


def _waiting(schedule: Schedule, due: datetime, reason: str = "") -> Firing:
    return Firing(due, fire_time(schedule.schedule_id, due, schedule.terms.jitter), FiringStatus.WAITING, reason)
