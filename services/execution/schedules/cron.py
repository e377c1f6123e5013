"""Cron expressions of five fields, as Vixie cron reads them. Which instants they mean is the calendar's (calendars.py).

minute hour day-of-month month day-of-week, each `*`, a number, a range `a-b`, `*` and ranges with a step `/n` too, or a
list of these; months and days of the week by number or by the first three letters of their name, Sunday is 0 or 7.
Where both day-of-month and day-of-week are restricted, a day that either names is meant; where one of them begins with
`*`, both must hold.
"""

import calendar
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

LONGEST = 200
"""Characters of an expression."""

MACROS: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_ITEM = re.compile(r"(?P<first>[a-z]+|\d+|\*)(?:-(?P<last>[a-z]+|\d+))?(?:/(?P<step>\d+))?", re.ASCII)
_EXTENSIONS = re.compile(r"[?#]|^h$|^h[/(]|^l$|\dl$|\dw$|^lw$")
_MINUTES_OF_DAY = 24 * 60


class CronInvalid(ValueError):
    """What is wrong, where, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five."""

    name: str
    least: int
    most: int
    names: Mapping[str, int]


FIELDS = (
    Field("minute", 0, 59, {}),
    Field("hour", 0, 23, {}),
    Field("day of month", 1, 31, {}),
    Field("month", 1, 12, _MONTHS),
    Field("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """An expression that was read."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either: bool
    """Whether a day is meant that days or weekdays name; else both must."""

    @cached_property
    def times(self) -> tuple[int, ...]:
        """The times of a day, in minutes since midnight on the clock, in order."""
        return tuple(hour * 60 + minute for hour in self.hours for minute in self.minutes)

    @property
    def every_hour(self) -> bool:
        """Whether it names every hour: such schedules go by what the clock shows, others by the day (calendars.py)."""
        return len(self.hours) == 24

    @cached_property
    def shortest(self) -> int:
        """The shortest time between two due times, in minutes, but for nights on which clocks are changed."""
        apart = [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]
        return min([*apart, _MINUTES_OF_DAY - self.times[-1] + self.times[0]])

    def names(self, day: date) -> bool:
        """Whether it is due on a day at all."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_day or by_weekday) if self.either else (by_day and by_weekday)


def parse(text: str) -> Cron:
    """Reads an expression; raises CronInvalid."""
    if len(text) > LONGEST:
        raise CronInvalid(f"longer than {LONGEST} characters")
    written = text.strip().lower()
    if written.startswith("@"):
        if written not in MACROS:
            raise CronInvalid(f"{text.strip()!r} is not known: {', '.join(MACROS)} are")
        written = MACROS[written]
    parts = written.split()
    if len(parts) in (6, 7):
        raise CronInvalid(
            f"{len(parts)} fields: seconds and years are not offered, write the five fields "
            "minute, hour, day of month, month, day of week"
        )
    if len(parts) != len(FIELDS):
        raise CronInvalid(
            f"{len(parts)} fields instead of five: minute, hour, day of month, month, day of week, "
            'such as "30 6 * * 1-5"'
        )
    minutes, hours, days, months, weekdays = (
        frozenset(_values(field, part)) for field, part in zip(FIELDS, parts, strict=True)
    )
    return Cron(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        either=not parts[2].startswith("*") and not parts[4].startswith("*"),
    )


def _values(field: Field, text: str) -> Iterator[int]:
    for item in text.split(","):
        found = _ITEM.fullmatch(item)
        if found is None or (found["last"] and found["first"] == "*") or _EXTENSIONS.search(item):
            raise CronInvalid(_unreadable(field, item))
        first, last = _range(field, item, found["first"], found["last"])
        step = 1
        if found["step"]:
            if not found["last"] and found["first"] != "*":
                instead = f"{found['first']}-{field.most}/{found['step']}"
                raise CronInvalid(f"{field.name}: {item!r} has a step without a range; write {instead}")
            step = int(found["step"][:9])
            if not step:
                raise CronInvalid(f"{field.name}: the step of {item!r} must be 1 or more")
        yield from range(first, last + 1, step)


def _range(field: Field, item: str, first: str, last: str | None) -> tuple[int, int]:
    if first == "*":
        # Sunday is named once.
        return field.least, 6 if field.names is _DAYS else field.most
    begin = _number(field, first)
    if last is None:
        return begin, begin
    end = _number(field, last)
    if end == 0 and field.names is _DAYS and last == "sun":
        end = 7
    if end < begin:
        raise CronInvalid(
            f"{field.name}: {item!r} runs backwards; write it as two, {first}-{field.most},{field.least}-{last}"
        )
    return begin, end


def _number(field: Field, text: str) -> int:
    if not text.isdigit():
        if text not in field.names:
            known = f": {', '.join(name.upper() for name in field.names)} are" if field.names else "; write a number"
            raise CronInvalid(f"{field.name}: {text!r} is not known{known}")
        return field.names[text]
    number = int(text[:9])
    if not field.least <= number <= field.most:
        raise CronInvalid(f"{field.name}: {number} does not lie between {field.least} and {field.most}")
    return number


def _unreadable(field: Field, item: str) -> str:
    if _EXTENSIONS.search(item):
        return f"{field.name}: {item!r} uses an extension (L, W, #, ?, H) that is not offered; name the days themselves"
    if not item:
        return f"{field.name}: an item of the list is empty"
    return f"{field.name}: {item[:50]!r} cannot be read; a number, a range a-b, * or a list is expected, with a step /n"
