"""The end of tasks: they end even where their first cancel is lost."""

import asyncio
from contextlib import AsyncExitStack, suppress

from services.common.run import Process
from services.common.tasks import end


async def connecting(attempt: "asyncio.Future[None]") -> None:
    """As a library waits for NATS: a failure is met by going on."""
    with suppress(ConnectionError):
        await asyncio.wait_for(attempt, 60)
    await asyncio.Event().wait()


async def test_a_task_ends_though_its_cancel_comes_together_with_a_failure() -> None:
    attempt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(connecting(attempt))
    await asyncio.sleep(0)

    attempt.set_exception(ConnectionRefusedError())
    async with asyncio.timeout(20):
        await end((task,))

    assert task.cancelled()


async def test_a_task_that_a_process_holds_does_not_keep_it_from_ending() -> None:
    attempt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(20), AsyncExitStack() as resources:
        held = Process(resources).hold("connecting", connecting(attempt))
        await asyncio.sleep(0)
        attempt.set_exception(ConnectionRefusedError())

    assert held.cancelled()


async def test_what_a_task_fails_with_at_its_end_is_left_to_others() -> None:
    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("at the end")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await end((task,))

    assert isinstance(task.exception(), ValueError)
    await end(())
