"""Runs blocks with a plain `run` in threads, which are used again, and ended by force where a run is given up.

A thread can be ended while it runs Python code: an exception is raised in it. One that hangs in C code, or that
catches everything, stays behind; such threads are counted, and past a bound the process has to start anew.
"""

import asyncio
import contextvars
import ctypes
import os
import queue
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Any

from blockyard.block import Context

from services.runner import metering
from services.runner.blocking import encoded_outputs
from services.runner.casualty import HeldRuns, State
from services.runner.copies import end_copy
from services.runner.outputs import Encoded
from services.runner.runs import Run

AHEAD = 64
"""Outputs that a block may be ahead of whoever takes them."""


class ThreadEnded(BaseException):
    """Raised in a thread whose run has been given up."""


class _Job:
    """One run in a thread: the thread tells, the event loop takes."""

    def __init__(self, start: Callable[[], Iterator[Encoded]]) -> None:
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._context = contextvars.copy_context()
        self._told: deque[Encoded] = deque()
        self._room = threading.Semaphore(AHEAD)
        self._woken = False
        self._given_up = False
        self._error: BaseException | None = None
        self._done = False
        self._news = asyncio.Event()

    @property
    def done(self) -> bool:
        return self._done

    # -- in the thread

    def work(self) -> None:
        """Run the block."""
        try:
            self._context.run(self._iterate)
        except BaseException as error:  # noqa: BLE001  # carried over to the event loop, where it is raised again
            self._error = error
        end_copy(self._process, self._error)
        self._done = True
        self._wake()

    def _iterate(self) -> None:
        outputs = self._start()
        for output in outputs:
            end_copy(self._process)
            self._room.acquire()
            if self._given_up:
                break
            self._told.append(output)
            self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            # The loop may have ended while a thread that nobody waits for any more went on.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._on_wake)

    # -- in the event loop

    def _on_wake(self) -> None:
        self._woken = False
        self._news.set()

    async def outputs(self) -> AsyncGenerator[Encoded, None]:
        """What the block yields; raises what it raised."""
        while True:
            # The order matters: an output told before `done` was set is there when `done` is seen.
            done = self._done
            while self._told:
                output = self._told.popleft()
                self._room.release()
                yield output
            if done:
                break
            await self._news.wait()
            self._news.clear()
        if self._error is not None:
            raise self._error

    def give_up(self) -> None:
        """Nobody takes its outputs any more."""
        self._given_up = True
        self._room.release()


class _Worker:
    """A thread for one run after the other."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._retired = False
        self.at_end: Callable[[], None] | None = None
        """Called once a thread that was given up has ended."""
        self._thread = threading.Thread(target=self._work, name="block", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def give(self, job: _Job | None) -> None:
        """The next job; None ends the thread."""
        self._jobs.put(job)

    def end_by_force(self) -> None:
        """Raise ThreadEnded in the thread. It is not used again."""
        self._retired = True
        ident = self._thread.ident
        if ident is not None and self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(ThreadEnded))

    def _work(self) -> None:
        # It may be raised anywhere, between two jobs too.
        with suppress(ThreadEnded):
            while not self._retired and (job := self._jobs.get()) is not None:
                job.work()


class Threads:
    """At most `limit` runs at once; further ones wait."""

    def __init__(self, limit: int, tell_busy: Callable[[int], None], held: HeldRuns) -> None:
        self._free = asyncio.Semaphore(limit)
        self._tell_busy = tell_busy
        self._held = held
        self._busy = 0
        self._idle: list[_Worker] = []
        self._retired: list[_Worker] = []

    async def outputs(self, run: Run, inputs: dict[str, Any], context: Context | None) -> AsyncGenerator[Encoded, None]:
        """The run's outputs. Closed early, it has the thread ended and does not wait for it."""
        async with self._free:
            worker = self._idle.pop() if self._idle else _Worker()
            selectors = tuple(run.task.selectors)
            job = _Job(lambda: encoded_outputs(run.block, inputs, context, selectors, run.given))
            self._count(1)
            self._held.begins(run.entry, State.IN_THREAD, run.started_ms)
            metering.begins(run)
            worker.give(job)
            try:
                async for output in job.outputs():
                    yield output
            finally:
                self._held.begins(run.entry, State.RUNS, run.started_ms)
                if job.done:
                    self._idle.append(worker)
                    self._count(-1)
                else:
                    job.give_up()
                    worker.end_by_force()
                    if run.leased is not None:
                        worker.at_end = run.leased.stay_hidden()
                    self._retired.append(worker)

    @property
    def stuck(self) -> int:
        """Threads that were given up and have not ended."""
        return len(self._retired)

    def end_retired(self) -> int:
        """Try again to end the threads that were given up; answers how many are left."""
        ended = [worker for worker in self._retired if not worker.alive]
        self._retired = [worker for worker in self._retired if worker not in ended]
        self._count(-len(ended))
        for worker in ended:
            if worker.at_end is not None:
                worker.at_end()
        for worker in self._retired:
            worker.end_by_force()
        return len(self._retired)

    def _count(self, change: int) -> None:
        self._busy += change
        self._tell_busy(self._busy)

    def close(self) -> None:
        """End the threads that have nothing to do."""
        for worker in self._idle:
            worker.give(None)
        self._idle.clear()
