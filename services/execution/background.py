"""Work of an owner that nobody waits for: it ends with the owner, and what fails ends the owner."""

import asyncio
from collections.abc import Coroutine


class Background:
    """Tasks on the side."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, work: Coroutine[None, None, None], name: str) -> "asyncio.Task[None]":
        """Does some work on the side."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def failure(self) -> None:
        """Raises what a task fails with, as soon as one does."""
        await asyncio.shield(self._failed)

    def cancel(self) -> None:
        """Ends all that is under way."""
        for task in self._tasks:
            task.cancel()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)
