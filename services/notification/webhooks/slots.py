"""How many requests to endpoints are under way from here, of all users and of each one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """A user has a quarter of all at most, so that the slow endpoints of one leave room for those of others."""

    def __init__(self, most: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._per_user = max(1, most // 4)
        self._waiting: Counter[str] = Counter()
        self._users: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def taken(self, user_id: str) -> AsyncIterator[None]:
        """One of them, for as long as the block lasts. Who waits is served in the order of asking."""
        own = self._users.setdefault(user_id, asyncio.Semaphore(self._per_user))
        self._waiting[user_id] += 1
        try:
            # The user's own first: who waits for that holds nobody up.
            async with own, self._all:
                yield
        finally:
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id], self._users[user_id]
