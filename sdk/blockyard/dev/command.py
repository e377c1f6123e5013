"""What `blockyard dev` does: run a stack until it is told to stop, and say where everything is."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from blockyard.dev.stack import Stack


async def run_stack(
    home: Path | str | None = None, *, runners: int = 2, replicas: int = 1, say: Callable[[str], None] = print
) -> None:
    """Run a stack until SIGINT, SIGTERM or SIGHUP; a second signal ends it at once.

    Raises DevelopmentStackError, whose text is for the user, when it cannot be started (one may run already).
    """
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()

    def receive() -> None:
        if ending.is_set() and this is not None:
            this.cancel()  # the stack kills what still runs
        ending.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, receive)
    stack = Stack(home, runners=runners, replicas=replicas, supervise=True, report=say)
    starting = asyncio.create_task(stack.start())
    waiting = asyncio.create_task(ending.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            say("stopping before everything was started")
            return
        starting.result()
        say(describe(stack))
        await waiting
        say("stopping")
    finally:
        starting.cancel()
        waiting.cancel()
        await asyncio.wait({starting, waiting})
        await stack.stop()


def describe(stack: Stack) -> str:
    """Where everything is, for a person."""
    lines = [
        "Blockyard is running. Stop it with Ctrl-C.",
        f"  graph service      {stack.graph_address}",
        f"  execution service  {', '.join(stack.execution_addresses)}",
        f"  PostgreSQL         {stack.postgres.url}",
        f"  NATS               {stack.nats.url}",
        f"  token              {stack.folder.token}",
        f"  logs               {stack.folder.logs}",
    ]
    return "\n".join(lines)
