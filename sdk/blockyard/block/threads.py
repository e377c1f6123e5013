"""Drives a plain generator in a thread, and gives its items to the event loop as they come."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import TypeVar

ItemT = TypeVar("ItemT")

# Items that a generator may be ahead of whoever takes them.
MAX_AHEAD = 64


class _End:
    """Put behind the last item; carries what the generator raised, if anything."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


async def iterate_in_thread(start: Callable[[], Iterator[ItemT]]) -> AsyncGenerator[ItemT, None]:
    """The items of the generator that `start` makes. All of it runs in one thread.

    Closed early, it returns at once; the generator ends at its next yield.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[ItemT | _End] = asyncio.Queue()
    ahead = threading.Semaphore(MAX_AHEAD)
    closed = threading.Event()

    def tell(item: ItemT | _End) -> None:
        # The loop may have ended while a thread that nobody waits for any more went on.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(items.put_nowait, item)

    def drive() -> None:
        try:
            for item in start():
                ahead.acquire()
                if closed.is_set():
                    break
                tell(item)
        except BaseException as error:  # noqa: BLE001 - carried over to the event loop, where it is raised again
            tell(_End(error))
        else:
            tell(_End(None))

    # Log fields and the trace go along.
    carried = contextvars.copy_context()
    threading.Thread(target=lambda: carried.run(drive), name="block", daemon=True).start()
    try:
        while not isinstance(item := await items.get(), _End):
            ahead.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closed.set()
        ahead.release()
