"""What runs share: one HTTP client or database pool for all runs of a runner, opened by the first that asks for it.

Each resource is opened and closed in a task of its own, since what is inside it (a task group, a cancel scope) may have
to be left by the task that entered it, and the run that opened it may be cancelled while others wait for it.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias, TypeVar, cast

from blockyard.block.errors import BlockError

ResourceT = TypeVar("ResourceT")

CLOSE_SECONDS = 10.0
"""A resource that takes longer to close is given up."""

Factory: TypeAlias = Callable[[], AbstractAsyncContextManager[ResourceT]]


class ResourcesClosed(BlockError):
    """The runner is stopping, and opens nothing any more."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class _Opened:
    """One resource, from its opening to its close."""

    def __init__(self, factory: Factory[Any], name: str) -> None:
        self.ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        # An empty context: log fields and the trace of the run that asks first are not the resource's.
        self._keeper = asyncio.create_task(self._keep(factory), name=name, context=contextvars.Context())

    async def _keep(self, factory: Factory[Any]) -> None:
        try:
            async with factory() as resource:
                self.ready.set_result(resource)
                await self._closing.wait()
        except BaseException as error:
            if self.ready.done():
                raise
            # Whoever waits raises it: it is the runs' error, and the next run opens the resource anew.
            self.ready.set_exception(error if isinstance(error, Exception) else ResourcesClosed())
            # If nobody waits any more, it is nobody's error.
            self.ready.exception()

    async def close(self) -> None:
        """Close it; one that is still being opened is given up."""
        self._closing.set()
        if not self.ready.done():
            self._keeper.cancel()
        await self._keeper


class Resources:
    """The resources of one runner, by key; an async context manager that closes them, the last opened first.

    All runs and the close are on one event loop.
    """

    def __init__(self) -> None:
        self._opened: dict[Hashable, _Opened] = {}
        self._closed = False

    async def __aenter__(self) -> "Resources":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def get(self, factory: Factory[ResourceT], key: Hashable = None) -> ResourceT:
        """What `factory` opens, the same for all that ask by this key (the factory itself if None).

        Those that ask while it is opened wait for the one opening. If that fails, all of them fail with its error, and
        the next one opens it anew.
        """
        if self._closed:
            raise ResourcesClosed
        key = factory if key is None else key
        opened = self._opened.get(key)
        if opened is None:
            opened = self._opened[key] = _Opened(factory, name=f"resource {key!r}"[:100])
            opened.ready.add_done_callback(lambda ready: self._drop_failed(key, ready))
        # A run that is cancelled leaves the opening to the others.
        return cast("ResourceT", await asyncio.shield(opened.ready))

    async def aclose(self) -> None:
        """Close all. What fails to close is raised, as a group, after all others are closed."""
        self._closed = True
        errors: list[Exception] = []
        while self._opened:
            _, opened = self._opened.popitem()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await opened.close()
            except Exception as error:  # noqa: BLE001 - a third party's; raised below
                errors.append(error)
        if errors:
            raise ExceptionGroup("resources that could not be closed", errors)

    def _drop_failed(self, key: Hashable, ready: asyncio.Future[Any]) -> None:
        if ready.cancelled() or ready.exception() is not None:
            self._opened.pop(key, None)


@asynccontextmanager
async def shared(
    resources: Resources | None, factory: Factory[ResourceT], key: Hashable = None
) -> AsyncIterator[ResourceT]:
    """The runner's resource; where there is no runner, as in a test of a block, one that is opened for this alone."""
    if resources is not None:
        yield await resources.get(factory, key)
        return
    async with factory() as resource:
        yield resource
