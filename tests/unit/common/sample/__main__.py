"""Starts it."""

import asyncio
import logging
from contextlib import AsyncExitStack

from services.common import grpc_server, run
from services.common.errors import StartRefused
from services.common.run import Process
from tests.unit.common.sample.config import Settings


async def start(settings: Settings, resources: AsyncExitStack, process: Process) -> None:
    """Behave as the settings say."""
    resources.callback(print, "closed: first resource", flush=True)
    if settings.behaviour == "refuse":
        raise StartRefused("PostgreSQL runs with fsync = off.")
    if settings.behaviour == "crash":
        raise KeyError("a crash")
    if settings.behaviour == "hang-at-start":
        logging.getLogger("sample").warning("hanging at start")
        await asyncio.Event().wait()
    if settings.behaviour == "hang-at-end":
        resources.push_async_callback(asyncio.Event().wait)
    process.hold("work", work(settings))
    await resources.enter_async_context(grpc_server.serve(settings, [], {}))


async def work(settings: Settings) -> None:
    """Work until cancelled."""
    try:
        if settings.behaviour == "task-fails":
            raise ValueError("the work cannot go on")
        await asyncio.Event().wait()
    finally:
        print("closed: work", flush=True)


if __name__ == "__main__":
    run.main(Settings, start)
