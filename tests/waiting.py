"""Waiting for a condition with a deadline: the one place where tests poll."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

PAUSE_SECONDS = 0.01


@overload
async def until(condition: Callable[[], Awaitable[T]], what: str, seconds: float = ...) -> T: ...
@overload
async def until(condition: Callable[[], T], what: str, seconds: float = ...) -> T: ...
async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> object:
    """The condition's first true answer, which may be awaited; fails when there is none within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer = condition()
                if inspect.isawaitable(answer):
                    answer = await answer
                if answer:
                    return answer
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise AssertionError(f"did not happen in {seconds:g} s: {what}") from None
