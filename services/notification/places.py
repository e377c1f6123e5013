"""How many streams are open here: a bound for each user keeps one's ten thousand from being everybody's, and a bound
for all keeps memory in sight.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.common.identity import current_caller
from services.notification.errors import TooManyConnections, TooManySubscriptions


class Places:
    """Streams of all kinds, on this replica."""

    def __init__(self, per_user: int, connections: int) -> None:
        self._per_user = per_user
        self._taken: Counter[str] = Counter()
        self._connections = connections
        self._connected = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One of the caller's places, for as long as the block lasts; raises TooManySubscriptions."""
        user_id = current_caller().user_id
        if self._taken[user_id] >= self._per_user:
            raise TooManySubscriptions(f"{user_id} has {self._per_user} subscriptions open here. End some of them.")
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]

    @contextmanager
    def connected(self) -> Iterator[None]:
        """A connection over HTTP, whoever it is, for as long as the block lasts; raises TooManyConnections."""
        if self._connected >= self._connections:
            raise TooManyConnections
        self._connected += 1
        try:
            yield
        finally:
            self._connected -= 1
