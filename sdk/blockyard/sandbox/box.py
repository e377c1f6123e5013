"""One running sandbox: its processes, the pipes to it, and its folders, held from outside of what runs in it.

How the first program inside is started, held and killed is a matter of the ways to make a sandbox: each has a `Box` of
its own (`BubblewrapBox`, `ContainerBox`).
"""

import asyncio
import json
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from blockyard.sandbox import collecting, usage
from blockyard.sandbox.capture import Capture
from blockyard.sandbox.errors import SandboxUnavailable
from blockyard.sandbox.program import End, Limits

START_SECONDS = 30.0
KILL_SECONDS = 5.0
WATCH_SECONDS = 0.05
_REPORT_LIMIT = 1 << 20
_SETUP_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Pipes:
    """The ends that the sandbox gets."""

    go: int
    report: int
    stdout: int
    stderr: int
    setup_output: int


class Box(ABC):
    """Made by `async with`; whatever happens inside of that, its processes are dead afterwards."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.changed = asyncio.Event()
        self.stdout = Capture(limits.output, self.changed)
        self.stderr = Capture(limits.output, self.changed)
        self.setup_output = Capture(_SETUP_LIMIT, self.changed)
        self.report = Capture(_REPORT_LIMIT, self.changed)
        self.work = self.result = self.proc = -1
        self.process: subprocess.Popen[bytes] | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._go = -1
        self._receiving: list[int] = []
        self._held = ExitStack()
        self._given = ExitStack()
        self.pipes = self._given_pipes()

    @abstractmethod
    def hold(self) -> None:
        """Opens `proc`, `work` and `result` once it is sure that the program is held.

        Raises SandboxUnavailable or OSError.
        """

    @abstractmethod
    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kills all of its processes, of which `process` is the one that was begun."""

    @abstractmethod
    def notice_end(self, process: subprocess.Popen[bytes]) -> None:
        """Has `has_ended` called when that process has ended."""

    @abstractmethod
    def refusal(self, reason: str) -> str:
        """The sentence for a sandbox that could not be set up for this reason, with what to do."""

    @abstractmethod
    def refusal_inside(self, reason: str) -> str:
        """The sentence for one that the first program inside refused."""

    async def __aenter__(self) -> "Box":
        return self

    async def __aexit__(self, *exception: object) -> None:
        try:
            await self.stop()
        finally:
            for capture in self._captures():
                capture.close()
            for descriptor in self._receiving:
                os.close(descriptor)
            self._given.close()
            self._held.close()

    async def begin(self, begin: Callable[[], subprocess.Popen[bytes]]) -> None:
        """Begins it, up to where the program inside waits for `go`. Raises SandboxUnavailable."""
        await self._connect()
        try:
            self.process = begin()
        except (OSError, subprocess.SubprocessError) as error:
            raise SandboxUnavailable(self.refusal(str(error))) from error
        self._given.close()
        self.notice_end(self.process)
        await self._ready()

    def has_ended(self) -> None:
        """The process that was begun has ended."""
        self.changed.set()
        if not self.ended.done():
            self.ended.set_result(None)

    def go(self) -> None:
        """The program may run: looks first whether it is held as it should be. Raises SandboxUnavailable."""
        try:
            self.hold()
        except OSError as error:
            raise SandboxUnavailable(self.refusal(str(error))) from error
        self.stdout.content.clear()
        self.stderr.content.clear()
        os.write(self._go, b"g")

    async def watch(self) -> End:
        """Waits until the program has ended by itself, or must be ended for the reason given."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.limits.seconds
        while not self.ended.done():
            # Not woken by what it writes: a program that writes a lot would have itself watched all the time.
            await asyncio.wait([self.ended], timeout=WATCH_SECONDS)
            if self._overflowed():
                return End.TOO_MUCH_OUTPUT
            if self.ended.done():
                break
            if loop.time() >= deadline:
                return End.OUT_OF_TIME
            if usage.threads(self.proc) > self.limits.processes:
                return End.TOO_MANY_PROCESSES
            if usage.memory_above(self.proc, self.limits.memory):
                return End.OUT_OF_MEMORY
            if collecting.entries_in(self.work) > self.limits.folder_entries:
                return End.TOO_MANY_FILES
        await self._drained()
        return End.TOO_MUCH_OUTPUT if self._overflowed() else End.EXITED

    async def stop(self) -> None:
        """Kills what is left of it, and waits until all of that is dead and all of its output is here."""
        if self.process is None:
            return
        self.kill(self.process)
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                await asyncio.shield(self.ended)
        if not self.ended.done():
            self.process.kill()
            await asyncio.shield(self.ended)
        await self._drained()

    def messages(self) -> list[dict[str, Any]]:
        """What the first program inside has reported. The code can write there too, so it may be anything."""
        found = []
        for line in bytes(self.report.content).splitlines():
            with suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict):
                    found.append(message)
        return found

    def _overflowed(self) -> bool:
        return any(capture.overflowed for capture in self._captures())

    def _captures(self) -> tuple[Capture, ...]:
        return self.stdout, self.stderr, self.setup_output, self.report

    def _given_pipes(self) -> Pipes:
        reading, writing = os.pipe()
        self._go = self.held_open(writing)
        return Pipes(self.given_away(reading), self._outgoing(), self._outgoing(), self._outgoing(), self._outgoing())

    def _outgoing(self) -> int:
        reading, writing = os.pipe()
        self._receiving.append(reading)
        return self.given_away(writing)

    async def _connect(self) -> None:
        for capture in (self.report, self.stdout, self.stderr, self.setup_output):
            await capture.connect(self._receiving.pop(0))

    def held_open(self, descriptor: int) -> int:
        """Closed at the end."""
        self._held.callback(os.close, descriptor)
        return descriptor

    def given_away(self, descriptor: int) -> int:
        """Closed here once the sandbox has it."""
        self._given.callback(os.close, descriptor)
        return descriptor

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not self.messages():
                    if self.ended.done():
                        await self._drained()
                        raise SandboxUnavailable(self.refusal(_last_line(self.stderr.text())))
                    await self.changed.wait()
                    self.changed.clear()
            if refused := self.messages()[0].get("refused"):
                raise SandboxUnavailable(self.refusal_inside(str(refused)))
        except TimeoutError:
            raise SandboxUnavailable(f"the sandbox was not ready within {START_SECONDS:g} seconds") from None

    async def _drained(self) -> None:
        # All who could write are dead, so the pipes' ends are near.
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                while not all(capture.ended for capture in self._captures()):
                    await self.changed.wait()
                    self.changed.clear()


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "it ended at once"
