"""The runner's side of its template: has copies of it made, and knows of each when it has ended, and how."""

import asyncio
import os
import signal
import socket
from collections import deque
from contextlib import suppress

import structlog

from services.runner.template import FORK, MESSAGE, Said

ANSWER_SECONDS = 5.0
"""A template that does not answer for so long is given up: a block may have stopped it."""

log = structlog.stdlib.get_logger(__name__)


class TemplateLost(Exception):
    """There is no template any more: new processes are started as programs, which takes a second or so each."""


class Fork:
    """A copy of the template. It has ended once `code` is set, and all that was in its group with it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        """Becomes readable with its end."""
        self._ended = asyncio.Event()
        self.code: int | None = None
        """The exit code; negative, the signal that killed it."""

    def kill(self) -> None:
        """End it at once, whatever it does, and what its blocks have started."""
        if self.code is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end; answers the exit code."""
        await self._ended.wait()
        assert self.code is not None
        return self.code

    def ends(self, code: int) -> None:
        """It has ended."""
        self.code = code
        asyncio.get_running_loop().remove_reader(self.descriptor)
        os.close(self.descriptor)
        self._ended.set()


class Template:
    """The template, for as long as it lives."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self._pid = pid
        self._connection = connection
        self._connection.setblocking(False)
        self._waiting: deque[asyncio.Future[Fork]] = deque()
        self._forks: dict[int, Fork] = {}
        self._listening = False
        self.alive = True

    async def fork(self, connection: socket.socket) -> Fork:
        """A new copy, which speaks over this socket. Raises TemplateLost, or OSError if it cannot be forked now."""
        if not self.alive:
            raise TemplateLost
        if not self._listening:
            self._listening = True
            asyncio.get_running_loop().add_reader(self._connection, self._listen)
        answer = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._connection, [FORK], [connection.fileno()])
            self._waiting.append(answer)
            async with asyncio.timeout(ANSWER_SECONDS):
                fork: Fork = await answer
                return fork
        except (OSError, TimeoutError) as error:
            if answer.done() and not answer.cancelled():
                raise
            self._lose(str(error) or f"it has not answered for {ANSWER_SECONDS:.0f} s")
            raise TemplateLost from error

    def close(self) -> None:
        """End it, and with it its copies."""
        if self.alive:
            self._end()

    def _listen(self) -> None:
        while self.alive:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._connection, MESSAGE.size, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError as error:
                return self._lose(str(error))
            if not data:
                return self._lose("it has ended")
            said, pid, number = MESSAGE.unpack(data)
            self._hear(Said(said), pid, number, descriptors)

    def _hear(self, said: Said, pid: int, number: int, descriptors: list[int]) -> None:
        if said is Said.ENDED:
            self._forks.pop(pid).ends(number)
            return
        answer = self._waiting.popleft()
        if said is Said.FAILED:
            if not answer.done():
                answer.set_exception(OSError(number, os.strerror(number)))
            return
        fork = self._forks[pid] = Fork(descriptors[0])
        asyncio.get_running_loop().add_reader(fork.descriptor, self._expect_end, pid)
        if answer.done():
            fork.kill()  # Whoever asked was cancelled meanwhile.
        else:
            answer.set_result(fork)

    def _expect_end(self, pid: int) -> None:
        """It has ended: the template will tell how. If it does not, it tells nothing any more."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._forks[pid].descriptor)
        loop.call_later(ANSWER_SECONDS, self._miss_end, self._forks[pid])

    def _miss_end(self, fork: Fork) -> None:
        if fork.code is None:
            self._lose(f"it has not told of an end for {ANSWER_SECONDS:.0f} s")

    def _lose(self, reason: str) -> None:
        if self.alive:
            log.warning("the template of processes for blocks is lost: new ones start slower", reason=reason)
            self._end()

    def _end(self) -> None:
        self.alive = False
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._connection)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        # At once: it is killed, and nothing but the kernel's work is waited for.
        os.waitpid(self._pid, 0)
        self._connection.close()
        # The kernel ends them with the template, and nobody else what their blocks have started.
        for pid, fork in self._forks.items():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            fork.ends(-signal.SIGKILL)
        self._forks.clear()
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(TemplateLost())
        self._waiting.clear()
