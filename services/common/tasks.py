"""The end of tasks of asyncio."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 1.0
"""A task that has not ended so long after it was cancelled is cancelled again."""


async def end(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancels tasks until they have ended, however they do: what they fail with is for others to tell.

    A cancel may be lost: `asyncio.wait_for` of Python 3.11, in which libraries wait, hands on the answer or the error
    that came at the same moment instead (python/cpython#86296), and a loop around it goes on.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
