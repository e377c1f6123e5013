"""What a program with a stack does when it is told to end."""

import asyncio
import signal
from collections.abc import Callable

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def on_ending_signals(first: Callable[[], object], impatient: Callable[[], object]) -> None:
    """Call `first` at the first signal to end, and `impatient` when Ctrl-C is pressed after that.

    Programs that end others send SIGTERM and SIGHUP twice, to a process and to its group, and mean it once.
    Holds until the running loop is closed, so that no signal cuts off the tidying up that the first has begun.
    """
    ending = False

    def receive(number: signal.Signals) -> None:
        nonlocal ending
        if not ending:
            first()
        elif number is signal.SIGINT:
            impatient()
        ending = True

    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, receive, number)


def this_task() -> asyncio.Task[object]:
    """The task that runs now; a signal may cancel it."""
    task = asyncio.current_task()
    assert task is not None
    return task
