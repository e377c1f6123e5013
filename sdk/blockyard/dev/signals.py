"""What a program with a stack does when it is told to end."""

import asyncio
import signal
from collections.abc import Callable

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def on_ending_signals(first: Callable[[], object], later: Callable[[], object]) -> None:
    """Call `first` at the first signal to end and `later` at each that follows.

    Holds until the running loop is closed, so that no signal cuts off the tidying up that the first has begun.
    """
    received = 0

    def receive() -> None:
        nonlocal received
        received += 1
        (first if received == 1 else later)()

    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, receive)


def this_task() -> asyncio.Task[object]:
    """The task that runs now; a signal may cancel it."""
    task = asyncio.current_task()
    assert task is not None
    return task
