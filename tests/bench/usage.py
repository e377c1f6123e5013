"""What processes of the stack use: processor time by name, and memory of one of them over a while."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil
from blockyard.dev.stack import Stack

LOOK_SECONDS = 0.05
CLIENT = "bench client"


def processor_seconds(stack: Stack) -> dict[str, float]:
    """Processor time so far, of each process of the stack with its children, and of this one."""
    used = {name: _family_seconds(stack.process(name).family()) for name in stack.names()}
    own = psutil.Process(os.getpid()).cpu_times()
    return {**used, CLIENT: own.user + own.system}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was used in between."""
    return {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}


def resident_bytes(stack: Stack, name: str) -> int:
    """Memory of a process of the stack with its children (RSS)."""
    return sum(int(process.memory_info().rss) for process in stack.process(name).family())


def _family_seconds(family: list[psutil.Process]) -> float:
    seconds = 0.0
    for process in family:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # With those of its children that have ended: PostgreSQL's come and go.
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@dataclass(slots=True, eq=False)
class Peak:
    """The most memory that was seen."""

    before: int
    most: int


@asynccontextmanager
async def peak_memory(stack: Stack, name: str) -> AsyncIterator[Peak]:
    """Watches a process's memory for as long as the block lasts."""
    now = resident_bytes(stack, name)
    peak = Peak(now, now)

    async def look() -> None:
        while True:
            peak.most = max(peak.most, resident_bytes(stack, name))
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look(), name="memory")
    try:
        yield peak
    finally:
        looking.cancel()
        await asyncio.wait((looking,))
        peak.most = max(peak.most, resident_bytes(stack, name))
