"""Waiting for a condition, for the tests of the laptop stack."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import psutil

DEADLINE_SECONDS = 30.0


async def until(condition: Callable[[], bool], what: str) -> None:
    """Return once the condition holds; fail when it does not within the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS:.0f} s in vain until {what}"
        await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def written_number(path: Path) -> int | None:
    """The number in a file, or None while it is not there in full."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else None
