"""Runs cpu-bound blocks in processes of our own: used again, killed where a run is given up, made anew when needed."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

import orjson
import structlog
from blockyard.block import Context

from services.runner import metering
from services.runner.forks import Fork, Template, TemplateLost
from services.runner.frames import NO_RUN, PREFIX, Frame, Kind, pack, unpack
from services.runner.outcomes import BlockFailed
from services.runner.outputs import Encoded
from services.runner.process_worker import MODULE
from services.runner.runs import Run

START_SECONDS = 60.0
MOST_TRIES = 2
"""Processes that a run is given to, at most, when they die before they begin with it."""

log = structlog.stdlib.get_logger(__name__)


class ProcessDied(Exception):
    """The process that the block ran in ended."""


class AnsweredForAnother(Exception):
    """The process of the block answered for another run, and was ended."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class NotBegun(Exception):
    """No process took the run: nothing of the block has happened."""


class _Program:
    """A process that was started as a program of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, connection: socket.socket, arguments: Sequence[str]) -> "_Program":
        """Start one that speaks over this socket."""
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", MODULE, str(connection.fileno()), str(os.getpid()), *arguments),
                pass_fds=(connection.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
            )
        )

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended; negative, the signal that killed it."""
        return self._process.returncode

    def kill(self) -> None:
        """End it at once, whatever it does, and what its blocks have started."""
        if self.code is None:
            # Only then: once it is gone for a while, its id may be another's.
            self._kill_group()
        with suppress(ProcessLookupError):
            self._process.kill()

    async def wait(self) -> int:
        """Wait for its end; answers the exit code."""
        code = await self._process.wait()
        self._kill_group()
        return code

    def _kill_group(self) -> None:
        # There is none before the process has made it, nor once all in it have ended.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class _Process:
    """One process and the socket to it."""

    def __init__(
        self,
        process: Fork | _Program,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: socket.socket,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._run = NO_RUN
        self._watching = asyncio.create_task(self._watch(connection), name="end of a process for blocks")

    @classmethod
    async def start(cls, template: Template | None, arguments: Sequence[str]) -> "_Process":
        """Start one and wait until its blocks are loaded."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await _copy_or_program(template, theirs, arguments)
        reader, writer = await asyncio.open_connection(sock=ours)
        started = cls(process, reader, writer, ours)
        try:
            async with asyncio.timeout(START_SECONDS):
                await started.receive()
        except BaseException:
            await started.kill()
            raise
        return started

    @property
    def alive(self) -> bool:
        return self._process.code is None

    async def send(self, run: int, frame: bytes) -> None:
        """Give it a run: all that it says from now on is about this one."""
        self._run = run
        try:
            self._writer.write(frame)
            await self._writer.drain()
        except OSError as error:
            raise ProcessDied(await self._epitaph()) from error

    async def receive(self) -> Frame:
        """What it says next."""
        try:
            kind, run, header, body = PREFIX.unpack(await self._reader.readexactly(PREFIX.size))
            if run != self._run:
                raise AnsweredForAnother
            return unpack(kind, run, await self._reader.readexactly(header), await self._reader.readexactly(body))
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ProcessDied(await self._epitaph()) from error

    async def kill(self) -> None:
        """End it at once, whatever it does, and what its blocks have started."""
        self._process.kill()
        self._writer.close()
        await asyncio.wait({self._watching})

    async def _watch(self, connection: socket.socket) -> None:
        """Have its end read as the end of what it says, after all that it has said: a copy may keep the socket open."""
        await self._process.wait()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RD)

    async def _epitaph(self) -> str:
        self._writer.close()
        code = await self._process.wait()
        how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"the process of the block was {how}" if code < 0 else f"the process of the block {how}"


async def _copy_or_program(
    template: Template | None, connection: socket.socket, arguments: Sequence[str]
) -> Fork | _Program:
    if template is not None:
        with suppress(TemplateLost):
            return await template.fork(connection)
    return await _Program.start(connection, arguments)


class Processes:
    """At most `limit` runs at once; further ones wait.

    New processes are copies of the template; without one, programs of their own with these arguments.
    """

    def __init__(self, limit: int, template: Template | None, arguments: Sequence[str]) -> None:
        self._free = asyncio.Semaphore(limit)
        self._template = template
        self._arguments = arguments
        self._idle: list[_Process] = []
        self._endings: set[asyncio.Task[None]] = set()

    async def warm(self) -> None:
        """Have one ready, so that the first run does not wait for its start."""
        try:
            self._idle.append(await _Process.start(self._template, self._arguments))
        except (ProcessDied, TimeoutError, OSError) as error:
            log.warning("a process for cpu-bound blocks does not start", error=str(error))

    async def outputs(self, run: Run, inputs: dict[str, Any], context: Context | None) -> AsyncGenerator[Encoded, None]:
        """The run's outputs. Closed early, it kills the process."""
        async with self._free:
            leased = run.leased
            header = {
                "block": run.block.id,
                "credentials": leased.given if leased is not None else None,
                "secrets": sorted(leased.texts) if leased is not None else [],
                "context": context.plain() if context is not None else None,
                "selectors": list(run.task.selectors),
            }
            process = await self._begin(run.run_id, pack(Kind.RUN, run.run_id, header, orjson.dumps(inputs)))
            metering.begins(run)
            done = False
            try:
                while True:
                    frame = await process.receive()
                    if frame.kind is Kind.OUTPUT:
                        yield frame.header[0], frame.header[1], frame.body
                        continue
                    done = True
                    if context is not None:
                        context.stats.update(frame.header["stats"])
                    if frame.kind is Kind.FAILED:
                        raise BlockFailed(frame.header["reason"], frame.header["error"])
                    return
            finally:
                if done:
                    self._idle.append(process)
                else:
                    self._end(process)

    async def close(self) -> None:
        """End those that have nothing to do, and wait for those that were killed."""
        for process in self._idle:
            await process.kill()
        self._idle.clear()
        if self._endings:
            await asyncio.wait(self._endings)
        if self._template is not None:
            self._template.close()

    async def _begin(self, run: int, request: bytes) -> _Process:
        """A process that has begun with the run."""
        trouble = ""
        for _ in range(MOST_TRIES):
            try:
                process = await self._process()
            except (ProcessDied, TimeoutError, OSError) as error:
                trouble = str(error) or "the process of the block did not start in time"
                continue
            begun = False
            try:
                await process.send(run, request)
                await process.receive()
                begun = True
                return process
            except ProcessDied as error:
                trouble = str(error)
            finally:
                if not begun:
                    self._end(process)
        raise NotBegun(f"the block could not begin: {trouble}")

    def _end(self, process: _Process) -> None:
        # Not awaited here: whoever is being cancelled has no time.
        ending = asyncio.get_running_loop().create_task(process.kill())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _process(self) -> _Process:
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
        return await _Process.start(self._template, self._arguments)
