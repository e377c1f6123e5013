"""The life of a service's process: settings, telemetry, signals, start, wait, and an end in reverse order.

A service's __main__.py is `run.main(Settings, start)`, where `start` builds everything on the stack it is given.
"""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog
import uvloop

from services import starting
from services.common import config, tasks, telemetry
from services.common.config import ProcessSettings
from services.common.errors import StartRefused

# An orderly end that takes longer than draining and grace by this much is not going to come.
SHUTDOWN_SLACK_SECONDS = 20.0

log = structlog.stdlib.get_logger(__name__)

AnySettings = TypeVar("AnySettings", bound=ProcessSettings)
Start = Callable[[AnySettings, AsyncExitStack, "Process"], Awaitable[None]]


class Process:
    """What a service may ask of the process it runs in: to hold a task for it, or to end."""

    def __init__(self, resources: AsyncExitStack) -> None:
        self._resources = resources
        self._ending = asyncio.Event()
        self.exit_code = 0

    @property
    def ending(self) -> bool:
        """Whether the process has begun to end."""
        return self._ending.is_set()

    def hold(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:  # Any: as asyncio types it
        """Run a task that lives as long as the process: its failure ends the service.

        It is cancelled, and awaited, when the resources that were built before it are about to close.
        """
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._when_done)
        self._resources.push_async_callback(tasks.end, (task,))
        return task

    def end(self, reason: str, exit_code: int = 0) -> None:
        """Begin an orderly end of the process. The first failure decides the exit code."""
        if not self._ending.is_set():
            log.info("ending", reason=reason)
        self.exit_code = self.exit_code or exit_code
        self._ending.set()

    async def wait_for_end(self) -> None:
        """Return once the process begins to end."""
        await self._ending.wait()

    def _when_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("a held task failed", task=task.get_name(), exc_info=error)
        self.end(f"task {task.get_name()} failed", exit_code=1)


OPEN_FILES = 65_536
"""Connections are files too: containers begin with a soft limit of 1,024 where containerd is of release 2."""


def raise_open_files() -> None:
    """As many as the hard limit allows; select(), which knows no more than 1,024, is given the first few alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(settings_class: type[AnySettings], start: Start[AnySettings]) -> None:
    """Run a service until a signal or the failure of a held task, then exit with 0 or 1."""
    starting.end()
    raise_open_files()
    settings = config.load(settings_class)
    telemetry.configure_logs(settings.service_name(), settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        exit_code = _run_to_its_end(runner.get_loop(), _live(settings, start))
    sys.exit(exit_code)


def _run_to_its_end(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, int]) -> int:
    """Run the loop until this is done, whatever else would end the loop.

    An exit in any other task or callback leaves the loop at once, as loop.stop() does. A runner's blocks may do either,
    and none of that is for them to decide: who awaits such a task is told of its exit, and everything else goes on.
    """
    life = loop.create_task(coroutine)
    while not life.done():
        try:
            loop.run_until_complete(life)
        except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
            if not life.done():
                log.error("something would have ended the event loop, which goes on", exc_info=error)
    return life.result()


async def _live(settings: AnySettings, start: Start[AnySettings]) -> int:
    limit = settings.drain_seconds + settings.grace_seconds + SHUTDOWN_SLACK_SECONDS
    try:
        telemetry.start(settings.service_name(), settings)
        # The outer stack's timer covers the closing of the inner one, and goes with the last of it.
        async with AsyncExitStack() as watch, AsyncExitStack() as resources:
            process = Process(resources)
            _listen_to_signals(process)
            try:
                await _start(settings, start, resources, process)
                await process.wait_for_end()
            finally:
                watch.callback(asyncio.get_running_loop().call_later(limit, _give_up, limit).cancel)
    except StartRefused as refusal:
        log.error("the service does not start", reason=str(refusal))
        return 1
    except Exception:
        log.exception("the service failed")
        return 1
    log.info("ended", exit_code=process.exit_code)
    return process.exit_code


async def _start(settings: AnySettings, start: Start[AnySettings], resources: AsyncExitStack, process: Process) -> None:
    """Build the service, or give up building it when the process is told to end meanwhile."""
    starting = asyncio.ensure_future(start(settings, resources, process))
    ending = asyncio.create_task(process.wait_for_end())
    try:
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            log.info("started")
    finally:
        await tasks.end((ending,))
        if not starting.done():
            await tasks.end((starting,))
            if not starting.cancelled() and (error := starting.exception()):
                log.warning("the start failed while it was given up", exc_info=error)


def _listen_to_signals(process: Process) -> None:
    """The first signal begins an orderly end, a second one ends at once."""

    def receive(number: signal.Signals) -> None:
        if process.ending:
            os._exit(128 + number)
        process.end(f"received {number.name}")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number)


def _give_up(seconds: float) -> None:
    log.critical("the service did not end in time", seconds=seconds)
    sys.stdout.flush()
    os._exit(1)
