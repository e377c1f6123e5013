"""Which weeks there are charges of. Charges lie by the week in which their execution was started."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

WEEK = timedelta(weeks=1)
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday: weeks begin at whole ones from here."""
AHEAD = timedelta(weeks=4)
GRACE = timedelta(days=1)
"""A week is dropped so much later than its last charge is taken, so that nobody meets a week that has just gone."""


_EPOCH_MILLISECONDS = round(EPOCH.timestamp() * 1000)
_WEEK_MILLISECONDS = WEEK // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class KeptWeeks:
    """For how long charges are kept, and so up to which age they can be counted once."""

    days: float

    def taken(self, now: datetime) -> range:
        """Numbers of the weeks of which charges are taken: neither past retention nor further ahead than a clock can be
        wrong."""
        return range((now - timedelta(days=self.days) - EPOCH) // WEEK, (now + AHEAD - EPOCH) // WEEK + 1)

    def is_past(self, week: datetime, now: datetime) -> bool:
        """Whether a week may go."""
        return week + WEEK + GRACE <= now - timedelta(days=self.days)

    def first(self, now: datetime) -> datetime:
        """The oldest week that is not past."""
        return week_of(now - timedelta(days=self.days) - GRACE)

    @staticmethod
    def needed(now: datetime) -> list[datetime]:
        """The weeks that are made ahead of need."""
        first = week_of(now) - WEEK
        return [first + number * WEEK for number in range(AHEAD // WEEK + 2)]


def week_of(moment: datetime) -> datetime:
    """When the week of a moment begins."""
    return EPOCH + (moment - EPOCH) // WEEK * WEEK


def week_number(execution_id: UUID) -> int:
    """The week in which an execution was started, by its id, which is a UUIDv7; counted from the epoch."""
    return ((execution_id.int >> 80) - _EPOCH_MILLISECONDS) // _WEEK_MILLISECONDS


def week_at(number: int) -> datetime:
    """When the week with a number begins."""
    return EPOCH + number * WEEK
