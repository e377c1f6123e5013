"""Which time zones there are: names that mean the same on every machine."""

from functools import cache
from zoneinfo import available_timezones

_OF_THE_MACHINE = {"localtime"}
"""Beside the zones of the IANA database lies a link to the one that the machine is set to."""


@cache
def time_zones() -> frozenset[str]:
    """All names of the IANA database. The first call reads a folder of files."""
    return frozenset(available_timezones() - _OF_THE_MACHINE)
