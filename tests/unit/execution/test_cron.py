"""Cron expressions: what they mean, and what is said of those that mean nothing."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.execution.schedules.cron import Cron, CronInvalid, parse


def days(cron: Cron, count: int = 31) -> list[int]:
    return [number + 1 for number in range(count) if cron.names(date(2026, 12, 1) + timedelta(days=number))]


@pytest.mark.parametrize(
    ("text", "minutes", "hours"),
    [
        ("* * * * *", tuple(range(60)), tuple(range(24))),
        ("*/20 9-17/4 * * *", (0, 20, 40), (9, 13, 17)),
        ("5,1-3 0 * * *", (1, 2, 3, 5), (0,)),
        ("  0\t6  * * * ", (0,), (6,)),
        ("@hourly", (0,), tuple(range(24))),
        ("@daily", (0,), (0,)),
    ],
)
def test_an_expression_names_its_times(text: str, minutes: tuple[int, ...], hours: tuple[int, ...]) -> None:
    cron = parse(text)
    assert (cron.minutes, cron.hours) == (minutes, hours)
    assert cron.times == tuple(hour * 60 + minute for hour in hours for minute in minutes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # December 2026 begins on a Tuesday.
        ("0 0 * * 1", [7, 14, 21, 28]),
        ("0 0 * * mon-WED", [1, 2, 7, 8, 9, 14, 15, 16, 21, 22, 23, 28, 29, 30]),
        ("0 0 * * sat-sun", [5, 6, 12, 13, 19, 20, 26, 27]),
        ("0 0 * * 7", [6, 13, 20, 27]),
        ("0 0 * * 0", [6, 13, 20, 27]),
        ("0 0 13 * fri", [4, 11, 13, 18, 25]),
        ("0 0 */10 * 2", [1]),
        ("0 0 1-10/3 DEC *", [1, 4, 7, 10]),
        ("0 0 * nov *", []),
        ("@weekly", [6, 13, 20, 27]),
    ],
)
def test_an_expression_names_its_days(text: str, expected: list[int]) -> None:
    assert days(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "shortest"),
    [("* * * * *", 1), ("*/7 * * * *", 4), ("0,45 * * * *", 15), ("0 6 * * *", 1440), ("0 0,23 * * *", 60)],
)
def test_the_shortest_time_between_two_due_times_is_known(text: str, shortest: int) -> None:
    assert parse(text).shortest == shortest


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "0 fields instead of five"),
        ("* * * *", "4 fields instead of five"),
        ("0 * * * * *", "seconds and years are not offered"),
        ("@reboot", "'@reboot' is not known: @yearly"),
        ("60 * * * *", "minute: 60 does not lie between 0 and 59"),
        ("0 24 * * *", "hour: 24 does not lie between 0 and 23"),
        ("0 0 0 * *", "day of month: 0 does not lie between 1 and 31"),
        ("0 0 * 13 *", "month: 13 does not lie between 1 and 12"),
        ("0 0 * * 8", "day of week: 8 does not lie between 0 and 7"),
        ("0 0 * * monday", "day of week: 'monday' is not known: SUN, MON"),
        ("0 0 * juli *", "month: 'juli' is not known: JAN"),
        ("x * * * *", "minute: 'x' is not known; write a number"),
        ("5/15 * * * *", "minute: '5/15' has a step without a range; write 5-59/15"),
        ("*/0 * * * *", "minute: the step of '*/0' must be 1 or more"),
        ("0 22-2 * * *", "hour: '22-2' runs backwards; write it as two, 22-23,0-2"),
        ("0 0 L * *", "day of month: 'l' uses an extension"),
        ("0 0 15W * *", "day of month: '15w' uses an extension"),
        ("0 0 * * 5#2", "day of week: '5#2' uses an extension"),
        ("0 0 ? * *", "day of month: '?' uses an extension"),
        ("1,,2 * * * *", "minute: an item of the list is empty"),
        ("-1 * * * *", "minute: '-1' cannot be read"),
        ("*-5 * * * *", "minute: '*-5' cannot be read"),
        ("1.5 * * * *", "minute: '1.5' cannot be read"),
        ("\u0663 * * * *", "minute: '\u0663' cannot be read"),
        ("0 " * 200, "longer than 200 characters"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(CronInvalid) as refused:
        parse(text)
    assert complaint in str(refused.value)


@given(st.text(alphabet="0123456789*/-,LWh?# @jansuno", max_size=40))
def test_every_text_is_read_or_refused(text: str) -> None:
    try:
        cron = parse(text)
    except CronInvalid:
        return
    assert cron.times
    assert 1 <= cron.shortest <= 1440
