"""Times as they are typed: 2027-01-31, 2027-01-31T12:00, 90d (from now), and for the past 7d (ago)."""

import re
from datetime import datetime, timedelta

import click

_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def future(option: str, text: str) -> datetime:
    """A time to come: a date, or a span from now."""
    return _time(option, text, 1)


def past(option: str, text: str) -> datetime:
    """A time gone by: a date, or a span ago."""
    return _time(option, text, -1)


def span(option: str, text: str) -> timedelta:
    """A span: 90d, 12h."""
    found = _SPAN.fullmatch(text)
    if not found:
        raise click.BadParameter(f"{text!r} is no span such as 90d or 12h", param_hint=option)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _time(option: str, text: str, direction: int) -> datetime:
    """With the zone of this machine where none is given."""
    span = _SPAN.fullmatch(text)
    try:
        if span:
            return datetime.now().astimezone() + direction * timedelta(**{_UNITS[span[2]]: int(span[1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        wanted = "a date (2027-01-31), a time (2027-01-31T12:00) or a span (90d, 12h)"
        raise click.BadParameter(f"{text!r} is not {wanted}", param_hint=option) from error
