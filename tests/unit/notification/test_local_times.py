"""When a digest is due: at its hour where the user lives, once a local day, on the two days of the year as well."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from services.notification.mail.local_times import next_hour


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "zone", "hour", "day", "due"),
    [
        ("2026-11-22 06:59", "", 7, None, "2026-11-22 07:00"),
        ("2026-11-22 07:00", "", 7, None, "2026-11-23 07:00"),
        ("2026-11-22 06:00", "Europe/Berlin", 8, None, "2026-11-22 07:00"),
        ("2026-07-22 05:00", "Europe/Berlin", 8, None, "2026-07-22 06:00"),
        # Far from Greenwich the local day is another one.
        ("2026-11-22 22:00", "Pacific/Kiritimati", 8, None, "2026-11-23 18:00"),
        ("2026-11-22 05:00", "Pacific/Pago_Pago", 20, None, "2026-11-22 07:00"),
        ("2026-11-22 00:00", "Asia/Kathmandu", 8, None, "2026-11-22 02:15"),
        # The hour that is left out, and the one that comes twice.
        ("2026-03-28 12:00", "Europe/Berlin", 2, None, "2026-03-29 01:00"),
        ("2026-10-24 12:00", "Europe/Berlin", 2, None, "2026-10-25 00:00"),
        ("2026-10-25 00:30", "Europe/Berlin", 2, None, "2026-10-26 01:00"),
        # 2026-11-22 is a Sunday.
        ("2026-11-22 12:00", "Europe/Berlin", 8, 1, "2026-11-23 07:00"),
        ("2026-11-22 06:00", "Europe/Berlin", 8, 7, "2026-11-22 07:00"),
        ("2026-11-22 08:00", "Europe/Berlin", 8, 7, "2026-11-29 07:00"),
        ("2026-11-22 12:00", "Atlantis/Capital", 8, None, "2026-11-23 08:00"),
        ("2026-11-22 12:00", "../etc/passwd", 8, None, "2026-11-23 08:00"),
    ],
)
def test_the_next_digest_is_at_its_local_hour(after: str, zone: str, hour: int, day: int | None, due: str) -> None:
    assert next_hour(utc(after), zone, hour, day) == utc(due)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Beirut", "UTC"])
@pytest.mark.parametrize("hour", [0, 1, 2, 3, 8, 23])
def test_a_year_has_one_digest_for_each_local_day(zone: str, hour: int) -> None:
    moment, end, due = utc("2025-12-31 12:00"), utc("2026-12-31 11:00"), []
    while moment < end:
        moment = next_hour(moment, zone, hour)
        due.append(moment)

    gaps = {after - before for before, after in pairwise(due)}
    assert len(due) in (365, 366)
    assert gaps <= {timedelta(hours=24 + part / 2) for part in (-2, -1, 0, 1, 2)}
