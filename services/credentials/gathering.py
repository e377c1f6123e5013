"""Makes one call of many: what comes while a call is under way waits, and goes with the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Gathering(Generic[Item, Answer]):
    """`work` takes the items that have gathered, at most so many, and gives an answer for each, in their order.

    Nobody waits here for longer than the call before theirs and their own take, and `work` has deadlines. How many wait
    is bounded by the calls that the server takes at once.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._news = asyncio.Event()

    async def ask(self, item: Item) -> Answer:
        """The answer for this item; raises what the call with it raised."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._news.set()
        return await future

    async def run(self) -> None:
        """Make calls until it is cancelled."""
        while True:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
            # Whoever has left needs nothing.
            taken = [(item, future) for item, future in taken if not future.done()]
            if taken:
                await self._call(taken)

    async def _call(self, taken: Sequence[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._work([item for item, _ in taken])
        except Exception as error:  # noqa: BLE001  # handed to those who asked, where it is raised again
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        except asyncio.CancelledError:
            for _, future in taken:
                future.cancel()
            raise
        for (_, future), answer in zip(taken, answers, strict=True):
            if not future.done():
                future.set_result(answer)
