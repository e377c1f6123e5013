"""The instants that a cron expression means in a time zone, on the nights too on which clocks are changed.

Expressions that name certain hours mean times of the day. One that the clock leaves out is due once, as the clock
jumps; one that it shows twice is due the first time. Expressions that name every hour are due each time that the clock
shows a time of theirs, so each hour: twice when it goes back. Where it jumps within an hour (Lord Howe goes from 2:00
to 2:30), a time that it leaves out is due as it jumps, since the hour is there; a whole hour that is left out is not
made up for.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.common.time_zones import time_zones
from services.execution.schedules.cron import Cron, CronInvalid, parse

HORIZON = timedelta(days=9 * 366)
"""What is not due for so long never is: leap years are 8 years apart at most."""

EARLIEST = datetime(3, 1, 1, tzinfo=UTC)
LATEST = datetime(9900, 1, 1, tzinfo=UTC)
"""Calendars end here."""

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class TimeZoneUnknown(ValueError):
    """What was given, and what is expected."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """When something is due. Times are aware, in UTC, to the minute."""

    cron: Cron
    zone: ZoneInfo
    _changes: dict[date, list[datetime]] = field(default_factory=dict, compare=False)
    """Due times of days on which clocks are changed."""

    def after(self, time: datetime) -> datetime | None:
        """The first due time after `time`; None if there is none within HORIZON."""
        for day in self._days(self._local_day(time) - _DAY, 1):
            found = self._after_on(day, time)
            if found is not None:
                # Where a day is left out, its times are due on the next one.
                sooner = self._after_on(day + _DAY, time) if self.cron.names(day + _DAY) else None
                return found if sooner is None else min(found, sooner)
        return None

    def until(self, time: datetime) -> datetime | None:
        """The last due time that is not after `time`; None if there is none within HORIZON."""
        for day in self._days(self._local_day(time) + _DAY, -1):
            found = self._until_on(day, time)
            if found is not None:
                later = self._until_on(day - _DAY, time) if self.cron.names(day - _DAY) else None
                return found if later is None else max(found, later)
        return None

    def all_after(self, time: datetime) -> Iterator[datetime]:
        """Due times after `time`, in order."""
        found = self.after(time)
        while found is not None:
            yield found
            found = self.after(found)

    def count(self, first: datetime, last: datetime, most: int) -> int:
        """How many due times lie after `first` and not after `last`, within HORIZON; no more are counted than `most`.

        A day costs as much as a due time does elsewhere: there are 1,440 minutes in it.
        """
        counted, end = 0, self._local_day(last) + _DAY
        for day in self._days(self._local_day(first) - _DAY, 1):
            if day > end or counted >= most:
                break
            counted += self._count_on(day, first, last)
        return min(counted, most)

    def next_times(self, time: datetime, most: int) -> list[datetime]:
        """The first due times after `time`."""
        return list(islice(self.all_after(time), most))

    def _local_day(self, time: datetime) -> date:
        return max(EARLIEST, min(time, LATEST)).astimezone(self.zone).date()

    def _days(self, first: date, step: int) -> Iterator[date]:
        """Days that the expression names, onwards or backwards."""
        day, left = first, HORIZON.days
        while left > 0 and EARLIEST.date() <= day <= LATEST.date():
            if self.cron.names(day):
                yield day
            day += timedelta(days=step)
            left -= 1

    def _after_on(self, day: date, time: datetime) -> datetime | None:
        midnight = self._midnight(day)
        if midnight is None:
            found = self._on_changing(day)
            at = bisect_right(found, time)
            return found[at] if at < len(found) else None
        times = self.cron.times
        at = bisect_right(times, (time - midnight) / _MINUTE)
        return midnight + times[at] * _MINUTE if at < len(times) else None

    def _until_on(self, day: date, time: datetime) -> datetime | None:
        midnight = self._midnight(day)
        if midnight is None:
            found = self._on_changing(day)
            at = bisect_right(found, time)
            return found[at - 1] if at else None
        times = self.cron.times
        at = bisect_right(times, (time - midnight) / _MINUTE)
        return midnight + times[at - 1] * _MINUTE if at else None

    def _count_on(self, day: date, first: datetime, last: datetime) -> int:
        midnight = self._midnight(day)
        if midnight is None:
            found = (time for time in self._on_changing(day) if first < time <= last)
            return sum(not self._again_on(day + _DAY, time) for time in found)
        times = self.cron.times
        return max(
            0, bisect_right(times, (last - midnight) / _MINUTE) - bisect_right(times, (first - midnight) / _MINUTE)
        )

    def _again_on(self, day: date, time: datetime) -> bool:
        """Whether a due time is one of that day too: times of a day that is left out are due as the next one begins."""
        return self.cron.names(day) and self._until_on(day, time) == time

    def _midnight(self, day: date) -> datetime | None:
        """The instant at which a day begins; None if clocks are changed on it."""
        return _midnight(self.zone, day)

    def _on_changing(self, day: date) -> list[datetime]:
        known = self._changes.get(day)
        if known is None:
            start = datetime(day.year, day.month, day.day)
            walls = (start + minutes * _MINUTE for minutes in self.cron.times)
            known = sorted({instant for wall in walls for instant in self._instants(wall)})
            if len(self._changes) > 10:
                self._changes.clear()
            self._changes[day] = known
        return known

    def _instants(self, wall: datetime) -> list[datetime]:
        """When a time that the clock may show is due."""
        first, second = _offsets(self.zone, wall)
        if first >= second:
            instants = [(wall - offset).replace(tzinfo=UTC) for offset in dict.fromkeys((first, second))]
            return instants if self.cron.every_hour else instants[:1]
        jump = _jump(self.zone, wall, first, second)
        if self.cron.every_hour:
            shown = jump.astimezone(self.zone)
            if (shown.date(), shown.hour) != (wall.date(), wall.hour):
                return []
        return [jump]


def calendar_of(cron: str, time_zone: str) -> Calendar:
    """The calendar of an expression in an IANA time zone. Raises CronInvalid and TimeZoneUnknown."""
    return Calendar(_parsed(cron), _zone(time_zone))


_parsed = lru_cache(maxsize=1_000)(parse)


@lru_cache(maxsize=1_000)
def _zone(name: str) -> ZoneInfo:
    # ZoneInfo also reads files that are no zones of their own ("posixrules"), and paths.
    if name not in time_zones():
        raise TimeZoneUnknown(
            f"{name[:100]!r} is no time zone: give a name of the IANA database, such as Europe/Berlin or UTC"
        )
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise TimeZoneUnknown(f"the time zone {name!r} cannot be read here: {error}") from None


def check_due(calendar: Calendar, now: datetime) -> None:
    """Raises CronInvalid if it is never due."""
    if calendar.after(now) is None:
        raise CronInvalid("it is never due: no month has such a day. Give a day that there is")


@lru_cache(maxsize=10_000)
def _midnight(zone: ZoneInfo, day: date) -> datetime | None:
    start = datetime(day.year, day.month, day.day)
    offsets = {offset for hours in (0, 12, 24) for offset in _offsets(zone, start + timedelta(hours=hours))}
    return (start - offsets.pop()).replace(tzinfo=UTC) if len(offsets) == 1 else None


def _offsets(zone: ZoneInfo, wall: datetime) -> tuple[timedelta, timedelta]:
    """Offsets from UTC that count when the clock shows `wall`: before a change and after it, which are mostly the same.

    The first is the smaller one where the clock never shows `wall`, and the larger one where it shows it twice.
    """
    first = wall.replace(tzinfo=zone, fold=0).utcoffset()
    second = wall.replace(tzinfo=zone, fold=1).utcoffset()
    assert first is not None, "zones have offsets at all times"
    assert second is not None, "zones have offsets at all times"
    return first, second


def _jump(zone: ZoneInfo, wall: datetime, before: timedelta, after: timedelta) -> datetime:
    """The instant at which the clock jumps over `wall`."""
    earliest, latest = (wall - after).replace(tzinfo=UTC), (wall - before).replace(tzinfo=UTC)
    seconds = range(int((latest - earliest).total_seconds()) + 1)
    at = bisect_left(
        seconds, after, key=lambda second: (earliest + timedelta(seconds=second)).astimezone(zone).utcoffset() or before
    )
    return earliest + timedelta(seconds=at)
