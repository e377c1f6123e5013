"""When schedules are due, on the nights on which clocks are changed above all.

The model walks through every minute of UTC and looks at the clock, and knows nothing of offsets.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.execution.schedules.calendars import Calendar, TimeZoneUnknown, calendar_of, check_due
from services.execution.schedules.cron import CronInvalid

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def clock(calendar: Calendar, time: datetime) -> str:
    return time.astimezone(calendar.zone).strftime("%d %H:%M %z")


def due(cron: str, zone: str, day: str, days: int = 1) -> list[str]:
    """What the clock shows at each due time of a day."""
    calendar = calendar_of(cron, zone)
    start = datetime.fromisoformat(day).replace(tzinfo=calendar.zone).astimezone(UTC)
    end = (datetime.fromisoformat(day) + days * DAY).replace(tzinfo=calendar.zone).astimezone(UTC)
    found: list[str] = []
    for time in calendar.all_after(start - timedelta(seconds=1)):
        if time >= end:
            break
        found.append(time.astimezone(calendar.zone).strftime("%H:%M%z"))
    return found


NIGHTS = [
    # Berlin: 2:00 to 3:00 on 29 March 2026; 3:00 back to 2:00 on 25 October.
    ("30 2 * * *", "Europe/Berlin", "2026-03-29", ["03:00+0200"]),
    ("30 2,3 * * *", "Europe/Berlin", "2026-03-29", ["03:00+0200", "03:30+0200"]),
    ("*/20 2 * * *", "Europe/Berlin", "2026-03-29", ["03:00+0200"]),
    ("0 0-4/2 * * *", "Europe/Berlin", "2026-03-29", ["00:00+0100", "03:00+0200", "04:00+0200"]),
    ("30 2 * * *", "Europe/Berlin", "2026-10-25", ["02:30+0200"]),
    ("*/30 2 * * *", "Europe/Berlin", "2026-10-25", ["02:00+0200", "02:30+0200"]),
    # New York: 2:00 to 3:00 on 8 March; 2:00 back to 1:00 on 1 November.
    ("15 2 * * *", "America/New_York", "2026-03-08", ["03:00-0400"]),
    ("15 1 * * *", "America/New_York", "2026-11-01", ["01:15-0400"]),
    # Lord Howe: 2:00 to 2:30 on 4 October; 2:00 back to 1:30 on 5 April.
    ("10 2 * * *", "Australia/Lord_Howe", "2026-10-04", ["02:30+1100"]),
    ("40 2 * * *", "Australia/Lord_Howe", "2026-10-04", ["02:40+1100"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05", ["01:45+1100"]),
    # Cairo: from midnight to 1:00 on 24 April; from midnight back to 23:00 on 29 October.
    ("0 0 * * *", "Africa/Cairo", "2026-04-24", ["01:00+0300"]),
    ("30 0 * * *", "Africa/Cairo", "2026-04-24", ["01:00+0300"]),
    ("30 23 * * *", "Africa/Cairo", "2026-10-29", ["23:30+0300"]),
    ("0 0 * * *", "Africa/Cairo", "2026-10-30", ["00:00+0200"]),
    # Kolkata changes nothing.
    ("30 2 * * *", "Asia/Kolkata", "2026-03-29", ["02:30+0530"]),
]


@pytest.mark.parametrize(("cron", "zone", "day", "expected"), NIGHTS)
def test_a_time_of_the_day_is_due_once_on_the_nights_too(cron: str, zone: str, day: str, expected: list[str]) -> None:
    assert due(cron, zone, day) == expected


def test_what_is_due_each_hour_is_due_each_hour_of_those_nights() -> None:
    spring, autumn = (due("30 * * * *", "Europe/Berlin", day) for day in ("2026-03-29", "2026-10-25"))
    assert (len(spring), len(autumn)) == (23, 25)
    assert spring[1:3] == ["01:30+0100", "03:30+0200"]
    assert autumn[2:4] == ["02:30+0200", "02:30+0100"]
    assert due("0 * * * *", "Australia/Lord_Howe", "2026-10-04")[1:4] == ["01:00+1030", "02:30+1100", "03:00+1100"]
    assert due("45 * * * *", "Australia/Lord_Howe", "2026-04-05")[1:4] == ["01:45+1100", "01:45+1030", "02:45+1030"]
    assert due("0 * * * *", "Africa/Cairo", "2026-10-29")[-2:] == ["23:00+0300", "23:00+0200"]
    assert due("0 * * * *", "Africa/Cairo", "2026-04-24")[0] == "01:00+0300"


def test_a_day_that_an_island_leaves_out_is_made_up_for_as_the_next_begins() -> None:
    # Apia went from 29 to 31 December 2011.
    assert due("0 9 * * *", "Pacific/Apia", "2011-12-29", 3) == ["09:00-1000", "00:00+1400", "09:00+1400"]
    assert due("0 9 30 12 *", "Pacific/Apia", "2011-12-31", 1) == ["00:00+1400"]


def test_leap_days_are_found_over_a_century_without_one() -> None:
    calendar = calendar_of("0 0 29 2 *", "UTC")
    assert calendar.after(utc("2096-03-01")) == utc("2104-02-29")
    assert calendar.until(utc("2104-02-28")) == utc("2096-02-29")


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *"])
def test_what_is_never_due_is_refused(cron: str) -> None:
    with pytest.raises(CronInvalid, match="never due: no month has such a day"):
        check_due(calendar_of(cron, "UTC"), utc("2026-01-01"))


def test_a_day_that_there_is_not_is_no_harm_beside_a_day_of_the_week() -> None:
    assert calendar_of("0 0 30 2 1", "UTC").after(utc("2026-01-31")) == utc("2026-02-02")


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "europe/berlin", "../etc/passwd", "/etc/localtime", "localtime", "CEST", "+02:00"],
)
def test_unknown_time_zones_are_refused_with_advice(name: str) -> None:
    with pytest.raises(TimeZoneUnknown, match="is no time zone: give a name of the IANA database"):
        calendar_of("0 0 * * *", name)


def test_the_end_of_all_calendars_is_no_error() -> None:
    calendar = calendar_of("0 0 1 1 *", "Pacific/Kiritimati")
    assert calendar.after(datetime(9999, 12, 31, 23, 59, tzinfo=UTC)) is None
    assert calendar.until(datetime(1, 1, 1, tzinfo=UTC)) is None


# The model

ZONES = {
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "Africa/Cairo": ["2026-04-24", "2026-10-30"],
    "America/Havana": ["2026-03-08", "2026-11-01"],
    "Asia/Kolkata": ["2026-07-01"],
    "Antarctica/Troll": ["2026-03-29", "2026-10-25"],  # two hours at once
    "America/St_Johns": ["2006-04-02", "2006-10-29"],  # at a minute past midnight
}
CASES = [(zone, day) for zone, days in ZONES.items() for day in days]


def shown(zone: ZoneInfo, first: date) -> dict[datetime, list[datetime]]:
    """Instants by what the clock shows then, over a day and what lies around it."""
    start = datetime(first.year, first.month, first.day, tzinfo=UTC) - 2 * DAY
    found: dict[datetime, list[datetime]] = {}
    for minute in range(5 * 24 * 60):
        instant = start + minute * MINUTE
        found.setdefault(instant.astimezone(zone).replace(tzinfo=None), []).append(instant)
    return found


def model(calendar: Calendar, day: date) -> Iterator[datetime]:
    """The due times of a day and of the days beside it."""
    seen = shown(calendar.zone, day)
    for offset in (-1, 0, 1):
        midnight = datetime(day.year, day.month, day.day) + offset * DAY
        for minute in calendar.cron.times if calendar.cron.names(midnight.date()) else ():
            wall = midnight + minute * MINUTE
            if wall in seen:
                yield from seen[wall] if calendar.cron.every_hour else seen[wall][:1]
                continue
            # The clock goes straight to a later time.
            later = min(other for other in seen if other > wall)
            if not calendar.cron.every_hour or (later.date(), later.hour) == (wall.date(), wall.hour):
                yield seen[later][0]


minutes = st.sampled_from(["0", "59", "*/15", "30", "7,37", "*"])
hours = st.sampled_from(["*", "0", "1", "2", "*/2", "1-3", "23", "0,23"])
weekdays = st.sampled_from(["*", "sun", "5-6"])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(CASES), minutes, hours, weekdays)
def test_due_times_are_those_of_a_clock_that_is_watched(
    case: tuple[str, str], minute: str, hour: str, weekday: str
) -> None:
    zone, text = case
    calendar, day = calendar_of(f"{minute} {hour} * * {weekday}", zone), date.fromisoformat(text)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=12)
    end = start + 1.8 * DAY
    expected = sorted({time for time in model(calendar, day) if start < time <= end})

    onwards = [time for time in calendar.next_times(start, len(expected) + 1) if time <= end]
    assert [clock(calendar, time) for time in onwards] == [clock(calendar, time) for time in expected]

    backwards: list[datetime] = []
    time = calendar.until(end)
    while time is not None and time > start:
        backwards.append(time)
        time = calendar.until(time - timedelta(seconds=1))
    assert backwards == expected[::-1]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([*CASES, ("Pacific/Apia", "2011-12-30")]),
    minutes,
    hours,
    weekdays,
    st.tuples(st.integers(0, 4_000), st.integers(0, 4_000)),
)
# A day that is left out: its times are due as the next one begins, and some of them are that day's too.
@example(("Pacific/Apia", "2011-12-30"), "0", "0", "*", (0, 4_000))
@example(("Pacific/Kwajalein", "1993-08-21"), "0", "0", "*", (0, 4_000))
def test_due_times_that_are_counted_are_those_that_come_one_by_one(
    case: tuple[str, str], minute: str, hour: str, weekday: str, places: tuple[int, int]
) -> None:
    zone, text = case
    calendar, day = calendar_of(f"{minute} {hour} * * {weekday}", zone), date.fromisoformat(text)
    around = datetime(day.year, day.month, day.day, tzinfo=UTC) - DAY
    first, last = (around + place * MINUTE for place in sorted(places))
    expected = sum(1 for _ in takewhile(lambda time: time <= last, calendar.all_after(first)))
    assert calendar.count(first, last, 10_000) == expected
    assert calendar.count(first, last, 100) == min(expected, 100)
