"""Delays between attempts: they grow, have an upper limit, and carry jitter so that many waiters spread out."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import structlog

log = structlog.stdlib.get_logger(__name__)

AnswerT = TypeVar("AnswerT")


def delays(first: float = 0.1, longest: float = 5.0) -> Iterator[float]:
    """Endless delays in seconds, each between half and the whole of twice the one before."""
    step = first
    while True:
        yield random.uniform(step / 2, step)
        step = min(step * 2, longest)


async def patiently(ask: Callable[[], Awaitable[AnswerT]], *passing: type[Exception]) -> AnswerT:
    """The answer of a call, asked again for as long as it raises what passes by itself."""
    for pause in delays():
        try:
            return await ask()
        except passing as error:
            log.warning("what is needed is away, it is asked again", reason=str(error) or type(error).__name__)
            await asyncio.sleep(pause)
    raise AssertionError("delays never end")
