"""How many calls a user may make in a time: the generic cell rate algorithm (GCRA), which needs one number a user.

A limit lets a burst through at once, and then calls at an even pace. Nothing here knows the time: it is an argument.
"""

import math
import re
from collections import OrderedDict
from dataclasses import dataclass, replace

MOST_USERS = 100_000
"""Remembered for each limit; the least recently seen falls out, and then has its whole burst again."""

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_RATE = re.compile(r"(\d{1,9})\s*/\s*(second|minute|hour)(?:\s+burst\s+(\d{1,9}))?")
RATE_RULE = 'expected "<calls>/<second|minute|hour>", with " burst <calls>" after it if bursts shall differ'


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in so many seconds, and so many of them at once."""

    calls: int
    seconds: float
    burst: int

    @property
    def interval(self) -> float:
        """Seconds between two calls of an even pace."""
        return self.seconds / self.calls

    def shared(self, replicas: int) -> "Rate":
        """The part of each of so many replicas. A call in a while is left to each, however many there are."""
        return replace(self, seconds=self.seconds * replicas, burst=max(1, self.burst // replicas))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call may go on, and what is left after it."""

    allowed: bool
    limit: int
    """Calls at once."""
    remaining: int
    """Calls that may follow at once."""
    reset: float
    """Seconds until all of them may."""
    retry_after: float
    """Seconds until the next call is allowed; 0 if this one was."""

    @property
    def reset_seconds(self) -> int:
        """`reset` in whole seconds. What sums of times lose does not make it one more."""
        return math.ceil(self.reset - 1e-6)


class RateLimit:
    """One limit, for each user apart."""

    def __init__(self, rate: Rate, most_users: int = MOST_USERS) -> None:
        self._interval = rate.interval
        self._burst = rate.burst
        self._most_users = most_users
        # When the user will have their whole burst again, in the seconds of the clock that take() is given.
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    def take(self, user_id: str, now: float) -> Verdict:
        """Count a call of a user; one that is refused counts for nothing."""
        whole_at = max(self._whole_at.get(user_id, now), now)
        room = self._burst * self._interval - (whole_at - now)
        # A millionth of a call: what repeated additions lose must not refuse the last call of a burst.
        if room < self._interval * (1 - 1e-6):
            return Verdict(False, self._burst, 0, whole_at - now, self._interval - room)
        self._whole_at[user_id] = whole_at + self._interval
        self._whole_at.move_to_end(user_id)
        if len(self._whole_at) > self._most_users:
            self._whole_at.popitem(last=False)
        remaining = math.floor(room / self._interval - 1 + 1e-6)
        return Verdict(True, self._burst, remaining, whole_at + self._interval - now, 0.0)

    def __len__(self) -> int:
        return len(self._whole_at)


def parse_rate(text: str) -> Rate | None:
    """The rate that a setting names; None for an empty one, which limits nothing. Raises ValueError."""
    if not text.strip():
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{RATE_RULE}, got {text[:60]!r}")
    calls, burst = int(found[1]), int(found[3] or found[1])
    if not calls or not burst:
        raise ValueError(f"{RATE_RULE}; at least 1 call")
    return Rate(calls, _SECONDS[found[2]], burst)
