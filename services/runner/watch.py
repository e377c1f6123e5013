"""Watches for a run that holds the event loop, and ends it: Python code by an exception, the rest by the supervisor.

Each step of a block in the event loop is marked, here and in memory shared with the supervisor. A thread looks at the
mark; after `seconds`, or the run's own timeout, it has EventLoopHeld raised in whatever the block is doing. That cannot
reach a block that hangs in C code: for such a one the supervisor kills the process, and the next one tells of it
(supervisor.py). Looks are counted, and not time alone: a process that was stopped for a while finds nobody guilty.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from types import FrameType
from typing import Any, TypeVar

from services.runner.casualty import Mark
from services.runner.copies import end_copy
from services.runner.runs import Run

LOOKS = 16
"""In the time that a step may take."""

Answer = TypeVar("Answer")


class EventLoopHeld(BaseException):
    """Raised in a block that held the event loop for too long. No ordinary handler of the block catches it."""


class EventLoopWatch:
    """Knows which run is being stepped at the moment."""

    def __init__(self, seconds: float, mark: Mark) -> None:
        self.seconds = seconds
        self._mark = mark
        self._run: Run | None = None
        self._since = 0.0
        self._process = os.getpid()
        self._condemned = 0.0
        """Beginning of the step that is to be ended."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="event loop watch", daemon=True)

    def start(self) -> None:
        """Begin to watch; from the main thread, where the event loop runs."""
        signal.signal(signal.SIGALRM, self._interrupt)
        self._thread.start()
        loop, thread = asyncio.get_running_loop(), threading.get_ident()

        def end_before_it_turns() -> None:
            # A task that a block has made is no step of it: such a copy comes back to the loop, if it comes back.
            if threading.get_ident() == thread and not loop.is_closed():
                loop.call_soon(end_copy, self._process)

        os.register_at_fork(after_in_child=end_before_it_turns)

    def stop(self) -> None:
        """Watch no more."""
        self._end.set()
        self._thread.join()
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def enter(self, run: Run) -> None:
        """A step of this run begins."""
        self._run = run
        self._since = time.monotonic()
        self._mark.set(self._since, run.entry, run.started_ms)

    def leave(self) -> None:
        """The step has ended. So does a copy of the process that the block has made in it."""
        end_copy(self._process, sys.exception())
        self._run = None
        self._mark.clear()

    def _look(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        looks, seen = 0, 0.0
        while not self._end.wait(self.seconds / LOOKS):
            run, since = self._run, self._since
            looks = looks + 1 if run is not None and since == seen else 0
            seen = since
            if run is not None and (looks >= LOOKS or (looks > 1 and _past_timeout(run, since))):
                self._condemned = since
                signal.pthread_kill(main, signal.SIGALRM)

    def _interrupt(self, _: int, __: FrameType | None) -> None:
        # Looked at again: the step may have ended between the thread's look and the signal.
        if self._run is not None and self._since == self._condemned:
            raise EventLoopHeld


def _past_timeout(run: Run, since: float) -> bool:
    timeout_ms = run.task.timeout_ms
    return timeout_ms > 0 and (time.monotonic() - since) * 1000 > timeout_ms


class Watched:
    """An awaitable of a block, of which every step is marked."""

    __slots__ = ("_awaitable", "_run", "_watch")

    def __init__(self, awaitable: Any, run: Run, watch: EventLoopWatch) -> None:
        self._awaitable = awaitable
        self._run = run
        self._watch = watch

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._awaitable.__await__()
        error: BaseException | None = None
        while True:
            self._watch.enter(self._run)
            try:
                waits_for = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value
            finally:
                self._watch.leave()
            try:
                yield waits_for
                error = None
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as thrown:  # noqa: BLE001  # carried over into the block
                error = thrown
