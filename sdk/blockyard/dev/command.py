"""What `blockyard dev` does: run a stack until it is told to stop, and say where everything is."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from blockyard.dev.edge import PREFERRED_PORT
from blockyard.dev.signals import on_ending_signals, this_task
from blockyard.dev.stack import Stack


async def run_stack(
    home: Path | str | None = None,
    *,
    runners: int = 2,
    replicas: int = 1,
    edge: bool = True,
    edge_port: int | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Run a stack until SIGINT, SIGTERM or SIGHUP; a SIGINT after that kills what still runs and raises CancelledError.

    Without an `edge_port` the edge listens on 8080, or on another port where that is taken, and says so.

    Raises DevelopmentStackError, whose text is for the user, when it cannot be started (one may run already).
    """
    ending = asyncio.Event()
    on_ending_signals(ending.set, this_task().cancel)
    stack = Stack(
        home,
        runners=runners,
        replicas=replicas,
        notifications=1,
        edge=edge,
        edge_ports=(PREFERRED_PORT, 0) if edge_port is None else (edge_port,),
        supervise=True,
        report=say,
    )
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
        try:
            await asyncio.wait({starting, waiting})
        finally:
            await stack.stop()


def describe(stack: Stack) -> str:
    """Where everything is, for a person."""
    lines = [
        "Blockyard is running. Stop it with Ctrl-C.",
        *([f"  edge               {stack.edge.url}  (REST, gRPC, gRPC-Web)"] if "edge" in stack.names() else []),
        f"  graph service      {stack.graph_address}",
        f"  execution service  {', '.join(stack.execution_addresses)}",
        f"  credentials        {', '.join(stack.credentials_addresses)}",
        f"  account service    {stack.account_address}",
        f"  PostgreSQL         {stack.postgres.address}",
        f"  NATS               {stack.nats.address}",
        f"  token              {stack.folder.token}",
        f"  passwords          {stack.folder.passwords}",
        f"  logs               {stack.folder.logs}",
    ]
    return "\n".join(lines)
