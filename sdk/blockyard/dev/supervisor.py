"""Starts again what has died without being asked to, a little later each time, and says so."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from blockyard.dev.errors import DevelopmentStackError
from blockyard.dev.process import ChildProcess

LOOK_EVERY_SECONDS = 0.25
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# Who has lived so long starts anew at the shortest pause.
SETTLED_SECONDS = 60.0


class Member(Protocol):
    """A process of a stack: PostgreSQL, NATS or a service."""

    @property
    def process(self) -> ChildProcess:
        """The process itself."""

    async def start(self) -> None:
        """Start it and wait until it is of use."""

    async def stop(self) -> None:
        """End it in order."""

    async def kill(self) -> None:
        """End it with SIGKILL."""

    async def restart(self) -> None:
        """Stop it when it runs, and start it."""

    def freeze(self) -> None:
        """SIGSTOP."""

    def thaw(self) -> None:
        """SIGCONT."""


class Supervisor:
    """Watches the members of a stack; those in `excused` were ended on purpose and stay down.

    `report` is told in words, `revived` is called when a member runs again.
    """

    def __init__(
        self,
        members: Mapping[str, Member],
        excused: set[str],
        report: Callable[[str], None],
        revived: Callable[[], None],
    ) -> None:
        self._members = members
        self._excused = excused
        self._report = report
        self._revived = revived
        self._pauses: dict[str, float] = {}
        self._started: dict[str, float] = {}

    async def run(self) -> None:
        """Watch until cancelled. Each member has a watch of its own, so that one's pause delays no other."""
        async with asyncio.TaskGroup() as group:
            for name in self._members:
                group.create_task(self._watch(name), name=f"watch {name}")

    async def _watch(self, name: str) -> None:
        member = self._members[name]
        self._started[name] = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            if not member.process.alive() and name not in self._excused:
                await self._revive(name, member)

    async def _revive(self, name: str, member: Member) -> None:
        lived = time.monotonic() - self._started[name]
        pause = FIRST_PAUSE_SECONDS if lived >= SETTLED_SECONDS else self._pauses.get(name, FIRST_PAUSE_SECONDS)
        self._pauses[name] = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self._report(
            f"{name} ended with exit code {member.process.exit_code}; it is started again in {pause:g} s "
            f"(log: {member.process.log_file})"
        )
        await asyncio.sleep(pause)
        if name in self._excused:
            return
        self._started[name] = time.monotonic()
        try:
            await member.start()
        except DevelopmentStackError as error:
            self._report(str(error))
        else:
            self._revived()
            self._report(f"{name} runs again (process {member.process.pid})")
