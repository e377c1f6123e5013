"""The start of a process of the stack: it is waited for until it is of use, and ended when it does not come to that."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from blockyard.dev.errors import DevelopmentStackError, PortTaken
from blockyard.dev.ports import free_port
from blockyard.dev.process import ChildProcess

LOOK_EVERY_SECONDS = 0.01
PORTS_TRIED = 5


class Server(Protocol):
    """What listens on a port from its start."""

    async def start(self) -> None:
        """Start it and wait until it is of use; raises PortTaken when another program has its port."""


AnyServer = TypeVar("AnyServer", bound=Server)


async def start_whole(
    process: ChildProcess, wait: Callable[[], Awaitable[None]], give_up: Callable[[], Awaitable[None]]
) -> None:
    """Start the process and wait until it is of use; give it up when the wait ends otherwise."""
    process.start()
    try:
        await wait()
    except BaseException:
        await give_up()
        raise


async def until_ready(
    process: ChildProcess,
    ready: Callable[[], Awaitable[bool]],
    timeout_seconds: float,
    *,
    name: str,
    explain_end: Callable[[], DevelopmentStackError],
) -> None:
    """Wait until the process is ready; raises what explains its end, or that the time is over."""
    deadline = time.monotonic() + timeout_seconds
    while not await ready():
        if not process.alive():
            raise explain_end()
        if time.monotonic() >= deadline:
            raise failed(process, f"{name} did not get ready within {timeout_seconds:.0f} s")
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def start_on_port(port: int, server_on: Callable[[int], AnyServer]) -> AnyServer:
    """The server on this port, started; with port 0 on a free one."""
    # Between choosing a free port and taking it another process may take it; a server may choose further ones itself.
    attempts = PORTS_TRIED
    while True:
        server = server_on(port or free_port())
        try:
            await server.start()
            return server
        except PortTaken as taken:
            attempts -= 1
            if taken.port == port or not attempts:
                raise


def failed(process: ChildProcess, what: str) -> DevelopmentStackError:
    """What happened, with the end of the process's log."""
    return DevelopmentStackError(f"{what}; the end of {process.log_file}:\n{process.last_lines()}")
