"""Many ask, few calls are made, and everybody gets their own answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from services.credentials.gathering import Gathering
from tests.waiting import until


class Work:
    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(items))
        await self.gate.wait()
        if -1 in items:
            raise LookupError("minus one")
        return [item * 10 for item in items]


@asynccontextmanager
async def gathering(work: Work, most: int = 100) -> AsyncIterator[Gathering[int, int]]:
    built = Gathering(work, most)
    running = asyncio.ensure_future(built.run())
    try:
        yield built
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_what_comes_during_a_call_goes_with_the_next_one() -> None:
    work = Work()
    async with gathering(work) as asked:
        first = asyncio.ensure_future(asked.ask(0))
        await until(lambda: work.calls == [[0]], "the first call")
        others = [asyncio.ensure_future(asked.ask(item)) for item in range(1, 6)]
        work.gate.set()
        assert await asyncio.gather(first, *others) == [0, 10, 20, 30, 40, 50]
    assert work.calls == [[0], [1, 2, 3, 4, 5]]


async def test_no_call_takes_more_than_it_may() -> None:
    work = Work()
    work.gate.set()
    async with gathering(work, most=2) as asked:
        assert await asyncio.gather(*map(asked.ask, range(5))) == [0, 10, 20, 30, 40]
    assert [len(call) for call in work.calls] == [2, 2, 1]


async def test_an_error_is_raised_where_it_was_asked_and_the_next_call_is_made() -> None:
    work = Work()
    work.gate.set()
    async with gathering(work, most=2) as asked:
        answers = await asyncio.gather(*map(asked.ask, (-1, 1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LookupError, LookupError, int]


async def test_who_has_left_is_not_asked_for() -> None:
    work = Work()
    async with gathering(work) as asked:
        first = asyncio.ensure_future(asked.ask(0))
        await until(lambda: work.calls == [[0]], "the first call")
        left, stays = asyncio.ensure_future(asked.ask(1)), asyncio.ensure_future(asked.ask(2))
        first.cancel()
        await asyncio.wait({first})
        left.cancel()
        await asyncio.wait({left})
        work.gate.set()
        assert await stays == 20
    assert work.calls == [[0], [2]]


async def test_the_end_leaves_nobody_waiting() -> None:
    work = Work()
    async with gathering(work) as asked:
        waiting = asyncio.ensure_future(asked.ask(0))
        await until(lambda: bool(work.calls), "the call")
    with pytest.raises(asyncio.CancelledError):
        await waiting
