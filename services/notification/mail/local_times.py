"""When it is next a certain hour where a user lives."""

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo


def next_hour(after: datetime, zone: str, hour: int, day: int | None = None) -> datetime:
    """The first moment after another at which it is this hour in the zone, on this day of the week if one is given
    (1 is Monday).

    Each local day has one: an hour that a change of clocks leaves out is taken at the moment of the change, and of one
    that comes twice the first counts.
    """
    where = zone_of(zone)
    local = after.astimezone(where).date() - timedelta(days=1)
    while True:
        if day is None or local.isoweekday() == day:
            moment = datetime.combine(local, time(hour), where).astimezone(UTC)
            if moment > after:
                return moment
        local += timedelta(days=1)


@lru_cache(maxsize=1_000)
def zone_of(name: str) -> ZoneInfo:
    """The zone with this name; UTC for one that is not known here, as databases of zones differ in age."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")
