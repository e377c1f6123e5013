"""How many streams each user has open here: a bound keeps one user's ten thousand from being everybody's."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.common.identity import current_caller
from services.notification.errors import TooManySubscriptions


class Places:
    """Streams of all kinds, on this replica."""

    def __init__(self, per_user: int) -> None:
        self._per_user = per_user
        self._taken: Counter[str] = Counter()

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
